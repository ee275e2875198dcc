"""Boxes and items of AVIF and HEIC files: finds the data beside the pictures.

ISO 14496-12, section 4.2 (boxes), 8.11.3 (`iloc`: where items lie), 8.11.6 (`iinf`: what they are). Pure: reads bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from photos.errors import ImageTooComplex
from photos.patches import Extent

_BOXES_MAX: Final = 4096  # in one box
_EXTENTS_MAX: Final = 65_536  # of all items
_FILE, _IDAT = 0, 1  # the origin of an item's offsets


@dataclass(frozen=True)
class Box:
    kind: bytes
    start: int  # of the box
    body: int  # where its content starts
    end: int


@dataclass
class Item:
    kind: bytes
    content_type: bytes = b""
    extents: tuple[Extent, ...] = ()


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets, up to the first data that is not a box."""
    for _ in range(_BOXES_MAX):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8]), body + 8
        stop = end if size == 0 else start + size
        if not body <= stop <= end:
            return
        yield Box(kind, start, body, stop)
        start = stop
    raise _too_complex()


def children_of(meta: bytes) -> Iterator[Box]:
    """Yield the boxes in a `meta` box, which begins with a version and flags."""
    body = 20 if int.from_bytes(meta[:4]) == 1 else 12
    return boxes(meta, body, len(meta))


def items(meta: bytes, offset: int, size: int) -> list[Item]:
    """Return the items of the `meta` box at `offset` of a file of `size` bytes. Raises ImageTooComplex if an item
    cannot be located.
    """
    children = {box.kind: box for box in children_of(meta)}
    try:
        found = _kinds(meta, children[b"iinf"]) if b"iinf" in children else {}
        if b"iloc" in children:
            idat = children[b"idat"].body + offset if b"idat" in children else None
            _locate(meta[children[b"iloc"].body : children[b"iloc"].end], found, idat, size)
    except (struct.error, IndexError) as error:
        raise _too_complex() from error
    return list(found.values())


def _kinds(meta: bytes, iinf: Box) -> dict[int, Item]:
    first = iinf.body + (6 if meta[iinf.body] == 0 else 8)
    found: dict[int, Item] = {}
    for box in boxes(meta, first, iinf.end):
        version = meta[box.body]
        if box.kind != b"infe" or version < 2:  # noqa: PLR2004 - older items have no type; no picture format uses them
            continue
        number, rest = (">H", 6) if version == 2 else (">I", 8)  # noqa: PLR2004
        start = box.body + rest + 2
        name = meta[start + 4 : box.end].split(b"\0")
        found[struct.unpack_from(number, meta, box.body + 4)[0]] = Item(
            meta[start : start + 4], name[1] if len(name) > 1 else b""
        )
    return found


class _Numbers:
    """Reads big-endian numbers one by one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> int:
        part = self._data[self._position : self._position + size]
        if len(part) < size:
            raise IndexError
        self._position += size
        return int.from_bytes(part)


def _locate(iloc: bytes, found: dict[int, Item], idat: int | None, size: int) -> None:
    """Give each item its extents in the file."""
    numbers = _Numbers(iloc)
    version = numbers.take(4) >> 24
    sizes = numbers.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2  # noqa: PLR2004
    left = _EXTENTS_MAX
    for _ in range(numbers.take(wide)):
        item = found.get(numbers.take(wide)) or Item(b"")
        method = numbers.take(2) & 15 if version else _FILE
        numbers.take(2)  # the index of the file: this one
        base = numbers.take(base_size)
        extents = []
        count = numbers.take(2)
        left -= count
        if left < 0:
            raise _too_complex()
        for _ in range(count):
            numbers.take(index_size if version else 0)
            start = base + numbers.take(offset_size)
            length = numbers.take(length_size)
            extents.append((start, length))
        item.extents = tuple(_in_file(extents, method, idat, size)) if is_metadata(item) else ()


def is_metadata(item: Item) -> bool:
    """Return whether an item may contain a position: any text. The others are pictures, tiles and masks."""
    return item.kind in {b"Exif", b"mime", b"uri "}


def _in_file(extents: list[Extent], method: int, idat: int | None, size: int) -> Iterator[Extent]:
    if method not in {_FILE, _IDAT} or (method == _IDAT and idat is None):
        raise _too_complex()
    shift = idat or 0 if method == _IDAT else 0
    for start, length in extents:
        first = min(start + shift, size)
        yield first, min(length or size, size - first)  # no length: to the end


def _too_complex() -> ImageTooComplex:
    return ImageTooComplex("The server cannot read the metadata of this picture. Save it again.")
