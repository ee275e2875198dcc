"""The chunked transfer coding (RFC 9112, section 7.1), as a state machine: bytes in, payload out.

    SIZE -> DATA -> DATA_END -> SIZE ... -> TRAILER -> END

It never reads beyond the body: what follows stays in `rest`. It holds at most one unfinished line, and refuses a line
as soon as it cannot become valid.
"""

import re
from enum import Enum, auto
from typing import Final

from wsgiserver.errors import Refusal
from wsgiserver.http1.fields import parse_trailers
from wsgiserver.http1.grammar import CHUNK_SIZE_LINE, CHUNK_SIZE_LINE_BEGUN, FIELD_LINE, FIELD_LINE_BEGUN

MAX_SIZE_LINE: Final = 1024  # bytes, extensions included
MAX_TRAILER: Final = 8 * 1024  # bytes
# Bytes of framing that a body may have beyond twice its payload and 16 for each chunk. A client that sends one byte in
# each chunk passes; one that sends a kilobyte of extension with each byte does not (as in Go's net/http).
MAX_OVERHEAD: Final = 16 * 1024
_EXTENSION_OVERHEAD: Final = 64  # bytes that an extension counts beyond its length, because it costs work

# Small chunks are taken many at a time: one by one they cost up to seven times as much CPU (bench/chunks.py).
_SMALL_CHUNK: Final = 32  # bytes of payload
_MAX_SIZE_DIGITS: Final = 8  # digits, with zeros before
_SIZES: Final = {
    spelled.zfill(width).encode("ascii"): size
    for size in range(1, _SMALL_CHUNK + 1)
    for spelled in (f"{size:x}", f"{size:X}")
    for width in range(1, _MAX_SIZE_DIGITS + 1)
}
_SPLIT_SIZE: Final = 1024  # bytes that are split at once
_FEW_CHUNKS: Final = 8  # chunks: fewer are taken one by one
# Chunks that are taken one by one before many are tried again: a failed attempt adds little to what these cost.
_CHUNKS_ONE_BY_ONE: Final = 256

_SIZE_LINE = re.compile(CHUNK_SIZE_LINE.encode("ascii"))
_SIZE_LINE_BEGUN = re.compile(CHUNK_SIZE_LINE_BEGUN.encode("ascii"))
_FIELD_LINES = re.compile(f"(?:{FIELD_LINE})+".encode("ascii"))
_FIELD_LINE_BEGUN = re.compile(FIELD_LINE_BEGUN.encode("ascii"))


