"""Hostile pictures: small files that are valid in their formats and very expensive to decode."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pillow_heif
from PIL import Image

from tests.app.pictures import encoded, png, png_with

MIB = 1024**2
TILE = 512  # pixels of a side
_DC = bytes([0, 0, 1, *[0] * 14, 0])  # one code of two bits, 00: a difference of zero
_AC = bytes([0x10, 0, 1, *[0] * 14, 0])  # the same: end of block
_END_OF_16384_BLOCKS = bytes([0x10, 1, *[0] * 15, 0xE0])  # the code 0, then 14 bits: the number of further blocks


def segment(marker: int, data: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(*segments: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + b"\xff\xd9"


def frame(marker: int, width: int, height: int, factors: tuple[int, ...] = (0x11,)) -> bytes:
    """SOFn: 8 bits, components 1, 2 and so on with these sampling factors."""
    parts = b"".join(bytes([number + 1, factor, 0]) for number, factor in enumerate(factors))
    return segment(marker, struct.pack(">BHHB", 8, height, width, len(factors)) + parts)


def scan(components: tuple[int, ...] = (1,), first: int = 0, last: int = 63) -> bytes:
    parts = b"".join(bytes([number, 0]) for number in components)
    return segment(0xDA, bytes([len(components)]) + parts + bytes([first, last, 0]))


def tables() -> bytes:
    return segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC4, _DC) + segment(0xC4, _AC)


def in_separate_scans(side: int, components: int) -> bytes:
    """A baseline JPEG with its components in separate scans: the decoder keeps all coefficients until the last scan."""
    blocks = (-(-side // 8)) ** 2
    data = bytes(-(-blocks // 2))  # a block takes four bits, all of them zero
    head = frame(0xC0, side, side, (0x11,) * components)
    return jpeg(tables(), head, *(scan((number + 1,)) + data for number in range(components)))


def of_many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG that repeats an empty scan."""
    whole = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    blocks = (-(-side // 8)) ** 2
    runs = "".join(["0" + "1" * 14] * -(-blocks // 32767))
    runs += "1" * (-len(runs) % 8)
    data = int(runs, 2).to_bytes(len(runs) // 8).replace(b"\xff", b"\xff\0")
    empty = scan((1,), 1, 63) + data
    return whole[:-2] + segment(0xC4, _END_OF_16384_BLOCKS) + empty * scans + whole[-2:]


def progressive(side: int, mode: str) -> bytes:
    """A progressive JPEG of one colour: very few bytes."""
    return encoded(Image.new(mode, (side, side), 99), "JPEG", progressive=True, quality=50, subsampling=0)


def with_segments(marker: int, data: bytes, count: int) -> bytes:
    """A valid JPEG with the same segment `count` times."""
    whole = encoded(Image.new("RGB", (16, 16)), "JPEG")
    return whole[:2] + segment(marker, data) * count + whole[2:]


def directory(entries: int, size: int) -> bytes:
    """EXIF data whose entries all name the same bytes, `size` of them."""
    tags = [tag for tag in range(1, 65535) if tag != 0x0112][:entries]
    parts = b"".join(struct.pack("<HHII", tag, 7, size, 8) for tag in tags)
    data = b"II*\0" + struct.pack("<IH", 8, entries) + parts + bytes(4)
    return data + bytes(max(0, 8 + size - len(data)))


def jpeg_with_exif(exif: bytes) -> bytes:
    """A valid JPEG with this EXIF data in as many segments as necessary."""
    whole = encoded(Image.new("RGB", (16, 16)), "JPEG")
    parts = [b"Exif\0\0" + exif[start : start + 65_000] for start in range(0, len(exif), 65_000)]
    return whole[:2] + b"".join(segment(0xE1, part) for part in parts) + whole[2:]


def png_with_exif(exif: bytes) -> bytes:
    return png_with((b"eXIf", exif))


def animation(kind: str, side: int, frames: int = 2, mode: str = "RGBA", **options: object) -> bytes:
    images = [Image.new(mode, (side, side), (9 * number, 20, 30, 128)[: len(mode)]) for number in range(frames)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:], **options)


def gif(side: int, frames: int = 2, extensions: bytes = b"") -> bytes:
    """A GIF as small as possible: its frames are as large as the canvas, and have only a clear code and an end code."""
    size = struct.pack("<HH", side, side)
    head = b"GIF89a" + size + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    one = b"," + bytes(4) + size + b"\0\x02\x02\x44\x01\0"
    return head + extensions + one * frames + b";"


def comment(length: int) -> bytes:
    """A comment of a GIF, in blocks of 255 bytes."""
    return b"!\xfe" + (b"\xff" + b"c" * 255) * (length // 255) + b"\0"


def flat_png(width: int, height: int, colour: int = 6, depth: int = 8, frames: int = 0) -> bytes:
    """A PNG of zeros, of any size, encoded without the whole picture in memory. Colour 6 is RGBA, 2 RGB, 0 grey."""
    bands = {6: 4, 2: 3, 0: 1, 3: 1}[colour]
    line = bytes(1 + width * bands * depth // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    if frames:
        chunks.append((b"acTL", struct.pack(">II", frames, 0)))
    return png(*chunks, (b"IDAT", data), (b"IEND", b""))


def camera_jpeg(width: int, height: int, **options: object) -> bytes:
    """A gradient, as cameras encode: three components, colours at half the size."""
    grey = Image.linear_gradient("L").resize((width, height))
    buffer = BytesIO()
    Image.merge("RGB", (grey, grey, grey)).save(buffer, "JPEG", quality=80, **options)
    return buffer.getvalue()


def heic(columns: int, rows: int, declared: tuple[int, int] | None = None, **options: object) -> bytes:
    """A picture of identical tiles of 512 x 512 pixels: 1 KB for any size.

    `declared` is the size in the header; by default the true size. ISO 23008-12, 6.6.2.3.
    """
    pillow_heif.register_heif_opener()
    whole = encoded(Image.new("RGB", (TILE, TILE), (90, 80, 70)), "HEIF", quality=50, **options)
    tile = whole[whole.index(b"mdat") + 4 :]
    start = whole.index(b"hvcC") - 4
    codec = whole[start : start + struct.unpack_from(">I", whole, start)[0]]
    size, tiles = (columns * TILE, rows * TILE), columns * rows
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, *size)
    sizes = b"".join(box(b"ispe", struct.pack(">4xII", *each)) for each in ((TILE, TILE), declared or size))
    uses = b"".join(struct.pack(">HBBB", number, 2, 0x81, 2) for number in range(2, tiles + 2))
    uses = struct.pack(">4xIHBB", tiles + 1, 1, 1, 3) + uses
    kinds = b"".join(
        box(b"infe", struct.pack(">B3xHH4sx", 2, number, 0, b"grid" if number == 1 else b"hvc1"))
        for number in range(1, tiles + 2)
    )
    parts = struct.pack(f">4xI4sHH{tiles}H", 12 + 2 * tiles, b"dimg", 1, tiles, *range(2, tiles + 2))

    def described(offset: int) -> bytes:
        where = struct.pack(">B3xBBHHHHHII", 1, 0x44, 0, tiles + 1, 1, 1, 0, 1, 0, len(grid))
        where += b"".join(struct.pack(">HHHHII", number, 0, 0, 1, offset, len(tile)) for number in range(2, tiles + 2))
        meta = box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + box(b"pitm", struct.pack(">4xH", 1))
        meta += box(b"iloc", where) + box(b"iinf", struct.pack(">4xH", tiles + 1) + kinds) + box(b"iref", parts)
        meta += box(b"iprp", box(b"ipco", codec + sizes) + box(b"ipma", uses)) + box(b"idat", grid)
        return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4) + meta)

    return described(len(described(0)) + 8) + box(b"mdat", tile)


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box (ISO 14496-12, 4.2)."""
    return struct.pack(">I4s", len(content) + 8, kind) + content


def memory(line: str) -> int:
    """Return the memory of this process in bytes: VmRSS (current) or VmHWM (peak) of /proc/self/status."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(found[line].split()[0]) * 1024
