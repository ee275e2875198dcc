"""The chunked transfer coding (RFC 9112, section 7.1), as a machine that is fed bytes and gives payload.

    SIZE -> DATA -> DATA_END -> SIZE ... -> TRAILER -> DONE

It never looks ahead: what follows the body stays in `rest`. It keeps at most one unfinished line.
"""

import re
from enum import Enum, auto
from typing import Final

from wsgiserver.errors import Refusal
from wsgiserver.http1.grammar import CHUNK_SIZE_LINE
from wsgiserver.http1.head import parse_trailers

MAX_SIZE_LINE: Final = 1024  # bytes, extensions included
MAX_TRAILER: Final = 8 * 1024  # bytes
# Bytes of framing a body may have beyond twice its payload and 16 a chunk: a client that sends one byte a chunk
# passes, one that sends a kilobyte of extension with each byte does not (the idea is that of Go's net/http).
MAX_OVERHEAD: Final = 16 * 1024

_SIZE_LINE = re.compile(CHUNK_SIZE_LINE.encode("ascii"))


class State(Enum):
    """What the next byte belongs to."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    DONE = auto()


class ChunkedDecoder:
    """Takes a body apart as it arrives. `trailers` and `rest` (bytes after the body) are true once DONE."""

    __slots__ = ("_overhead", "_remaining", "rest", "state", "trailers")

    def __init__(self) -> None:
        self.state = State.SIZE
        self.rest = b""  # not yet understood; after DONE, the start of the next request
        self.trailers: dict[str, str] = {}
        self._remaining = 0  # bytes of the current chunk still to come
        self._overhead = 0

    def feed(self, data: bytes) -> list[memoryview]:
        """Take bytes as received; return the payload among them, in pieces. Raises Refusal."""
        if self.rest:
            data = self.rest + data
        view = memoryview(data)
        pieces: list[memoryview] = []
        position = 0
        while True:
            state = self.state
            if state is State.DATA:
                taken = min(self._remaining, len(data) - position)
                pieces.append(view[position : position + taken])
                self._remaining -= taken
                moved = position + taken
                if not self._remaining:
                    self.state = State.DATA_END
            elif state is State.SIZE:
                moved = self._whole_chunks(data, position, pieces, view) or self._size(data, position)
            elif state is State.DATA_END:
                moved = self._data_end(data, position)
            elif state is State.TRAILER:
                moved = self._trailer(data, position)
            else:
                moved = position
            if moved == position:
                break
            position = moved
        self.rest = data[position:]
        return pieces

    def _whole_chunks(self, data: bytes, position: int, pieces: list[memoryview], view: memoryview) -> int:
        """Take as many chunks as are there as a whole, which is what most are; returns where they end, or 0."""
        taken, line, size = 0, b"", 0
        while True:
            if not (size and data.startswith(line, position)):  # chunks of one client are of one size, but the last
                match = _SIZE_LINE.match(data, position, position + MAX_SIZE_LINE)
                if match is None:
                    return taken
                line, size = match[0], int(match[1], 16)
            start = position + len(line)
            end = start + size
            if not size or not data.startswith(b"\r\n", end):  # the last one, or not all there, or wrong
                return taken
            if self._overhead or len(line) > size:
                self._count_overhead(len(line), size)
            pieces.append(view[start:end])
            position = taken = end + 2

    def _count_overhead(self, line: int, size: int) -> None:
        """Refuse a body that is mostly framing: `line` bytes of it came with `size` of payload."""
        self._overhead = max(0, self._overhead + line - 16 - 2 * size)
        if self._overhead > MAX_OVERHEAD:
            raise Refusal("chunk-overhead-too-large")

    def _size(self, data: bytes, position: int) -> int:
        match = _SIZE_LINE.match(data, position, position + MAX_SIZE_LINE)
        if match is None:
            if data.find(b"\n", position) >= 0 or len(data) - position >= MAX_SIZE_LINE:
                raise Refusal("chunk-size-invalid")
            return position
        self._remaining = int(match[1], 16)
        self.state = State.DATA if self._remaining else State.TRAILER
        self._count_overhead(match.end() - position, self._remaining)
        return match.end()

    def _data_end(self, data: bytes, position: int) -> int:
        end = data[position : position + 2]
        if end == b"\r\n":
            self.state = State.SIZE
            return position + 2
        if not b"\r\n".startswith(end):
            raise Refusal("chunk-end-invalid")
        return position

    def _trailer(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self.state = State.DONE
            return position + 2
        end = data.find(b"\r\n\r\n", position, position + MAX_TRAILER)
        if end >= 0:
            self.trailers = parse_trailers(data[position : end + 2].decode("latin-1"))
            self.state = State.DONE
            return end + 4
        if len(data) - position >= MAX_TRAILER:
            raise Refusal("trailer-too-large")
        return position
