"""Pictures to upload, valid and invalid. Real ones, made by Pillow, and large: small bodies hide losses."""

import hashlib
import io
import random
import struct
import zlib
from dataclasses import dataclass
from functools import cache, cached_property

from PIL import Image

MEGABYTE = 1024**2
PHOTO_SIZE = (2000, 1800)  # of noise, which is about 3 MB as JPEG


@dataclass(frozen=True)
class Picture:
    content: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def size(self) -> int:
        return len(self.content)


def jpeg(width: int, height: int, seed: int = 0) -> Picture:
    """Noise, which does not compress, and differs for each seed."""
    noise = random.Random(seed).randbytes(width * height * 3)
    target = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(target, "JPEG", quality=90)
    return Picture(target.getvalue())


def photo(seed: int = 0) -> Picture:
    return jpeg(*PHOTO_SIZE, seed=seed)


def padded(picture: Picture, size: int) -> Picture:
    """The picture with zeros behind its end, which decoders ignore, up to this size."""
    return Picture(picture.content + bytes(size - picture.size))


@cache
def sized(size: int) -> Picture:
    """A valid picture of this size, quick to decode, with noise behind its end: no two parts are alike, so that a lost,
    repeated or misplaced block shows. If the size is too small, it is not a picture.
    """
    picture = jpeg(16, 16).content
    return Picture((picture + random.Random(size).randbytes(size))[:size])


def truncated(picture: Picture) -> Picture:
    return Picture(picture.content[: picture.size * 2 // 3])


def text() -> Picture:
    return Picture(b"This is not a picture, whatever its name says.\n" * 60_000)


@cache
def bomb(side: int = 30_000) -> Picture:
    """A PNG of one colour: 900 million pixels, each one bit, in about 100 KB."""
    rows = zlib.compressobj(9)
    row = bytes(1 + side // 8)  # filter 0, then eight pixels in each byte
    packed = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return Picture(
        b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", packed) + _png_chunk(b"IEND", b"")
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
