"""Is this an image, how large is it, and what does it look like small? Pillow's answers, with its errors sorted.

Knows files and pixels; no HTTP, no database, no names. What arrives here is hostile until proven otherwise:

* only formats on the list are tried, and the format is found in the bytes;
* the size in pixels is read from the header, and judged, before anything is decoded;
* everything is decoded once, because only that shows that the file is whole;
* large images are decoded one at a time, so that one such upload, not a crowd of them, decides what memory is needed;
* Pillow reads through a meter, so a file made to fill the memory (a chunk of a gigabyte in a small PNG) is refused;
* bytes after the image's end are not read at all, and stay part of the original.
"""

import fcntl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from PIL import ExifTags, Image, features

from photos.errors import ImageTooComplex, ImageTooManyPixels, ImageTruncated, NotAnImage, Problem

THUMBNAIL_MAX = 480  # pixels, both ways: sharp on a phone's screen at half the size
THUMBNAIL_SUFFIX, THUMBNAIL_TYPE = ".webp", "image/webp"
# Pillow's own idea of a bomb: a quarter of a gigabyte at three bytes a pixel (89 million pixels in Pillow 13).
PIXELS_MAX: Final = Image.MAX_IMAGE_PIXELS or 89_478_485
_MEMORY_MAX: Final = PIXELS_MAX * 4  # bytes (358 MB) that decoding one image may take
_SMALL: Final = 32 * 1024 * 1024  # bytes; images that take no more need not wait for other processes
# What one file may make Pillow read: its pixels at 8 bytes (16-bit RGBA, not compressed at all), and so much besides
# (profiles, EXIF, previews; WebP and AVIF are read whole before they are decoded).
_OVERHEAD_MAX = 64 * 1024 * 1024  # bytes
_PIXEL_BYTES_MAX = 8
_READ_COST = 64  # bytes of that budget per call, so that a file of a million empty chunks ends early, too
_FRAMES_MAX = 200  # of an animation; the others stay unseen, for each costs time whatever its size
_PROFILE_MAX = 16 * 1024  # bytes of a colour profile worth carrying in every thumbnail
_STRIP_ROWS = 64  # of a thumbnail on its way, made at a time
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what brings the picture upright
_LYING = {5, 6, 7, 8}  # the orientations that swap width and height
_one_at_a_time = threading.Lock()  # in this process; Pillow's decoders use one core, as does a worker

