"""Pictures that the tests generate: valid ones and hostile ones."""

import random
import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image


def picture(width: int = 64, height: int = 48, kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    """A noisy picture: noise does not compress, so its size in bytes follows its size in pixels."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    image = Image.frombytes(mode, (width, height), random.Random(width * height).randbytes(width * height * bands))
    return encoded(image, kind, **options)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated_photo(width: int, height: int, orientation: int) -> bytes:
    """A photo as phones store it: with its position and an orientation.

    Its left half, as stored, is red, the right half blue.
    """
    image = Image.new("RGB", (width, height), "blue")
    image.paste("red", (0, 0, width // 2, height))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N-of-home"
    return encoded(image, "JPEG", exif=exif, quality=95)


def animation(kind: str, frames: int = 5) -> bytes:
    images = [Image.new("RGB", (40, 30), (index * 40, 99, 255 - index * 40)) for index in range(frames)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:])


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of any chunks, with correct checksums."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        parts += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))]
    return b"".join(parts)


def ihdr(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)  # one bit per pixel


def bomb(width: int, height: int) -> bytes:
    """A small file with many pixels: correct checksums, black, one bit per pixel."""
    line = b"\0" + bytes((width + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    return png(ihdr(width, height), (b"IDAT", data), (b"IEND", b""))


def png_with(*extra: tuple[bytes, bytes]) -> bytes:
    """A valid PNG of 8 x 1 pixels with more chunks before its pixels."""
    return png(ihdr(8, 1), *extra, (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))
