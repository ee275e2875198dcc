"""Creates thumbnails and previews with Pillow, and classifies its errors. Runs in the decoding process (decoder.py).

Every file may be hostile:

* only the format of the file's signature is tried;
* estimate.py has checked size and memory by the header before Pillow reads the file;
* everything is decoded once, because only that shows that the file is complete;
* Pillow reads through a meter, so a file that would fill the memory (a chunk of a gigabyte in a small PNG) is refused;
* bytes after the end of the image are not read, and stay part of the original.
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
from photos.estimate import Estimate, scaled
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

if "HEIC" in BY_NAME:
    from photos import heic

# How much Pillow may read of one file: 8 bytes per pixel (uncompressed 16-bit RGBA), and this for everything else
# (profiles, EXIF, previews; WebP and AVIF are read as a whole before decoding).
_OVERHEAD_MAX: Final = 64 * 1024 * 1024  # bytes
_PIXEL_BYTES_MAX: Final = 8
_READ_COST: Final = 64  # bytes of that budget per call, so that a file of a million empty chunks also ends early
_PROFILE_MAX: Final = 16 * 1024  # bytes of a colour profile that is copied into each thumbnail
_TEXT_MAX: Final = 4 * 1024 * 1024  # bytes of a PNG's uncompressed profile or text; Pillow's own limit is one MiB
_TILE: Final = 500_000  # pixels of a large image that are converted at once
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> the operation that turns the picture upright
_ROTATED_90: Final = {5, 6, 7, 8}  # the orientations that swap width and height


def prepare() -> None:
    """Configure Pillow for this process: formats loaded, no warnings, no threads."""
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = None  # estimate.py checks, with a limit for each format
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a thread's stack and heap would count as used memory
    PngImagePlugin.MAX_TEXT_CHUNK = _TEXT_MAX
    warnings.simplefilter("ignore")  # one file can cause tens of thousands
    if "HEIC" in BY_NAME:
        heic.prepare()


@dataclass(frozen=True)
class Decoded:
    """The size of the displayed image, with its orientation applied, and its renditions."""

    width: int
    height: int
    renditions: tuple[bytes, bytes, bytes]  # as in images.Picture


class _OverBudget(Exception):
    """Pillow tried to read more than a valid file of this many pixels can contain."""


class _Meter:
    """The part of a file that Pillow uses, with a limit on the bytes that it may read in all.

    With `end`, nothing after it is read. With `head`, it replaces the part of the file before `rest`.
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


def decode(file: IO[bytes], kind: Kind, estimated: Estimate) -> Decoded:
    """Raises ImageTruncated, ImageTooComplex; OSError when reading the file itself fails; MemoryError."""
    with errors_as_problems():
        if kind.pillow == "HEIC":
            return _decoded_heic(file, estimated)
        if kind.pillow == "PNG":
            # Check the checksums. The image cannot be used afterwards, so it is opened only for this.
            _open(file, kind, estimated)[0].verify()
        image, meter = _open(file, kind, estimated)
        return _decoded(image, meter, estimated)


@contextmanager
def errors_as_problems() -> Iterator[None]:
    """Turn what reading a picture may raise into Problems. Errors of the disk and MemoryError pass unchanged."""
    try:
        yield
    except (Problem, MemoryError):
        raise
    except _OverBudget as error:
        raise image_has_too_much_data() from error
    except Exception as error:  # named boundary: Pillow's readers raise nearly anything for damaged bytes
        if isinstance(error, OSError) and error.errno is not None:  # the disk's error, not the picture's
            raise
        raise _meant_by(error) from error


def _meant_by(error: Exception) -> Exception:
    """Recognise the limits of Pillow, and its lack of memory: then the picture is not damaged."""
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


def _open(file: IO[bytes], kind: Kind, estimated: Estimate) -> tuple[Image.Image, _Meter]:
    header = estimated.jpeg
    budget = _OVERHEAD_MAX + (estimated.end or 0)
    meter = _Meter(file, budget, estimated.end, *((header.kept, header.rest) if header else ()))
    # Pillow uses only read, seek and tell, although its annotation requires more.
    image = Image.open(meter, formats=[kind.pillow])  # type: ignore[arg-type]
    _refuse_other_size(image, estimated)
    meter.allow(estimated.pixels * _PIXEL_BYTES_MAX)
    return image, meter


