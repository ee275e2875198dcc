"""Estimates from its header, before decoding, how much memory a picture needs.

The estimate is cheap and bounded. It refuses obviously excessive pictures early, and separates small from large ones.
It does not protect the machine, because a header may lie: the limits of the decoding process do (decoder.py). The
costs, in bytes per pixel, were measured as the growth of a process that decodes with Pillow 13.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final

from photos import jpegheader
from photos.errors import ImageTooComplex, ImageTooManyPixels, ImageTruncated, NotAnImage, image_has_too_much_data
from photos.kinds import Kind
from photos.limits import FRAMES_MAX, MEMORY_MAX, PREVIEW_MAX, THUMBNAIL_2X_MAX

_CHUNKS_MAX: Final = 4096  # of a PNG before its pixels; of a whole WebP
_EXTRA_MAX: Final = 32 * 1024**2  # bytes of text, profiles and others before the pixels of a PNG
_BLOCKS_MAX: Final = 1_000_000  # of a GIF, 255 bytes each
_COMMENTS_MAX: Final = 1024**2  # bytes of a GIF's comments, which Pillow joins one by one
_BOXES_MAX: Final = 1000  # outermost boxes of an AVIF or HEIC
_BOX_MAX: Final = 4 * 1024**2  # bytes of its `meta` or `moov` box
_ITEMS_MAX: Final = 64 * 1024  # bytes of its four lists of items; 1,000 tiles take 50 KB
_PIXEL_BYTES: Final = 4  # that Pillow uses, for RGB or RGBA
_DECODER_OVERHEAD: Final = 4 * 1024**2  # bytes that a decoder needs in addition
_Reader = Callable[[IO[bytes]], "Estimate"]


@dataclass(frozen=True)
class Estimate:
    width: int
    height: int
    memory: int  # bytes
    jpeg: jpegheader.Header | None = None
    end: int | None = None  # of the picture in its file, for formats that are read as a whole

    @property
    def pixels(self) -> int:
        return self.width * self.height


def from_header(file: IO[bytes], kind: Kind) -> Estimate:
    """Estimate the memory. Raises ImageTruncated, ImageTooManyPixels, ImageTooComplex."""
    found = _READERS[kind.pillow](file)
    if found.pixels > kind.pixels_max:
        raise ImageTooManyPixels(
            f"This picture has more than {kind.pixels_max // 1_000_000} million pixels, the limit for its format. "
            "Send it smaller."
        )
    if found.memory > MEMORY_MAX:
        raise ImageTooComplex(
            f"This picture takes {found.memory // 1024**2} MiB to decode; the limit is {MEMORY_MAX // 1024**2} MiB. "
            "Send it smaller, or not progressive, or without animation."
        )
    return found


def _truncated() -> ImageTruncated:
    return ImageTruncated(
        "This picture is damaged or incomplete. Check that it opens on your device, and send it again."
    )


def _unpacked(layout: str, file: IO[bytes]) -> tuple[int, ...]:
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise _truncated()
    return struct.unpack(layout, data)


# --- JPEG -------------------------------------------------------------------------------------------------------------


def scaled(width: int, height: int, most: int) -> tuple[int, int]:
    """Return the size, scaled down in proportion if it is wider or higher than `most`."""
    scale = min(1.0, most / max(width, height, 1))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _jpeg(file: IO[bytes]) -> Estimate:
    header = jpegheader.read(file)
    width, height = header.frame.width, header.frame.height
    small = scaled(width, height, THUMBNAIL_2X_MAX)
    factor = next(n for n in (8, 4, 2, 1) if n == 1 or min(width // small[0], height // small[1]) >= n)
    if header.frame.marker not in _REDUCIBLE:
        factor = 1
    shown = (width // factor + 1) * (height // factor + 1) * _PIXEL_BYTES
    return Estimate(width, height, header.memory + shown + _DECODER_OVERHEAD, header)


_REDUCIBLE: Final = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # frames with coefficients, Huffman or arithmetic coding


# --- PNG --------------------------------------------------------------------------------------------------------------

_GREY, _PALETTE = 0, 3
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type
_ANIMATED_PNG: Final = 17  # bytes per pixel, from the third frame on: canvas, previous frame, frame, disposal


def _png(file: IO[bytes]) -> Estimate:
    width = height = cost = extra = rows = 0
    end = file.seek(0, 2)
    for number, (name, start, length) in enumerate(chunks(file, 8)):
        if name == b"IHDR" and length >= 13:  # noqa: PLR2004 - PNG, 11.2.1
            file.seek(start)
            width, height, depth, colour = _unpacked(">IIBB", file)
            rows = 2 * width * depth * _CHANNELS.get(colour, 4) // 8  # decoding a row needs the previous row
            cost = max(cost, (2 if depth == 16 else 1) if colour in {_GREY, _PALETTE} else _PIXEL_BYTES)  # noqa: PLR2004 - bits
        elif name == b"acTL" and int.from_bytes(at(file, start, 4)) > 1:
            cost = _ANIMATED_PNG
        elif name in {b"IDAT", b"IEND"}:
            break
        if start + length > end:
            raise _truncated()
        extra += length
        if number > _CHUNKS_MAX or extra > _EXTRA_MAX:
            raise image_has_too_much_data()
    return Estimate(width, height, width * height * cost + rows + extra + _DECODER_OVERHEAD)


def chunks(file: IO[bytes], position: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start of the data and length of the data of each chunk; a checksum of four bytes follows the data."""
    while len(head := at(file, position, 8)) == 8:  # noqa: PLR2004 - both fields of it
        length, name = struct.unpack(">I4s", head)
        yield name, position + 8, length
        position += 12 + length


