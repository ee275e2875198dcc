"""Changes to a file that keep its length: one process finds them, another writes them.

position.py finds them in the decoding process, which cannot write; sharing.py writes them into a copy. A `Patch` is
either bytes, or one repeated byte, so that a blanked video of 10 MB takes 18 bytes. Knows no formats.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

from photos.errors import image_has_too_much_data

PACKED_MAX: Final = 2 * 1024**2  # bytes of all patches of a picture, packed
_HEAD: Final = struct.Struct(">QQB")  # offset, length, whether a single repeated byte follows
_GRAIN: Final = 64  # bytes compared at once
_PIECE: Final = 1024**2  # bytes per read and write
_ZERO: Final = b"\0"

Extent = tuple[int, int]  # offset in the file, and length


@dataclass(frozen=True)
class Patch:
    offset: int
    length: int
    data: bytes  # as long as the extent, or one repeated byte


class Patches:
    """The patches found so far in `file`. A patch never writes bytes that the file already has."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.found: list[Patch] = []

    def read(self, extents: Iterable[Extent]) -> bytes:
        """Return the extent, cut at the end of the file."""
        parts = []
        for offset, length in extents:
            self.file.seek(offset)
            parts.append(self.file.read(max(0, min(length, self.size - offset))))
        return b"".join(parts)

    def replace(self, extents: Sequence[Extent], old: bytes, new: bytes) -> None:
        """Replace the joined content of these extents by `new`, which is as long as `old`."""
        position = 0
        for offset, length in extents:
            self._compare(offset, old[position : position + length], new[position : position + length])
            position += length

    def fill(self, offset: int, length: int, byte: bytes = _ZERO) -> None:
        end = min(offset + length, self.size)
        for start in range(offset, end, _PIECE):
            self.file.seek(start)
            piece = self.file.read(min(_PIECE, end - start))
            if piece.count(byte) < len(piece):
                self._add(Patch(start, len(piece), byte))

    def _compare(self, offset: int, old: bytes, new: bytes) -> None:
        if old == new:
            return
        for start in range(0, len(old), _GRAIN):
            before, after = old[start : start + _GRAIN], new[start : start + _GRAIN]
            if before != after:
                is_uniform = after.count(after[:1]) == len(after)
                self._add(Patch(offset + start, len(after), after[:1] if is_uniform else after))

    def _add(self, patch: Patch) -> None:
        """Add a patch; join it with the previous one if both repeat the same byte."""
        last = self.found[-1] if self.found else None
        if last and last.data == patch.data and len(patch.data) == 1 and last.offset + last.length == patch.offset:
            self.found[-1] = Patch(last.offset, last.length + patch.length, patch.data)
        else:
            self.found.append(patch)


def patched(source: IO[bytes], found: Sequence[Patch]) -> Iterator[bytes]:
    """Yield the content of a file with these patches applied, piece by piece."""
    source.seek(0)
    offset = 0
    while piece := source.read(_PIECE):
        changed = bytearray(piece)
        for patch in found:
            start, end = max(0, patch.offset - offset), min(len(piece), patch.offset + patch.length - offset)
            if start < end:
                is_repeated = len(patch.data) != patch.length
                first = offset + start - patch.offset
                part = patch.data * (end - start) if is_repeated else patch.data[first : first + end - start]
                changed[start:end] = part
        yield bytes(changed)
        offset += len(piece)


def pack(found: Iterable[Patch]) -> bytes:
    """Pack the patches. Raises ImageTooComplex."""
    packed = bytearray()
    for patch in found:
        is_repeated = len(patch.data) != patch.length
        packed += _HEAD.pack(patch.offset, patch.length, is_repeated) + patch.data
        if len(packed) > PACKED_MAX:
            raise image_has_too_much_data()
    return bytes(packed)


def unpack(packed: bytes, size: int) -> list[Patch]:
    """Unpack the patches of a file of `size` bytes. Raises ValueError for data that `pack` does not produce."""
    found: list[Patch] = []
    position = 0
    try:
        while position < len(packed):
            offset, length, is_repeated = _HEAD.unpack_from(packed, position)
            position += _HEAD.size
            data = packed[position : position + (1 if is_repeated else length)]
            position += len(data)
            if len(data) < min(1, length) or len(data) != (1 if is_repeated else length) or offset + length > size:
                raise ValueError("a patch lies outside of its file")
            found.append(Patch(offset, length, data))
    except struct.error as error:
        raise ValueError("half a patch") from error
    return found
