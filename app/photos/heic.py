"""Decodes the main picture of a HEIC with libheif (pillow-heif). Runs only in the decoding process.

It does not use Pillow's plugin, which copies all pixels into an image with four bytes per pixel: 48 megapixels would
not fit. pixels.py needs only the size and the tiles of an image, so `Picture` has these, under Pillow's names.

libheif rotates and mirrors the picture as its `irot` and `imir` say (ISO 23008-12, 6.5.10 and 6.5.12). The EXIF
orientation repeats that and must not be applied again (ISO 23000-22, 7.3.6.5, requires that both agree).
"""

from typing import IO, Any

import pillow_heif
from PIL import Image

_BANDS = {
    "L": 1,
    "LA": 2,
    "La": 2,
    "RGB": 3,
    "RGBA": 4,
    "RGBa": 4,
}  # one byte each; more bits are reduced to eight
# In the messages of libheif when memory, or one of its own limits, is not enough.
_TOO_MUCH = ("memory", "limit", "bad_alloc")


class Picture:
    def __init__(self, decoded: pillow_heif.HeifImage) -> None:
        self._data, self._stride = decoded.data, decoded.stride
        self.size: tuple[int, int] = decoded.size
        self.mode: str = decoded.mode
        self.info: dict[str, Any] = {"icc_profile": decoded.info.get("icc_profile", b"")}
        self.width, self.height = self.size

    @property
    def has_transparency_data(self) -> bool:
        return self.mode[-1] in "Aa"

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        left, top, right, bottom = box
        bands = _BANDS[self.mode]
        data = self._data[top * self._stride + left * bands : (bottom - 1) * self._stride + right * bands]
        return Image.frombytes(self.mode, (right - left, bottom - top), data, "raw", self.mode, self._stride, 1)


def prepare() -> None:
    """Decode only the main picture, in one thread."""
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.options.DEPTH_IMAGES = False
    pillow_heif.options.AUX_IMAGES = False


def opened(file: IO[bytes], end: int) -> Picture:
    """Decode the first `end` bytes. Raises MemoryError; ValueError and IndexError for errors that libheif finds."""
    file.seek(0)
    try:
        found = pillow_heif.HeifFile(  # type: ignore[no-untyped-call]
            file.read(end), convert_hdr_to_8bit=True, hdr_to_16bit=True, remove_stride=False
        )
        return Picture(found[found.primary_index])
    except (ValueError, RuntimeError, OSError) as error:
        if any(word in str(error).lower() for word in _TOO_MUCH):
            raise MemoryError from error
        raise