def at(file: IO[bytes], position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


# --- WebP -------------------------------------------------------------------------------------------------------------

_STILL_WEBP, _ANIMATED_WEBP = 12, 17  # bytes per pixel: two canvases and the output; and the next frame


def _webp(file: IO[bytes]) -> Estimate:
    size = 8 + int.from_bytes(at(file, 4, 4), "little")
    width, height, is_animated = _webp_canvas(at(file, 12, 18))
    length = min(size, file.seek(0, 2))  # Pillow reads all of it, and copies it
    _refuse_many_chunks(file, length)
    cost = _ANIMATED_WEBP if is_animated else _STILL_WEBP
    return Estimate(width, height, width * height * cost + 2 * length + _DECODER_OVERHEAD, end=length)


def _refuse_many_chunks(file: IO[bytes], end: int) -> None:
    position, number = 12, 0
    while position < end and len(head := at(file, position, 8)) == 8:  # noqa: PLR2004 - name and length
        position += 8 + (struct.unpack("<4xI", head)[0] + 1) // 2 * 2  # RIFF: even
        number += 1
        if number > _CHUNKS_MAX:
            raise image_has_too_much_data()


def _webp_canvas(head: bytes) -> tuple[int, int, bool]:
    """Read the size from the first chunk: RFC 9649, sections 2.5 to 2.7."""
    if len(head) < 18:  # noqa: PLR2004 - what was asked for
        raise _truncated()
    if head[:4] == b"VP8X":
        width, height = int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
        return width, height, bool(head[8] & 2)
    if head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, False
    return int.from_bytes(head[14:16], "little") & 0x3FFF, int.from_bytes(head[16:18], "little") & 0x3FFF, False


# --- GIF --------------------------------------------------------------------------------------------------------------

_ANIMATED_GIF: Final = 18  # bytes per pixel: canvas in RGBA, previous canvas, disposal, frame, palette
IMAGE, EXTENSION = 0x2C, 0x21


def _gif(file: IO[bytes]) -> Estimate:
    file.seek(6)
    width, height, flags = _unpacked("<HHBxx", file)
    file.seek(table(flags), 1)
    frames = 0
    left = [_BLOCKS_MAX, _COMMENTS_MAX]  # remaining blocks, and bytes of extensions
    while frames < FRAMES_MAX:
        what = file.read(1)
        if what == bytes([IMAGE]):
            x, y, across, down, flags = _unpacked("<HHHHB", file)
            width, height = max(width, x + across), max(height, y + down)
            file.seek(table(flags) + 1, 1)
            frames += 1
            _skip_blocks(file, left, is_extension=False)
        elif what == bytes([EXTENSION]):
            file.seek(1, 1)
            _skip_blocks(file, left, is_extension=True)
        elif what != b"\0":  # the trailer, the end, or what Pillow does not read; a single zero is skipped
            break
        left[0] -= 1
        if min(left) < 0:
            raise image_has_too_much_data()
    cost = _ANIMATED_GIF if frames > 1 else 1
    return Estimate(width, height, width * height * cost + _DECODER_OVERHEAD)


def table(flags: int) -> int:
    """Return the bytes of a colour table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(file: IO[bytes], left: list[int], *, is_extension: bool) -> None:
    while (size := file.read(1)) not in {b"", b"\0"}:
        file.seek(size[0], 1)
        left[0] -= 1
        left[1] -= size[0] if is_extension else 0
        if min(left) < 0:
            raise image_has_too_much_data()


# --- AVIF -------------------------------------------------------------------------------------------------------------

_ISPE: Final = re.compile(rb"ispe\0\0\0\0(.{8})", re.DOTALL)  # ISO 23008-12, 6.5.3: width and height
_AV1C: Final = re.compile(rb"av1C\x81.(.)", re.DOTALL)  # AV1-ISOBMFF, 2.3.3: depth, and which colours are subsampled
_TRACK: Final = re.compile(rb"av01.{24}(.{4})", re.DOTALL)  # ISO 14496-12, 12.1.3: a sequence's width and height
_LISTS: Final = re.compile(rb"iinf|iloc|iref|ipma")  # ISO 14496-12, 8.11; ISO 23008-12, 9.3
_HIGH_DEPTH, _MONOCHROME, _HALF_ACROSS, _HALF_DOWN = 0x40, 0x10, 0x08, 0x04
_FRAMES_KEPT: Final = 4  # reference frames of a sequence


def _avif(file: IO[bytes]) -> Estimate:
    meta, moov, end = _descriptions(file)
    _refuse_many_items(meta)
    sizes = [struct.unpack(">II", found) for found in _ISPE.findall(meta)]
    sizes += [struct.unpack(">HH", found) for found in _TRACK.findall(moov)]
    if not sizes:
        raise _truncated()
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    planes = max((_planes(found[0]) for found in _AV1C.findall(meta + moov)), default=3.0)
    has_alpha = b":aux:alpha" in meta or b"auxiliary:alpha" in meta or b"auxv" in moov
    cost = _PIXEL_BYTES + (4.0 if has_alpha else 3.0) + 1 + planes + (1.5 if has_alpha else 0)
    if moov:
        cost += _PIXEL_BYTES + _FRAMES_KEPT * planes
    return Estimate(width, height, int(width * height * cost) + end + _DECODER_OVERHEAD, end=end)


def _descriptions(file: IO[bytes]) -> tuple[bytes, bytes, int]:
    """Return the boxes that describe still pictures and sequences, and the end of the last box."""
    found = {b"meta": b"", b"moov": b""}
    position, end = 0, file.seek(0, 2)
    for _ in range(_BOXES_MAX):
        name, size = box(at(file, position, 16), end - position)
        if not size:
            break
        if name in found:
            if size + len(found[name]) > _BOX_MAX:
                raise image_has_too_much_data()
            found[name] += at(file, position, size)
        position += size
    return found[b"meta"], found[b"moov"], position


def _refuse_many_items(meta: bytes) -> None:
    """Limit the items: the decoder searches all items for each item, and took 17 s for 60,000 items in 1 MB."""
    size = 0
    for found in _LISTS.finditer(meta):
        own = int.from_bytes(meta[max(0, found.start() - 4) : found.start()])
        size += own if own >= 8 else _ITEMS_MAX  # noqa: PLR2004 - below that: to the end, or a 64-bit size
    if size > _ITEMS_MAX:
        raise image_has_too_much_data()


def box(head: bytes, left: int) -> tuple[bytes, int]:
    """Return name and size; size 0 if this is not a box, for example padding."""
    if len(head) < 8 or not head[4:8].isalnum():  # noqa: PLR2004 - size and name
        return b"", 0
    size, name = struct.unpack_from(">I4s", head)
    if size == 1:
        size = int.from_bytes(head[8:16])
    if size == 0:  # to the end
        size = left
    return name, min(size, left) if size >= 8 else 0  # noqa: PLR2004 - its own head


def _planes(flags: int) -> float:
    """Return the bytes per pixel of the codec's output."""
    colours = 0.0 if flags & _MONOCHROME else 2.0
    colours /= (2 if flags & _HALF_ACROSS else 1) * (2 if flags & _HALF_DOWN else 1)
    return (1 + colours) * (2 if flags & _HIGH_DEPTH else 1)


# --- HEIC -------------------------------------------------------------------------------------------------------------

# ISO 14496-15, 8.3.2: subsampling of colours, and bits above eight.
_HVCC: Final = re.compile(rb"hvcC\x01.{15}(.)(.)", re.DOTALL)
_COLOURS: Final = (0.0, 0.5, 1.0, 2.0)  # colour values per pixel: monochrome, 4:2:0, 4:2:2, 4:4:4
_PLAIN: Final = 1.5  # bytes per pixel of 4:2:0 with eight bits, which is converted in one step
_PREVIEW: Final = 10  # bytes per pixel: the preview, and its encoding
_THREAD: Final = 8 * 1024**2  # bytes of address space of its stack


def _heic(file: IO[bytes]) -> Estimate:
    meta, moov, end = _descriptions(file)
    _refuse_many_items(meta)
    sizes = [struct.unpack(">II", found) for found in _ISPE.findall(meta)]
    if not sizes:
        raise NotAnImage("This HEIC contains no still picture. Send a picture, not a video.") if moov else _truncated()
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    planes = max((_hevc_planes(*found) for found in _HVCC.findall(meta)), default=6.0)
    has_alpha = b"auxid:1\0" in meta or b"auxiliary:alpha" in meta
    bands = _PIXEL_BYTES if has_alpha else 3
    decoding = planes + bands + 0.5 if planes <= _PLAIN else 2 * planes + bands + 1
    decoding += 2 * planes if has_alpha and planes > _PLAIN else has_alpha
    shrinking = width * height * bands + _of_preview(width, height)
    return Estimate(
        width, height, max(int(width * height * decoding), shrinking) + 2 * end + _THREAD + _DECODER_OVERHEAD, end=end
    )


def _hevc_planes(colours: bytes, depth: bytes) -> float:
    """Return the bytes per pixel of the codec's output."""
    return (1 + _COLOURS[colours[0] & 3]) * (2 if depth[0] & 7 else 1)


def _of_preview(width: int, height: int) -> int:
    """Return the bytes for the preview: its source, and the conversion."""
    factor = max(1, max(width, height) // PREVIEW_MAX)
    small = scaled(width, height, PREVIEW_MAX)
    return width * height * _PIXEL_BYTES // factor**2 + small[0] * small[1] * _PREVIEW


_READERS: dict[str, _Reader] = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif, "AVIF": _avif, "HEIC": _heic}