def _refuse_other_size(image: "Image.Image | heic.Picture", estimated: Estimate) -> None:
    if image.width * image.height > estimated.pixels:
        raise ImageTooComplex("This picture states two different sizes. Save it again.")


def _decoded(image: Image.Image, meter: _Meter, estimated: Estimate) -> Decoded:
    width, height = image.size
    # JPEG can be decoded at an eighth of its size: the whole file is read, with 1/64 of the memory.
    image.draft("RGB", scaled(width, height, THUMBNAIL_2X_MAX))
    _release_canvases(image)
    image.load()
    # Read after the pixels, because in a PNG it may follow them.
    data = estimated.jpeg.exif if estimated.jpeg else image.info.get("exif") or b""
    orientation = exif.orientation(data)
    reduced = _reduced(image, REDUCED_MIN)
    _decode_other_frames(image, meter, estimated)
    thumbnails = _thumbnails(reduced, (width, height), orientation)
    if orientation in _ROTATED_90:
        width, height = height, width
    return Decoded(width, height, (*thumbnails, b""))


def _decoded_heic(file: IO[bytes], estimated: Estimate) -> Decoded:
    image = heic.opened(file, estimated.end or 0)
    _refuse_other_size(image, estimated)
    size, reduced = image.size, _reduced(image, PREVIEW_MAX)
    del image  # frees its pixels before the next steps
    preview = reduced.resize(scaled(*size, PREVIEW_MAX), Image.Resampling.LANCZOS)
    return Decoded(*size, (*_thumbnails(reduced, size), _webp(_in_srgb(preview, reduced))))


def _in_srgb(image: Image.Image, original: Image.Image) -> Image.Image:
    """Convert to sRGB for viewers that ignore colour profiles. A malformed profile is ignored."""
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(original.info["icc_profile"]))
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB")) or image
    except (OSError, ImageCms.PyCMSError):
        return image


class _Once:
    """A decoder of WebP that is released, with its two canvases, after its only frame."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def get_next(self) -> Any:
        decoder, self._decoder = self._decoder, None
        return decoder.get_next()


def _release_canvases(image: Image.Image) -> None:
    """Reduce the memory from 16 to 12 bytes per pixel. Without effect if Pillow renames the attribute."""
    if image.format == "WEBP" and not getattr(image, "is_animated", False) and hasattr(image, "_decoder"):
        image._decoder = _Once(image._decoder)  # noqa: SLF001 - there is no other way


def _thumbnails(reduced: Image.Image, size: tuple[int, int], orientation: int = 1) -> tuple[bytes, bytes]:
    """Return both thumbnails of an image of this size; the larger one is empty if it would not show more."""
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
        return b""  # it describes colours that renditions do not have (grey, CMYK), or is too large
    return bytes(profile)


def _reduced(image: "Image.Image | heic.Picture", least: int) -> Image.Image:
    """Return the image in RGB or RGBA, reduced by an integer factor; its longer side keeps at least `least` pixels, if
    it has as many.

    It works tile by tile: converting, or resizing with transparency, would need a second copy of a large image.
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


def _decode_other_frames(image: Image.Image, meter: _Meter, estimated: Estimate) -> None:
    """Decode the other frames of an animation: up to PIXELS_MAX pixels, FRAMES_MAX frames and FRAMES_CPU seconds."""
    for number in range(1, min(PIXELS_MAX // max(1, estimated.pixels), FRAMES_MAX)):
        meter.allow(estimated.pixels * _PIXEL_BYTES_MAX)
        if process_time() > FRAMES_CPU:
            return
        try:
            image.seek(number)
        except EOFError:
            return
        image.load()
        _refuse_other_size(image, estimated)


def _webp(small: Image.Image, profile: bytes = b"") -> bytes:
    """Encode a WebP. Pillow writes only the metadata that it is given, so EXIF data and the position are left out."""
    buffer = BytesIO()
    # Methods are 0 to 6. Method 2 takes a third of the time of the default, 4; the files are 5 % larger.
    small.save(buffer, "WEBP", quality=80, method=2, icc_profile=profile)
    return buffer.getvalue()
