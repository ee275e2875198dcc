"""What a picture looks like small: Pillow's answer, with its errors sorted. Runs in the decoding process (decoder.py).

What arrives here is hostile until proven otherwise:

* only the one format that the file's signature names is tried;
* reckoning.py has judged size and memory from the header before Pillow sees the file;
* everything is decoded once, because only that shows that the file is whole;
* Pillow reads through a meter, so a file made to fill the memory (a chunk of a gigabyte in a small PNG) is refused;
* bytes after the image's end are not read at all, and stay part of the original.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from time import process_time
from typing import IO, Any, Final

from PIL import AvifImagePlugin, Image, ImageCms, PngImagePlugin, WebPImagePlugin  # noqa: F401 - the formats that preinit() leaves out

from photos import exif
from photos.errors import ImageTooComplex, ImageTruncated, Problem, image_has_too_much_data
from photos.kinds import BY_NAME, Kind
from photos.limits import (
    FRAMES_CPU,
    FRAMES_MAX,
    PIXELS_MAX,
    PREVIEW_MAX,
    REDUCED_MIN,
    THUMBNAIL_2X_MAX,
    THUMBNAIL_MAX,
)
from photos.reckoning import Reckoning, scaled

if "HEIC" in BY_NAME:
    from photos import heic

# What one file may make Pillow read: its pixels at 8 bytes (16-bit RGBA, not compressed at all), and so much besides
# (profiles, EXIF, previews; WebP and AVIF are read whole before they are decoded).
_OVERHEAD_MAX: Final = 64 * 1024 * 1024  # bytes
_PIXEL_BYTES_MAX: Final = 8
_READ_COST: Final = 64  # bytes of that budget per call, so that a file of a million empty chunks ends early, too
_PROFILE_MAX: Final = 16 * 1024  # bytes of a colour profile worth carrying in every thumbnail
_TEXT_MAX: Final = 4 * 1024 * 1024  # bytes of a PNG's profile or text, unpacked; Pillow's own limit is one MiB
_TILE: Final = 500_000  # pixels of a large image that are converted at a time
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what brings the picture upright
_ROTATED_90: Final = {5, 6, 7, 8}  # the orientations that swap width and height


def prepare() -> None:
    """For a process that does nothing else: Pillow with its formats loaded, silent, and without threads."""
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = None  # reckoning.py judges, with a limit for each format
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a thread's stack and heap would count against the limit of memory
    PngImagePlugin.MAX_TEXT_CHUNK = _TEXT_MAX
    warnings.simplefilter("ignore")  # one file can cause tens of thousands
    if "HEIC" in BY_NAME:
        heic.prepare()


@dataclass(frozen=True)
class Decoded:
    """Pixels as the image is shown, that is, with its orientation applied."""

    width: int
    height: int
    renditions: tuple[bytes, bytes, bytes]  # those of images.Picture


class _OverBudget(Exception):
    """Pillow wanted to read more than a sound file of this many pixels can hold."""


class _Meter:
    """The part of a file that Pillow uses, with a limit on how much it may read in all.

    With `end`, nothing behind that is read. With `head`, that stands in the place of what the file has before `rest`.
    """

    def __init__(self, file: IO[bytes], budget: int, end: int | None, head: bytes = b"", rest: int = 0) -> None:
        self._file = file
        self._left = budget
        self._end = end
        self._head = head
        self._shift = rest - len(head)
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        size = min(size if size >= 0 else self._left, self._left + 1)
        if self._end is not None:
            size = min(size, max(0, self._end - self._position))
        data = self._head[self._position : self._position + size]
        if len(data) < size:
            self._file.seek(self._position + len(data) + self._shift)
            data += self._file.read(size - len(data))
        self._position += len(data)
        self._left -= len(data)
        if self._left < 0:
            raise _OverBudget
        self._left = max(0, self._left - _READ_COST)
        return data

    def allow(self, more: int) -> None:
        self._left += more

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            self._position = offset
        elif whence == 1:
            self._position += offset
        else:
            self._position = self._file.seek(offset, whence) - self._shift
        return self._position

    def tell(self) -> int:
        return self._position


def decode(file: IO[bytes], kind: Kind, reckoned: Reckoning) -> Decoded:
    """Raises ImageTruncated, ImageTooComplex; OSError when reading the file itself fails; MemoryError."""
    with errors_as_problems():
        if kind.pillow == "HEIC":
            return _decoded_heic(file, reckoned)
        if kind.pillow == "PNG":
            # The checksums. An image is of no use after that, so it is opened for this alone.
            _open(file, kind, reckoned)[0].verify()
        image, meter = _open(file, kind, reckoned)
        return _decoded(image, meter, reckoned)


@contextmanager
def errors_as_problems() -> Iterator[None]:
    """What reading a picture may raise, as the Problem that it means; a disk's errors and MemoryError as they are."""
    try:
        yield
    except (Problem, MemoryError):
        raise
    except _OverBudget as error:
        raise image_has_too_much_data() from error
    except Exception as error:  # named boundary: fed with damaged bytes, Pillow's readers raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # the disk's error, not the picture's
            raise
        raise _meant_by(error) from error


