"""Finds the position in a picture's file, and returns patches that remove it without moving any bytes.

Runs in the decoding process (decoder.py), on a file that has been decoded. metadata.py knows the content of a block of
metadata; this module knows where the blocks are in each format:

    JPEG        segments APP0 to APP15; the pictures after the first one (MPO, gain maps), which are also JPEGs
    PNG         eXIf; texts that contain EXIF, XMP or IPTC, or are named after a location (as ImageMagick writes them)
    WebP        the chunks EXIF and XMP
    GIF         application extensions
    AVIF, HEIC  the items Exif and mime; user data of sequences

Other data is kept if it cannot contain a position (pixels, colours, timing, the owner's comments); segments, chunks and
boxes with unknown names are blanked. Data after the end of the picture is blanked if it looks like another file or like
metadata (the "motion photo" of a phone is a video there, with its own position); padding is kept.

Pixels never change, and blanked data keeps its length, so orientation, colours and checksums stay valid.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import IO, Final

from photos import estimate, isomedia, jpegheader, metadata
from photos import exif as exif_reader
from photos.errors import ImageTooComplex, ImageTruncated, image_has_too_much_data
from photos.patches import Extent, Patch, Patches, patched

_PICTURES_MAX: Final = 16  # JPEGs in one file
_WALKED_MAX: Final = 8  # blocks of one kind in a picture that are parsed; the others are blanked as a whole
_CHUNKS_MAX: Final = 1_000_000  # of a PNG; and blocks of a GIF
_BOXES_MAX: Final = 1000  # outermost boxes, as in estimate.py
_META_MAX: Final = 4 * 1024**2  # bytes of a `meta` box
_PIECE: Final = 1024**2  # bytes searched at a time
_OVERLAP: Final = 64
_SEARCHED_MAX: Final = 128 * 1024**2  # bytes after a picture; searching more takes over a second of processor time
_TELLING: Final = (  # videos, pictures, metadata, Samsung's trailer; too long to occur in noise
    *(b"mvhd\0\0\0", b"ftypmp4", b"ftypiso", b"ftypheic", b"ftypavif", b"ftypmif1", b"jumb\0\0\0", b"MotionPhoto"),
    *(b"Exif\0\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"ns.adobe.com", b"<x:xmpmeta", b"Photoshop 3.0"),
    *(b"\0\0\0\rIHDR", b"GPSLat", b"GPSLon", b"atitude", b"ongitude", b"ocation"),
)
_Change = Callable[[bytes], bytes]


def find(file: IO[bytes], kind: str) -> list[Patch]:
    """Return the patches that remove the position from a picture of this kind (Pillow's name); none if it has none.

    Raises ImageTruncated, ImageTooComplex; OSError when reading the file itself fails; MemoryError.
    """
    patches = Patches(file)
    FINDERS[kind](patches)
    return patches.found


def _zeros(data: bytes) -> bytes:
    return bytes(len(data))


def _blank_behind(patches: Patches, start: int, end: int) -> None:
    """Blank data that is not part of the picture, if it is more than padding, or too long to search."""
    if end - start > _SEARCHED_MAX:
        patches.fill(start, end - start)
        return
    for position in range(start, end, _PIECE):
        piece = patches.read([(position, min(_PIECE + _OVERLAP, end - position))])
        if any(map(piece.__contains__, _TELLING)):
            patches.fill(start, end - start)
            return


def _spaces(data: bytes) -> bytes:
    return b" " * len(data)


# --- JPEG -------------------------------------------------------------------------------------------------------------

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION, _PHOTOSHOP = b"http://ns.adobe.com/xmp/extension/\0", b"Photoshop 3.0\0"
_EXTENSION_HEAD: Final = len(_EXTENSION) + 32 + 4 + 4  # name, digest, length of the whole, offset
_APP0, _APP15 = 0xE0, 0xEF
_HARMLESS: Final = {  # segments that begin with these describe pixels and colours
    0xE0: (b"JFIF\0", b"JFXX\0", b"AVI1"),
    0xE2: (b"ICC_PROFILE\0", b"MPF\0", b"urn:iso:std:iso:ts:21496:-1\0"),
    0xEB: (b"JP", b"HDR_RI"),
    0xEE: (b"Adobe",),
}
_SOI: Final = b"\xff\xd8\xff"


def _jpeg(patches: Patches) -> None:
    """Patch the picture and those that follow it. Data between them, and after the last, is blanked."""
    end = _Jpeg(patches, 0).walk()
    for _ in range(_PICTURES_MAX):
        start = _next_picture(patches, end)
        if start is None:
            break
        mark = len(patches.found)
        try:
            next_end = _Jpeg(patches, start).walk()
        except (ImageTruncated, ImageTooComplex):  # not a picture
            del patches.found[mark:]
            break
        _blank_behind(patches, end, start)
        end = next_end
    _blank_behind(patches, end, patches.size)


def _next_picture(patches: Patches, position: int) -> int | None:
    """Return where the next picture begins."""
    while len(piece := patches.read([(position, 1024**2)])) >= len(_SOI):
        found = piece.find(_SOI)
        if found >= 0:
            return position + found
        position += len(piece) - len(_SOI) + 1
    return None


class _Jpeg:
    """One picture, from its SOI on. Blocks in several segments are joined first."""

    def __init__(self, patches: Patches, start: int, *, has_preview: bool = True) -> None:
        self._patches = patches
        self._start = start
        self._has_preview = has_preview
        self._exif: list[list[Extent]] = []
        self._xmp: list[list[Extent]] = []
        self._extended: dict[bytes, list[tuple[int, Extent]]] = {}
        self._resources: list[Extent] = []

    def walk(self) -> int:
        """Return where it ends."""
        end = self._patches.size
        for marker, start, length in self._segments():
            if marker == jpegheader.EOI:
                end = start + 2
                break
            if _APP0 <= marker <= _APP15:
                self._application(marker, start + 4, length - 2)
        self._change_all()
        return end

    def _segments(self) -> Iterator[tuple[int, int, int]]:
        """Yield each marker, its offset, and its segment's length without the marker; of all scans, up to the end."""
        file, position = self._patches.file, self._patches.size
        for marker, at, length in jpegheader.segments(file, self._start + 2):
            yield marker, at, length
            if marker == jpegheader.SOS:
                position = at + 2 + length
                break
        for _ in range(jpegheader.SEGMENTS_MAX):
            position, found = jpegheader.marker_in_data(file, position)
            if found is None:
                return
            file.seek(position + 2)
            length = int.from_bytes(file.read(2))
            yield found, position, length
            position += 2 + length
        raise image_has_too_much_data()

    def _application(self, marker: int, start: int, length: int) -> None:
        begin = self._patches.read([(start, min(length, _EXTENSION_HEAD))])
        if marker == 0xE1 and begin.startswith(_EXIF):  # noqa: PLR2004 - APP1
            self._add_exif((start + len(_EXIF), length - len(_EXIF)), begin[len(_EXIF) :])
        elif marker == 0xE1 and begin.startswith(_XMP):  # noqa: PLR2004
            self._xmp.append([(start + len(_XMP), length - len(_XMP))])
        elif marker == 0xE1 and begin.startswith(_EXTENSION) and len(begin) == _EXTENSION_HEAD:  # noqa: PLR2004
            part = start + _EXTENSION_HEAD, length - _EXTENSION_HEAD
            digest = begin[len(_EXTENSION) : len(_EXTENSION) + 32]
            self._extended.setdefault(digest, []).append((int.from_bytes(begin[-4:]), part))
        elif marker == 0xED and begin.startswith(_PHOTOSHOP):  # noqa: PLR2004 - APP13
            self._resources.append((start + len(_PHOTOSHOP), length - len(_PHOTOSHOP)))
        elif not _is_harmless(marker, begin):
            self._patches.fill(start, length)

    def _add_exif(self, extent: Extent, begin: bytes) -> None:
        """A block that is longer than one segment continues in the next, without another header."""
        if self._exif and not begin.startswith((b"II*\0", b"MM\0*")):
            self._exif[-1].append(extent)
        else:
            self._exif.append([extent])

    def _change_all(self) -> None:
        preview = _preview if self._has_preview else _zeros
        for number, extents in enumerate(self._exif):
            is_walked = number < _WALKED_MAX
            self._change(extents, partial(metadata.exif, preview=preview) if is_walked else metadata.only_orientation)
        extended = [[extent for _, extent in sorted(parts)] for parts in self._extended.values()]
        for number, extents in enumerate(self._xmp + extended):
            self._change(extents, metadata.xmp if number < _WALKED_MAX else _spaces)
        self._change(self._resources, metadata.photoshop)

    def _change(self, extents: list[Extent], change: _Change) -> None:
        data = self._patches.read(extents)
        self._patches.replace(extents, data, change(data))


def _is_harmless(marker: int, begin: bytes) -> bool:
    if begin[8 + 4 : 8 + 8] == b"jumb":  # APP11: content credentials, which may contain a position; not JPEG XT
        return False
    return begin.startswith(_HARMLESS.get(marker, ())) or not begin.strip(b"\0")


def _preview(data: bytes) -> bytes:
    """Remove the position from the preview in EXIF data, which is a JPEG with its own EXIF data."""
    file = BytesIO(data)
    patches = Patches(file)
    try:
        end = _Jpeg(patches, 0, has_preview=False).walk()
    except (ImageTruncated, ImageTooComplex):
        return data if b"Exif\0\0" not in data and b"ns.adobe.com" not in data else bytes(len(data))
    _blank_behind(patches, end, patches.size)
    return b"".join(patched(file, patches.found))


# --- PNG --------------------------------------------------------------------------------------------------------------

_TEXTS: Final = {b"tEXt", b"zTXt", b"iTXt"}
_PACKET: Final = b"XML:com.adobe.xmp\0"
_PROFILE: Final = b"raw profile type "  # of ImageMagick, in hexadecimal: EXIF, XMP, IPTC and APP1
_PROFILE_MAX: Final = 256 * 1024  # bytes of a profile that is searched for the orientation
_SMALLEST: Final = 26  # bytes of EXIF data with only an orientation
_HARMLESS_CHUNKS: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV mDCv cLLI cLLi bKGD hIST pHYs sPLT tIME acTL fcTL "
    b"fdAT iDOT oFFs pCAL sCAL sTER gIFg gIFt".split()
)


