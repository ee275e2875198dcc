"""The accepted formats: how each is recognised, and how many pixels it may have.

Knows no decoder; the web process and the decoding process (decoder.py) both use it.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from photos.limits import JPEG_PIXELS_MAX, MEMORY_MAX, PIXELS_MAX


@dataclass(frozen=True)
class Kind:
    """One accepted format: its name in Pillow, its media type, and its suffix."""

    pillow: str
    content_type: str
    suffix: str
    pixels_max: int
    is_signature: Callable[[bytes], bool]  # of the file's first HEAD bytes
    is_shown: bool = True  # by browsers; for other formats they get a preview
    has_thread: bool = False  # its decoder needs one


HEAD: Final = 272  # bytes: 64 brands
_AVIF: Final = (b"avif", b"avis")
# Brands of pictures and of sequences; heic and hevc have 8 bits and subsampled colours, the others more.
_HEIC: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")


def _brands(head: bytes) -> list[bytes]:
    """Return the brands of a file of boxes, the major brand first. ISO 14496-12, section 4.3."""
    if head[4:8] != b"ftyp":
        return []
    end = min(len(head), int.from_bytes(head[:4]))
    return [head[start : start + 4] for start in (8, *range(16, end - 3, 4))]


def _coding(head: bytes) -> bytes:
    """Return the first brand that states the coding. If the major brand is mif1, another one states it."""
    return next((brand for brand in _brands(head) if brand in _AVIF + _HEIC), b"")


_KINDS = (
    Kind("JPEG", "image/jpeg", ".jpg", JPEG_PIXELS_MAX, lambda head: head[:3] == b"\xff\xd8\xff"),
    Kind("PNG", "image/png", ".png", PIXELS_MAX, lambda head: head[:8] == b"\x89PNG\r\n\x1a\n"),
    # 16 bytes per pixel, measured as growth of the process.
    Kind("WEBP", "image/webp", ".webp", MEMORY_MAX // 16, lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    Kind("GIF", "image/gif", ".gif", PIXELS_MAX, lambda head: head[:6] in {b"GIF87a", b"GIF89a"}),
    # At least 10 bytes per pixel.
    Kind("AVIF", "image/avif", ".avif", MEMORY_MAX // 10, lambda head: _coding(head) in _AVIF),
    # At least 5 bytes per pixel. libde265 decodes in a thread.
    Kind(
        *("HEIC", "image/heic", ".heic", MEMORY_MAX // 5, lambda head: _coding(head) in _HEIC),
        is_shown=False,
        has_thread=True,
    ),
)
_NEEDS: Final = {"AVIF": "PIL._avif", "HEIC": "_pillow_heif"}  # not available on every machine
KINDS = tuple(kind for kind in _KINDS if kind.pillow not in _NEEDS or importlib.util.find_spec(_NEEDS[kind.pillow]))
BY_NAME = {kind.pillow: kind for kind in KINDS}
_SPOKEN: Final = [{"WEBP": "WebP"}.get(kind.pillow, kind.pillow) for kind in KINDS]
NAMES = f"{', '.join(_SPOKEN[:-1])} or {_SPOKEN[-1]}"  # for people