def _meant_by(error: Exception) -> Exception:
    """Pillow has limits of its own, and libraries that lack memory; a picture that meets them is sound."""
    text = str(error).lower()
    if "memory" in text and "max_text" not in text:
        return MemoryError()
    if "too large" in text or "max_text" in text:
        return image_has_too_much_data()
    return _truncated()


def _truncated() -> ImageTruncated:
    return ImageTruncated(
        "This picture is damaged or incomplete. Check that it opens on your device, and send it again."
    )


def _open(file: IO[bytes], kind: Kind, reckoned: Reckoning) -> tuple[Image.Image, _Meter]:
    header = reckoned.jpeg
    budget = _OVERHEAD_MAX + (reckoned.end or 0)
    meter = _Meter(file, budget, reckoned.end, *((header.kept, header.rest) if header else ()))
    # Pillow asks for read, seek and tell only, whatever its annotation says.
    image = Image.open(meter, formats=[kind.pillow])  # type: ignore[arg-type]
    _refuse_other_size(image, reckoned)
    meter.allow(reckoned.pixels * _PIXEL_BYTES_MAX)
    return image, meter


def _refuse_other_size(image: "Image.Image | heic.Picture", reckoned: Reckoning) -> None:
    if image.width * image.height > reckoned.pixels:
        raise ImageTooComplex("This picture states two different sizes. Save it again.")


def _decoded(image: Image.Image, meter: _Meter, reckoned: Reckoning) -> Decoded:
    width, height = image.size
    # JPEG can be decoded at an eighth of its size: the whole file is still read, with 1/64 of the memory.
    image.draft("RGB", scaled(width, height, THUMBNAIL_2X_MAX))
    _release_canvases(image)
    image.load()
    # Asked now: a PNG may say it behind its pixels.
    told = reckoned.jpeg.exif if reckoned.jpeg else image.info.get("exif") or b""
    orientation = exif.orientation(told)
    reduced = _reduced(image, REDUCED_MIN)
    _decode_other_frames(image, meter, reckoned)
    thumbnails = _thumbnails(reduced, (width, height), orientation)
    if orientation in _ROTATED_90:
        width, height = height, width
    return Decoded(width, height, (*thumbnails, b""))


def _decoded_heic(file: IO[bytes], reckoned: Reckoning) -> Decoded:
    image = heic.opened(file, reckoned.end or 0)
    _refuse_other_size(image, reckoned)
    size, reduced = image.size, _reduced(image, PREVIEW_MAX)
    del image  # its pixels make room for what follows
    preview = reduced.resize(scaled(*size, PREVIEW_MAX), Image.Resampling.LANCZOS)
    return Decoded(*size, (*_thumbnails(reduced, size), _webp(_in_srgb(preview, reduced))))