def _png(patches: Patches) -> None:
    end = patches.size
    for number, (name, start, length) in enumerate(estimate.chunks(patches.file, 8)):
        if number > _CHUNKS_MAX:
            raise image_has_too_much_data()
        if name == b"IEND":
            end = start + length + 4
            break
        is_known = name in _HARMLESS_CHUNKS or not name[0] & 0x20  # PNG, 5.4: critical chunks, which a picture needs
        if not is_known and start + length + 4 <= patches.size:
            _chunk(patches, name, start, length)
    _blank_behind(patches, end, patches.size)


def _chunk(patches: Patches, name: bytes, start: int, length: int) -> None:
    extent = (start - 4, length + 8)  # including name and checksum
    old = patches.read([extent])
    data = old[4:-4]
    new_name, new = name, bytes(length)
    if name == b"eXIf":
        new = metadata.exif(data)
    elif name in _TEXTS:
        new_name, new = _text(name, data)
    if new != data:
        body = new_name + new
        patches.replace([extent], old, body + zlib.crc32(body).to_bytes(4))


def _text(name: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return the new name and content of a text chunk."""
    keyword = data.partition(b"\0")[0]
    if name == b"iTXt" and data.startswith(_PACKET + b"\0"):  # uncompressed
        language = data.find(b"\0", len(_PACKET) + 2)
        head = data[: data.find(b"\0", language + 1) + 1]
        return name, head + metadata.xmp(data[len(head) :])
    if keyword.lower().startswith(_PROFILE):
        return b"tEXt", _text_of(keyword, _raw_orientation(data), len(data))
    if data.startswith(_PACKET) or metadata.is_place(keyword.decode("latin-1")):
        return b"tEXt", _text_of(b"Comment", b"", len(data))
    return name, data


def _text_of(keyword: bytes, text: bytes, length: int) -> bytes:
    whole = keyword + b"\0" + text
    return (whole if len(whole) <= length else b"Comment\0"[:length]).ljust(length)


def _raw_orientation(data: bytes) -> bytes:
    """Return a raw profile with only the orientation, if this one has it; as text, compressed or not."""
    content = data.partition(b"\0")[2]
    with suppress(zlib.error):
        content = zlib.decompressobj().decompress(content[1:], _PROFILE_MAX)
    digits = b"".join(content.split(None, 2)[2:]).translate(None, b" \n")
    with suppress(ValueError):
        exif = bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii", "replace"))
        if exif_reader.orientation(exif) > 1:
            smallest = metadata.only_orientation(exif.removeprefix(_EXIF).ljust(_SMALLEST)[:_SMALLEST])
            return b"\nexif\n%8d\n%s\n" % (_SMALLEST, smallest.hex().encode())
    return b""


# --- WebP -------------------------------------------------------------------------------------------------------------

_WEBP_CHUNKS: Final = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}


def _webp(patches: Patches) -> None:
    """RFC 9649, section 2.3: chunks have an even length."""
    end = min(patches.size, 8 + int.from_bytes(estimate.at(patches.file, 4, 4), "little"))
    position = 12
    while position + 8 <= end:
        head = estimate.at(patches.file, position, 8)
        name, extent = head[:4], (position + 8, min(int.from_bytes(head[4:], "little"), end - position - 8))
        change = {b"EXIF": metadata.exif, b"XMP ": metadata.xmp}.get(name)
        if change:
            data = patches.read([extent])
            patches.replace([extent], data, change(data))
        elif name not in _WEBP_CHUNKS:
            patches.fill(*extent)
        position = extent[0] + extent[1] + extent[1] % 2
    _blank_behind(patches, end, patches.size)


# --- GIF --------------------------------------------------------------------------------------------------------------

_APPLICATION: Final = b"!\xff\x0b"
_HARMLESS_APPLICATIONS: Final = {b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012"}


def _gif(patches: Patches) -> None:
    """The blocks are in appendix A of the GIF89a specification."""
    file = patches.file
    flags = estimate.at(file, 10, 1)
    position = 13 + estimate.table((flags or b"\0")[0])
    left = [_CHUNKS_MAX]
    while len(head := estimate.at(file, position, 14)) > 1:
        if head[0] == estimate.IMAGE:
            position = _past_blocks(file, position + 11 + estimate.table(head[9:10][0] if head[9:] else 0), left)
        elif head.startswith(_APPLICATION) and head[3:] not in _HARMLESS_APPLICATIONS:
            position = _application(patches, position + 14, head[3:], left)
        elif head[0] == estimate.EXTENSION:
            position = _past_blocks(file, position + 2, left)
        elif head[0] == 0:  # skipped, as in estimate.py
            position += 1
            left[0] -= 1
        else:
            break
        if left[0] < 0:
            raise image_has_too_much_data()
    end = position + (estimate.at(file, position, 1) == b";")
    _blank_behind(patches, end, patches.size)


def _past_blocks(file: IO[bytes], position: int, left: list[int]) -> int:
    """Return where the blocks that begin here end. Each block begins with its length."""
    file.seek(position)
    while (size := file.read(1)) not in {b"", b"\0"}:
        position = file.seek(size[0], 1)
        left[0] -= 1
        if left[0] < 0:
            raise image_has_too_much_data()
    return position + 1


def _application(patches: Patches, start: int, name: bytes, left: list[int]) -> int:
    """Blank an application's blocks. XMP has no blocks: its bytes serve as lengths, up to a trailer of all lengths."""
    end = _past_blocks(patches.file, start, left)
    if name == b"XMP DataXMP":
        data = patches.read([(start, end - start)])
        if data.endswith(_MAGIC_TRAILER):
            packet = data[: -len(_MAGIC_TRAILER)]
            patches.replace([(start, end - start)], data, metadata.xmp(packet) + _MAGIC_TRAILER)
            return end
    position = start
    while (size := estimate.at(patches.file, position, 1)) not in {b"", b"\0"}:
        patches.fill(position + 1, size[0])
        position += 1 + size[0]
    return end


_MAGIC_TRAILER: Final = b"\x01" + bytes(range(255, -1, -1)) + b"\0"  # XMP specification, part 3, section 1.1.2


# --- AVIF, HEIC -------------------------------------------------------------------------------------------------------

_HARMLESS_BOXES: Final = {b"ftyp", b"mdat", b"free", b"skip", b"wide", b"styp", b"sidx", b"moof", b"mfra", b"pdin"}
_WORDS: Final = {b"udta", b"meta", b"uuid"}  # of a sequence: user data, and private boxes
_META_CHILDREN: Final = {
    b"hdlr",
    b"pitm",
    b"iinf",
    b"iloc",
    b"iref",
    b"iprp",
    b"idat",
    b"grpl",
    b"dinf",
    b"ipro",
    b"free",
}


def _iso(patches: Patches) -> None:
    position = 0
    for _ in range(_BOXES_MAX):
        head = estimate.at(patches.file, position, 16)
        kind, size = estimate.box(head, patches.size - position)
        if not size:
            break
        if kind in {b"meta", b"moov"}:
            if size > _META_MAX:
                raise image_has_too_much_data()
            data = patches.read([(position, size)])
            (_items if kind == b"meta" else _sequence)(patches, data, position)
        elif kind not in _HARMLESS_BOXES:
            _free(patches, position, 16 if head[:4] == b"\0\0\0\1" else 8, size)
        position += size
    _blank_behind(patches, position, patches.size)


def _free(patches: Patches, start: int, head: int, size: int) -> None:
    """Blank the content of a box, unless it is empty."""
    mark = len(patches.found)
    patches.fill(start + head, size - head)
    if len(patches.found) > mark:
        kind = [(start + 4, 4)]
        patches.replace(kind, patches.read(kind), b"free")


def _items(patches: Patches, meta: bytes, offset: int) -> None:
    for box in isomedia.children_of(meta):
        if box.kind not in _META_CHILDREN:
            _free(patches, offset + box.start, box.body - box.start, box.end - box.start)
    for item in isomedia.items(meta, offset, patches.size):
        if item.kind == b"Exif":
            change = _exif_item
        else:
            change = metadata.xmp if item.content_type == b"application/rdf+xml" else _zeros
        data = patches.read(item.extents)
        patches.replace(item.extents, data, change(data))


def _exif_item(data: bytes) -> bytes:
    """ISO 23008-12, annex A.2: four bytes state how many more bytes precede the TIFF header."""
    head = 4 + int.from_bytes(data[:4])
    head = head if head <= len(data) else min(4, len(data))
    return data[:head] + metadata.exif(data[head:])


def _sequence(patches: Patches, moov: bytes, offset: int) -> None:
    waiting = list(isomedia.boxes(moov, 16 if int.from_bytes(moov[:4]) == 1 else 8, len(moov)))
    while waiting:
        box = waiting.pop()
        if box.kind in _WORDS:
            _free(patches, offset + box.start, box.body - box.start, box.end - box.start)
        elif box.kind == b"trak":
            waiting += isomedia.boxes(moov, box.body, box.end)


FINDERS: Final[dict[str, Callable[[Patches], None]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "AVIF": _iso,
    "HEIC": _iso,
}
