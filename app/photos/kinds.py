"""The accepted formats: how each is recognised, and how many pixels it may have.

Knows no decoder: the web process and the decoding process (decoder.py) both read it.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from photos.limits import JPEG_PIXELS_MAX, MEMORY_MAX, PIXELS_MAX


@dataclass(frozen=True)
class Kind:
    """One accepted format: what Pillow calls it, what HTTP calls it, how its file name ends."""

    pillow: str
    content_type: str
    suffix: str
    pixels_max: int
    is_signature: Callable[[bytes], bool]  # of the file's first 12 bytes


_KINDS = (
    Kind("JPEG", "image/jpeg", ".jpg", JPEG_PIXELS_MAX, lambda head: head[:3] == b"\xff\xd8\xff"),
    Kind("PNG", "image/png", ".png", PIXELS_MAX, lambda head: head[:8] == b"\x89PNG\r\n\x1a\n"),
    # 16 bytes a pixel, measured as growth of the process.
    Kind("WEBP", "image/webp", ".webp", MEMORY_MAX // 16, lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    Kind("GIF", "image/gif", ".gif", PIXELS_MAX, lambda head: head[:6] in {b"GIF87a", b"GIF89a"}),
    # 10 bytes a pixel at the least.
    Kind("AVIF", "image/avif", ".avif", MEMORY_MAX // 10, lambda head: head[4:12] in {b"ftypavif", b"ftypavis"}),
)
KINDS = tuple(kind for kind in _KINDS if kind.pillow != "AVIF" or importlib.util.find_spec("PIL._avif"))
BY_NAME = {kind.pillow: kind for kind in KINDS}
NAMES = "JPEG, PNG, WebP, GIF" + (" or AVIF" if len(KINDS) == len(_KINDS) else "")  # for people