class ChunkState(Enum):
    """What the next byte belongs to."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    END = auto()


class ChunkedDecoder:
    """Decodes a body as it arrives. `trailers` and `rest` (bytes after the body) are final once the state is END."""

    __slots__ = ("_overhead", "_remaining", "_trailer_lines", "rest", "state", "trailers")

    def __init__(self) -> None:
        self.state = ChunkState.SIZE
        self.rest = b""  # not decoded yet; after END, the start of the next request
        self.trailers: dict[str, str] = {}
        self._trailer_lines = ""  # those that are complete
        self._remaining = 0  # bytes of the current chunk still to come
        self._overhead = 0

    @property
    def held(self) -> int:
        """The bytes held in memory: of an unfinished line, and of trailer lines."""
        return len(self.rest) + len(self._trailer_lines)

    def feed(self, data: bytes) -> list[bytes | memoryview]:
        """Take bytes as received; return the payload among them, in pieces. Raises Refusal."""
        if self.rest:
            data = self.rest + data
        view = memoryview(data)
        pieces: list[bytes | memoryview] = []
        position = 0
        while True:
            state = self.state
            if state is ChunkState.DATA:
                taken = min(self._remaining, len(data) - position)
                pieces.append(view[position : position + taken])
                self._remaining -= taken
                moved = position + taken
                if not self._remaining:
                    self.state = ChunkState.DATA_END
            elif state is ChunkState.SIZE:
                moved = self._small_chunks(data, position, pieces)
                if moved == position:
                    moved = self._whole_chunks(data, position, pieces, view) or self._size(data, position)
            elif state is ChunkState.DATA_END:
                moved = self._data_end(data, position)
            elif state is ChunkState.TRAILER:
                moved = self._trailer(data, position)
            else:
                moved = position
            if moved == position:
                break
            position = moved
        self.rest = data[position:]
        return pieces

    def _small_chunks(self, data: bytes, position: int, pieces: list[bytes | memoryview]) -> int:
        """Take small chunks that are complete; returns where they end."""
        if data[position : position + _MAX_SIZE_DIGITS + 2].partition(b"\r\n")[0] not in _SIZES:
            return position
        payloads, end = _cut_together(data, position)
        if len(payloads) < _FEW_CHUNKS:
            payloads, end = _cut_one_by_one(data, position)
        if payloads:
            payload = b"".join(payloads)
            more = end - position - 18 * len(payloads) - 3 * len(payload)  # as in _count_overhead, and never above 0
            self._overhead = max(0, self._overhead + more)
            pieces.append(payload)
        return end

    def _whole_chunks(self, data: bytes, position: int, pieces: list[bytes | memoryview], view: memoryview) -> int:
        """Take chunks that are complete, as most are; returns where they end, or 0."""
        taken, line, size, is_extended = 0, b"", 0, False
        for _ in range(_CHUNKS_ONE_BY_ONE):
            if not (size and data.startswith(line, position)):  # chunks of one client are of one size, but the last
                match = _SIZE_LINE.match(data, position, position + MAX_SIZE_LINE)
                if match is None:
                    break
                line, size = match[0], int(match[1], 16)
                is_extended = len(line) > len(match[1]) + 2
            start = position + len(line)
            end = start + size
            if not size or not data.startswith(b"\r\n", end):  # the last one, or incomplete, or wrong
                break
            if self._overhead or is_extended or len(line) > size:
                self._count_overhead(len(line), size, is_extended=is_extended)
            pieces.append(view[start:end])
            position = taken = end + 2
        return taken

    def _count_overhead(self, line: int, size: int, *, is_extended: bool) -> None:
        """Refuse a body that is mostly framing: `line` bytes of it came with `size` of payload."""
        self._overhead = max(0, self._overhead + line + (_EXTENSION_OVERHEAD if is_extended else 0) - 16 - 2 * size)
        if self._overhead > MAX_OVERHEAD:
            raise Refusal("chunk-overhead-too-large")

    def _size(self, data: bytes, position: int) -> int:
        match = _SIZE_LINE.match(data, position, position + MAX_SIZE_LINE)
        if match is None:
            if len(data) - position >= MAX_SIZE_LINE or not _SIZE_LINE_BEGUN.fullmatch(data, position):
                raise Refusal("chunk-size-invalid")
            return position
        self._remaining = int(match[1], 16)
        self.state = ChunkState.DATA if self._remaining else ChunkState.TRAILER
        line = match.end() - position
        self._count_overhead(line, self._remaining, is_extended=line > len(match[1]) + 2)
        return match.end()

    def _data_end(self, data: bytes, position: int) -> int:
        end = data[position : position + 2]
        if end == b"\r\n":
            self.state = ChunkState.SIZE
            return position + 2
        if not b"\r\n".startswith(end):
            raise Refusal("chunk-end-invalid")
        return position

    def _trailer(self, data: bytes, position: int) -> int:
        limit = position + MAX_TRAILER - len(self._trailer_lines)
        lines = _FIELD_LINES.match(data, position, limit)
        if lines:  # the first wrong line decides, however the bytes were cut
            self._trailer_lines += lines[0].decode("latin-1")
            self.trailers = parse_trailers(self._trailer_lines)
            return lines.end()
        if data.startswith(b"\r\n", position) and position + 2 <= limit:
            self.state = ChunkState.END
            return position + 2
        if not _FIELD_LINE_BEGUN.fullmatch(data, position, limit):
            raise Refusal("trailer-invalid")
        if len(data) >= limit:
            raise Refusal("trailer-too-large")
        return position


def _cut_together(data: bytes, position: int) -> tuple[list[bytes], int]:
    """Return the payloads of small chunks without a CRLF in them, and where these end.

    Between one CRLF and the next stand sizes and payloads in turns, as long as each payload has its announced size.
    """
    parts = data[position : position + _SPLIT_SIZE].split(b"\r\n")
    payloads = parts[1:-1:2]  # the last part has no CRLF behind it, or none yet
    sizes, lengths = list(map(_SIZES.get, parts[: 2 * len(payloads) : 2])), list(map(len, payloads))
    count = len(sizes)
    if sizes != lengths:
        count = next(n for n, size in enumerate(sizes) if size != lengths[n])
    return payloads[:count], position + sum(map(len, parts[: 2 * count])) + 4 * count


def _cut_one_by_one(data: bytes, position: int) -> tuple[list[bytes], int]:
    """Return the same, whatever is in them."""
    payloads: list[bytes] = []
    for _ in range(_CHUNKS_ONE_BY_ONE):
        line = data.find(b"\r\n", position, position + _MAX_SIZE_DIGITS + 2)
        size = _SIZES.get(data[position:line]) if line >= 0 else None
        if size is None:
            break
        end = line + 2 + size
        if data[end : end + 2] != b"\r\n":
            break
        payloads.append(data[line + 2 : end])
        position = end + 2
    return payloads, position