def _in_srgb(image: Image.Image, original: Image.Image) -> Image.Image:
    """For whoever does not look at colour profiles. One that nobody can read changes nothing."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(original.info["icc_profile"]))
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB")) or image
    except (OSError, ImageCms.PyCMSError):
        return image


class _Once:
    """A WebP's decoder that is forgotten, with its two canvases, as soon as it has handed out its one frame."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def get_next(self) -> Any:
        decoder, self._decoder = self._decoder, None
        return decoder.get_next()


def _release_canvases(image: Image.Image) -> None:
    """It makes 12 bytes a pixel of 16. Should Pillow call its decoder otherwise one day, nothing happens."""
    if image.format == "WEBP" and not getattr(image, "is_animated", False) and hasattr(image, "_decoder"):
        image._decoder = _Once(image._decoder)  # noqa: SLF001 - there is no other way


def _thumbnails(reduced: Image.Image, size: tuple[int, int], orientation: int = 1) -> tuple[bytes, bytes]:
    """Of an image of this size; the larger one only if it shows more."""
    small = _thumbnail(reduced, scaled(*size, THUMBNAIL_MAX), orientation)
    if max(size) <= THUMBNAIL_MAX:
        return small, b""
    return small, _thumbnail(reduced, scaled(*size, THUMBNAIL_2X_MAX), orientation)


def _thumbnail(reduced: Image.Image, size: tuple[int, int], orientation: int) -> bytes:
    small = reduced.resize(size, Image.Resampling.LANCZOS)
    if orientation in _UPRIGHT:
        small = small.transpose(_UPRIGHT[orientation])
    return _webp(small, reduced.info["icc_profile"])


def _profile(image: "Image.Image | heic.Picture") -> bytes:
    profile = image.info.get("icc_profile") or b""
    if image.mode not in {"RGB", "RGBA", "P"} or len(profile) > _PROFILE_MAX:
        return b""  # it describes colours (grey, CMYK) that renditions do not have, or is a burden
    return bytes(profile)


def _reduced(image: "Image.Image | heic.Picture", least: int) -> Image.Image:
    """The image in RGB or RGBA, shrunk by a whole number, so that its longer side keeps `least` pixels, if it has them.

    Tile by tile: converting, and resizing with transparency, would take a second copy of a large image.
    """
    mode = "RGBA" if image.has_transparency_data else "RGB"
    factor = max(1, max(image.size) // least)
    reduced = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    reduced.info = {"icc_profile": _profile(image)}
    across = max(1, min(reduced.width, _TILE // (factor * min(factor, image.height))))
    down = max(1, _TILE // (factor * min(factor, image.height) * across))
    for top in range(0, reduced.height, down):
        for left in range(0, reduced.width, across):
            box = (left * factor, top * factor, (left + across) * factor, (top + down) * factor)
            tile = image.crop((*box[:2], min(image.width, box[2]), min(image.height, box[3])))
            reduced.paste(_converted(tile, mode).reduce(factor), (left, top))
    return reduced


def _converted(tile: Image.Image, mode: str) -> Image.Image:
    if tile.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
        tile = tile.point(lambda value: value * (1 / 256)).convert("L")
    return tile.convert(mode)


def _decode_other_frames(image: Image.Image, meter: _Meter, reckoned: Reckoning) -> None:
    """The other frames of an animation: as many as a single picture may have pixels, and no longer than FRAMES_CPU."""
    for number in range(1, min(PIXELS_MAX // max(1, reckoned.pixels), FRAMES_MAX)):
        meter.allow(reckoned.pixels * _PIXEL_BYTES_MAX)
        if process_time() > FRAMES_CPU:
            return
        try:
            image.seek(number)
        except EOFError:
            return
        image.load()
        _refuse_other_size(image, reckoned)


def _webp(small: Image.Image, profile: bytes = b"") -> bytes:
    """Pillow writes only the metadata it is handed, so EXIF data, and with it the place of a photo, stays behind."""
    buffer = BytesIO()
    # Of the methods, 0 to 6, this one takes a third of the time of the default, 4, for files that are 5 % larger.
    small.save(buffer, "WEBP", quality=80, method=2, icc_profile=profile)
    return buffer.getvalue()
