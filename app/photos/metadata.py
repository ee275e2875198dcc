"""Removes the position from blocks of metadata: bytes in, as many bytes out. Knows no files and no picture formats.

    exif       removes the GPS directory, makers' notes and GeoTIFF tags, with their entries; nested blocks (XMP, IPTC,
               the preview) are treated like blocks outside of EXIF
    xmp        replaces the properties that are named after locations by spaces
    photoshop  does the same for the EXIF, XMP and IPTC resources in it
    iptc       removes the fields for city, state, country and similar

Names of locations (city, country) also count as a position. The formats of makers' notes are not public, and several
contain positions (Panasonic and Leica: landmark and city; Nikon: a location table), so they are removed as a whole.

A block that cannot be parsed, or is far larger than cameras write, is blanked as a whole, except EXIF's orientation,
without which the picture would lie on its side. Counts of entries limit the time. TIFF 6.0, section 2; CIPA DC-008,
section 4.6; ISO 16684-1 (XMP), section 7; IPTC-IIM 4.2, chapter 5; Adobe's Photoshop File Formats, "Image Resources".
"""

import re
import struct
from collections.abc import Callable
from typing import Final
from xml.parsers import expat

from photos import exif as exif_reader

_ENTRIES_MAX: Final = 2000  # in all directories of a block; cameras write about a hundred
_DIRECTORIES_MAX: Final = 32
_RECORDS_MAX: Final = 1000  # of IPTC, and resources of Photoshop
_WITHIN_MAX: Final = 8  # other blocks in EXIF, because many entries may refer to the same bytes
_ELEMENTS_MAX: Final = 100_000  # of XMP
_XML_DEPTH_MAX: Final = 500
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_GPS: Final = 0x8825
_DIRECTORIES: Final = {0x014A, 0x8769, 0xA005}  # SubIFDs, Exif, Interoperability
_XMP, _IPTC, _PHOTOSHOP = 0x02BC, 0x83BB, 0x8649
# MakerNote, DNGPrivateData; GeoTIFF's ModelPixelScale, ModelTiepoint, ModelTransformation and its three key tags.
_BLANKED: Final = {0x927C, 0xC634, 0x830E, 0x8482, 0x85D8, 0x87AF, 0x87B0, 0x87B1, _XMP, _IPTC, _PHOTOSHOP}
_PREVIEW, _PREVIEW_LENGTH = 0x0201, 0x0202
_PADDING: Final = 0xEA1C  # Microsoft's tag for bytes without meaning
_EMPTY_PACKET: Final = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
_PLACE: Final = re.compile(
    r"gps|latit|longit|altitude|location|country|geotag|geohash|coordinate|worldregion|provincestate|makernote"
)
_PLACES: Final = {"city", "state", "lat", "long", "lon", "lat_long", "alt", "coverage", "address", "geo"}
_TAG: Final = re.compile(rb"""<[^\s/<>"']+(?:\s+[^\s=<>"']+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")
_ATTRIBUTE: Final = re.compile(rb"""\s([^\s=<>"']+)\s*=\s*(?:"[^"]*"|'[^']*')""")
_RESOURCE: Final = re.compile(rb"(?:8BIM|PHUT|AgHg|DCSR|MeSa)(..)", re.DOTALL)
# Record 2: content location code and name, city, sublocation, province or state, country code and name.
_PLACE_FIELDS: Final = {26, 27, 90, 92, 95, 100, 101}


_Change = Callable[[bytes], bytes]  # returns as many bytes


class _Unwalkable(Exception):
    """The block does not conform to its format, or is unreasonably large."""


def is_place(name: str) -> bool:
    """Return whether a property names a location: `exif:GPSLatitude`, `photoshop:City`, `drone-dji:GpsLongtitude`."""
    local = name.rpartition(":")[2].lower()
    return local in _PLACES or bool(_PLACE.search(local))


# --- EXIF -------------------------------------------------------------------------------------------------------------


def exif(data: bytes, preview: _Change | None = None, *, is_within: bool = False) -> bytes:
    """Clean EXIF data, with or without its name in front. `preview` cleans the JPEG in it.

    What is itself within a Photoshop resource may have no such resources: they would nest without end.
    """
    skip = len(b"Exif\0\0") if data.startswith(b"Exif\0\0") else 0
    name, tiff = data[:skip], data[skip:]
    try:
        without = _Tiff(tiff, preview or _unchanged, {} if is_within else _WITHIN).without_position()
    except (_Unwalkable, struct.error):
        without = only_orientation(tiff)
    if exif_reader.orientation(without) != exif_reader.orientation(tiff):  # something that overlaps it was blanked
        without = only_orientation(tiff)
    return name + without


def only_orientation(tiff: bytes) -> bytes:
    """Return as many bytes with only the orientation; zeros if a directory does not fit."""
    if not tiff.strip(b"\0"):
        return tiff
    orientation = exif_reader.orientation(tiff)
    smallest = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return (smallest if len(smallest) <= len(tiff) else b"").ljust(len(tiff), b"\0")


class _Tiff:
    """Walks once through the directories of a block."""

    def __init__(self, data: bytes, preview: _Change, within: dict[int, _Change]) -> None:
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        if not order:
            raise _Unwalkable
        self._data = bytearray(data)
        self._order = order
        self._preview = preview
        self._changes = within
        self._entries = _ENTRIES_MAX
        self._within_left = _WITHIN_MAX

    def without_position(self) -> bytes:
        waiting, seen = [self._number(4)], set[int]()
        while waiting:
            start = waiting.pop()
            if start in seen:
                continue
            seen.add(start)
            if len(seen) > _DIRECTORIES_MAX:
                raise _Unwalkable
            waiting += self._directory(start)
        return bytes(self._data)

    def _number(self, position: int, layout: str = "I") -> int:
        return int(struct.unpack_from(self._order + layout, self._data, position)[0])

    def _count(self, start: int) -> int:
        count = self._number(start, "H")
        self._entries -= count
        if self._entries < 0 or start + 2 + 12 * count > len(self._data):
            raise _Unwalkable
        return count

    def _directory(self, start: int) -> list[int]:
        """Remove the position from a directory. Returns the directories that it refers to."""
        more: list[int] = []
        kept = bytearray()
        preview: dict[int, int] = {}
        count = self._count(start)
        following = start + 2 + 12 * count
        for entry in range(start + 2, following, 12):
            tag = self._number(entry, "H")
            if tag in _DIRECTORIES:
                more += self._offsets(entry)
            elif tag in {_PREVIEW, _PREVIEW_LENGTH}:
                preview[tag] = self._number(entry + 8)
            if self._is_kept(tag, entry):
                kept += self._data[entry : entry + 12]
        if preview:
            self._within(preview.get(_PREVIEW, 0), preview.get(_PREVIEW_LENGTH, 0), self._preview)
        if following + 4 <= len(self._data):
            more.append(self._number(following))
        if len(kept) < 12 * count:
            self._write(start, following, kept)
        return [offset for offset in more if 0 < offset < len(self._data) - 1]

    def _write(self, start: int, following: int, kept: bytearray) -> None:
        """Remove entries, and move the offset of the next directory behind the rest. At least one entry must remain."""
        kept = kept or bytearray(struct.pack(self._order + "HHII", _PADDING, 7, 4, 0))
        entries = struct.pack(self._order + "H", len(kept) // 12) + kept + self._data[following : following + 4]
        end = min(following + 4, len(self._data))
        self._data[start:end] = entries.ljust(end - start, b"\0")

    def _is_kept(self, tag: int, entry: int) -> bool:
        """Clean one entry; for an entry that is removed, blank its value."""
        if tag == _GPS:
            self._empty(self._number(entry + 8))
            return False
        if change := self._changes.get(tag):
            self._within(*self._value_extent(entry), change)
            return True
        if tag in _BLANKED:
            self._blank(*self._value_extent(entry))
        return tag not in _BLANKED

    def _value_extent(self, entry: int) -> tuple[int, int]:
        """Return the offset and the length of an entry's value."""
        kind, count = self._number(entry + 2, "H"), self._number(entry + 4)
        size = _SIZES.get(kind, 1) * count
        return (entry + 8 if size <= 4 else self._number(entry + 8)), size  # noqa: PLR2004 - TIFF 6.0: then in place

    def _offsets(self, entry: int) -> list[int]:
        start, size = self._value_extent(entry)
        return [self._number(start + 4 * number) for number in range(min(size // 4, _DIRECTORIES_MAX))]

    def _within(self, start: int, size: int, change: _Change) -> None:
        self._within_left -= 1
        if self._within_left < 0:
            raise _Unwalkable
        self._data[start : start + size] = change(bytes(self._data[start : start + size]))

    def _blank(self, start: int, size: int) -> None:
        end = min(start + size, len(self._data))
        self._data[start:end] = bytes(max(0, end - start))

    def _empty(self, start: int) -> None:
        """Blank a GPS directory, and the values of its entries."""
        if start >= len(self._data) - 1:
            return
        count = self._count(start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            self._blank(*self._value_extent(entry))
        self._blank(start, 2 + 12 * count)


# --- XMP --------------------------------------------------------------------------------------------------------------


def xmp(data: bytes) -> bytes:
    """Clean a packet of XMP in UTF-8; other encodings cannot be parsed."""
    packet = data.rstrip(b"\0")
    try:
        without = _Packet(packet).without_position()
    except (_Unwalkable, expat.ExpatError, ValueError):
        without = _EMPTY_PACKET[: len(data)] if len(data) >= len(_EMPTY_PACKET) else b""
        return without.ljust(len(data))
    return without + data[len(packet) :]


class _Packet:
    """Walks once through a packet: expat reports where elements begin and end; some become spaces."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._without = bytearray(packet)
        self._left = _ELEMENTS_MAX
        self._depth = 0
        self._hidden_at = 0  # depth of the element that is being blanked; 0 for none
        self._hidden_from = (0, 0)  # its start tag
        self._parser = expat.ParserCreate("utf-8")
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse

    def without_position(self) -> bytes:
        if self._packet.strip():
            self._parser.Parse(self._packet, True)
        return bytes(self._without)

    def _refuse(self, *_: object) -> None:
        raise _Unwalkable  # entities, which no packet uses

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._left -= 1
        if self._depth > _XML_DEPTH_MAX or self._left < 0:
            raise _Unwalkable
        if self._hidden_at:
            return
        if is_hidden := is_place(name):
            self._hidden_at = self._depth
        elif not any(map(is_place, attributes)):
            return
        tag = _TAG.match(self._packet, self._parser.CurrentByteIndex)
        if not tag or (is_hidden and self._depth == 1):
            raise _Unwalkable
        self._hidden_from = tag.span()
        if not is_hidden:
            self._blank_attributes(tag)

    def _blank_attributes(self, tag: re.Match[bytes]) -> None:
        for found in _ATTRIBUTE.finditer(self._packet, tag.start(), tag.end()):
            if is_place(found[1].decode()):
                self._blank(*found.span())

    def _end(self, _: str) -> None:
        if self._depth == self._hidden_at:
            self._hidden_at = 0
            start, end = self._hidden_from
            here = self._parser.CurrentByteIndex
            self._blank(start, end if here <= start else self._packet.index(b">", here) + 1)
        self._depth -= 1

    def _blank(self, start: int, end: int) -> None:
        self._without[start:end] = b" " * (end - start)


# --- IPTC, Photoshop --------------------------------------------------------------------------------------------------


def photoshop(data: bytes) -> bytes:
    """Clean image resources one by one. From a malformed resource on, everything is blanked."""
    without = bytearray(data)
    position = 0
    for _ in range(_RECORDS_MAX):
        found = _RESOURCE.match(data, position)
        if not found:
            break
        start = position + 6 + (data[position + 6 : position + 7] or b"\0")[0] // 2 * 2 + 2  # a name, padded
        size = int.from_bytes(data[start : start + 4])
        start += 4
        if change := _RESOURCES.get(int.from_bytes(found[1])):
            without[start : start + size] = change(data[start : start + size])
        position = start + size + size % 2
    without[position:] = bytes(max(0, len(data) - position))
    return bytes(without)


def iptc(data: bytes) -> bytes:
    """Clean records of IPTC-IIM. Malformed records are removed as well."""
    kept = bytearray()
    position = 0
    for _ in range(_RECORDS_MAX):
        head = data[position : position + 5]
        size = int.from_bytes(head[3:5])
        if len(head) < 5 or head[0] != 0x1C or size & 0x8000:  # noqa: PLR2004 - IIM, chapter 3: tag, numbers, length
            break
        end = position + 5 + size
        if head[1] != 2 or head[2] not in _PLACE_FIELDS:  # noqa: PLR2004 - the application record
            kept += data[position:end]
        position = end
    return bytes(kept).ljust(len(data), b"\0")


def _exif_within(data: bytes) -> bytes:
    return exif(data, is_within=True)


def _unchanged(data: bytes) -> bytes:
    return data


_RESOURCES: Final[dict[int, _Change]] = {0x0404: iptc, 0x0422: _exif_within, 0x0423: _exif_within, 0x0424: xmp}
_WITHIN: Final[dict[int, _Change]] = {_XMP: xmp, _IPTC: iptc, _PHOTOSHOP: photoshop}