# Pillow warns above PIXELS_MAX and raises above twice that. For us both are errors.
warnings.simplefilter("error", Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Kind:
    """One accepted format: what Pillow calls it, what HTTP calls it, how its file name ends."""

    pillow: str
    content_type: str
    suffix: str
    memory: int  # bytes per pixel that decoding takes, measured as growth of the process
    is_signature: Callable[[bytes], bool]  # of the file's first 12 bytes

    @property
    def pixels_max(self) -> int:
        return min(PIXELS_MAX, _MEMORY_MAX // self.memory)


_KINDS = (
    Kind("JPEG", "image/jpeg", ".jpg", 3, lambda head: head[:3] == b"\xff\xd8\xff"),
    Kind("PNG", "image/png", ".png", 4, lambda head: head[:8] == b"\x89PNG\r\n\x1a\n"),
    Kind("WEBP", "image/webp", ".webp", 16, lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP"),
    Kind("GIF", "image/gif", ".gif", 4, lambda head: head[:6] in {b"GIF87a", b"GIF89a"}),
    Kind("AVIF", "image/avif", ".avif", 10, lambda head: head[4:12] in {b"ftypavif", b"ftypavis"}),
)
KINDS = tuple(kind for kind in _KINDS if kind.pillow != "AVIF" or features.check("avif"))
NAMES = "JPEG, PNG, WebP, GIF" + (" or AVIF" if len(KINDS) == len(_KINDS) else "")  # for people


@dataclass(frozen=True)
class Picture:
    """What `inspect` found: pixels as the image is shown, that is, with its EXIF orientation applied."""

    kind: Kind
    width: int
    height: int
    thumbnail: bytes  # WebP, at most THUMBNAIL_MAX pixels each way, without metadata


class _OverBudget(Exception):
    """Pillow wanted to read more than a sound file of this many pixels can hold."""


class _Meter:
    """The part of a file that Pillow uses, with a limit on how much it may read in all."""

    def __init__(self, file: IO[bytes], budget: int) -> None:
        self._file = file
        self._left = budget

    def read(self, size: int = -1) -> bytes:
        if size < 0:  # "all there is": WebP and AVIF end where they say, so the padding behind may stay away
            size = self._left
        data = self._file.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise _OverBudget
        self._left = max(0, self._left - _READ_COST)
        return data

    def allow(self, more: int) -> None:
        self._left += more

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def inspect(file: IO[bytes]) -> Picture:
    """Check the image in `file` (seekable; read from its start, left anywhere).

    Raises NotAnImage, ImageTruncated, ImageTooManyPixels, ImageTooComplex; OSError when reading the file itself fails.
    """
    kind = _kind(file)
    with _pillow_errors_sorted(), _one_at_a_time:
        # The checksums, where the format has some. An image is of no use after that, so it is opened for this alone.
        image, _ = _open(file, kind)
        pixels = image.width * image.height
        image.verify()
        with _alone() if pixels * kind.memory > _SMALL else nullcontext():
            return _decoded(*_open(file, kind), kind)


@contextmanager
def _alone() -> Iterator[None]:
    """Keeps the other processes that run this code in the same container waiting. The lock is on this very file, which
    all of them have; the kernel drops it when its holder dies.
    """
    with Path(__file__).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _kind(file: IO[bytes]) -> Kind:
    file.seek(0)
    head = file.read(12)
    for kind in KINDS:
        if kind.is_signature(head):
            return kind
    raise NotAnImage(
        f"This is not a picture the server knows. Send {NAMES}; a phone's HEIC has to be converted to JPEG first."
    )


@contextmanager
def _pillow_errors_sorted() -> Iterator[None]:
    try:
        yield
    except Problem:
        raise
    except (_OverBudget, MemoryError) as error:
        raise ImageTooComplex("This picture carries far more data than its pixels need. Save it anew.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise _too_many_pixels(PIXELS_MAX) from error
    except OSError as error:
        if error.errno is not None:  # the disk's error, not the picture's
            raise
        raise _truncated() from error
    except Exception as error:  # named boundary: fed with damaged bytes, Pillow's readers raise nearly anything
        raise _truncated() from error


def _truncated() -> ImageTruncated:
    return ImageTruncated("This picture is damaged or cut short. Check that it opens on your side, and send it again.")


def _too_many_pixels(most: int) -> ImageTooManyPixels:
    return ImageTooManyPixels(
        f"This picture has more than {most // 1_000_000} million pixels, the most in its format. Send it smaller."
    )


def _open(file: IO[bytes], kind: Kind) -> tuple[Image.Image, _Meter]:
    file.seek(0)
    meter = _Meter(file, _OVERHEAD_MAX)
    # Pillow asks for read, seek and tell only, whatever its annotation says.
    image = Image.open(meter, formats=[kind.pillow])  # type: ignore[arg-type]
    if image.width * image.height > kind.pixels_max:
        raise _too_many_pixels(kind.pixels_max)
    meter.allow(image.width * image.height * _PIXEL_BYTES_MAX)
    return image, meter


def _decoded(image: Image.Image, meter: _Meter, kind: Kind) -> Picture:
    width, height = image.size
    orientation = _orientation(image)
    # JPEG can be decoded at an eighth of its size: the whole file is still read, with 1/64 of the memory.
    image.draft("RGB", (THUMBNAIL_MAX, THUMBNAIL_MAX))
    image.load()
    small = _small(image)
    if orientation in _TURNS:
        small = small.transpose(_TURNS[orientation])
    if image.format != "MPO":  # a JPEG with previews behind it, which are no part of the picture
        _decode_other_frames(image, meter, width * height)
    if orientation in _LYING:
        width, height = height, width
    return Picture(kind, width, height, _webp(small))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when the EXIF data is broken, as in many a camera's sound pictures."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - the parser of a format made of offsets; see above
        return 1


def _small(image: Image.Image) -> Image.Image:
    """The image at most THUMBNAIL_MAX pixels wide and high, in RGB or RGBA."""
    profile = image.info.get("icc_profile") or b""
    if image.mode not in {"RGB", "RGBA", "P"} or len(profile) > _PROFILE_MAX:
        profile = b""  # it describes colours (grey, CMYK) that the thumbnail does not have, or is a burden
    image = _reduced(image)
    scale = min(1.0, THUMBNAIL_MAX / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS)
    small.info = {"icc_profile": profile}
    return small


def _reduced(image: Image.Image) -> Image.Image:
    """The image in RGB or RGBA, shrunk by a whole number to about three times the thumbnail's size.

    Strip by strip: converting, and resizing with transparency, would take a second copy of a large image.
    """
    mode = "RGBA" if image.has_transparency_data else "RGB"
    factor = max(1, max(image.size) // (3 * THUMBNAIL_MAX))
    reduced = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, factor * _STRIP_ROWS):
        strip = image.crop((0, top, image.width, min(image.height, top + factor * _STRIP_ROWS)))
        if strip.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
            strip = strip.point(lambda value: value * (1 / 256)).convert("L")
        reduced.paste(strip.convert(mode).reduce(factor), (0, top // factor))
    return reduced


def _decode_other_frames(image: Image.Image, meter: _Meter, pixels: int) -> None:
    """The other frames of an animation, as many as a single picture may have pixels."""
    for number in range(1, min(PIXELS_MAX // pixels, _FRAMES_MAX)):
        meter.allow(pixels * _PIXEL_BYTES_MAX)
        try:
            image.seek(number)
        except EOFError:
            return
        image.load()


def _webp(small: Image.Image) -> bytes:
    """Pillow writes only the metadata it is handed, so EXIF data, and with it the place of a photo, stays behind."""
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=80, method=4, icc_profile=small.info.get("icc_profile", b""))
    return buffer.getvalue()
