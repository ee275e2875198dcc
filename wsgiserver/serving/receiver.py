r"""One request at a time, put together from bytes as they come: the head parsed, the body in a spool.

    HEAD --head complete--> BODY --last byte--> COMPLETE --release--> HEAD
       \------------- no body to come -------------/

It knows no socket and no clock. What was received beyond the request is kept for the next one (pipelining).
Nothing is handed on before it is whole: an upload cut short is a Refusal, never a shorter upload.
"""

import re
from enum import Enum, auto
from typing import Final, NamedTuple

from wsgiserver.buffers.budget import Budget
from wsgiserver.buffers.spool import Spool
from wsgiserver.errors import Refusal
from wsgiserver.http1.chunked import ChunkedDecoder
from wsgiserver.http1.chunked import State as Chunk
from wsgiserver.http1.fields import Fields
from wsgiserver.http1.framing import CHUNKED, body_length, expects_continue
from wsgiserver.http1.head import Head, begins_with_head, find_end, parse_head

MAX_EMPTY: Final = 16  # bytes of empty lines before a request
_TOLD_BY: Final = 8  # bytes of a refused head that are kept, by which `method` can tell
_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")


class Stage(Enum):
    """How much of the request is there."""

    HEAD = auto()
    BODY = auto()
    COMPLETE = auto()


HEAD, BODY, COMPLETE = Stage  # a global name is found faster than an attribute of an Enum


class Limits(NamedTuple):
    """What a body may be, in bytes, the folder for one that does not fit in memory, and the memory for all of them."""

    max_body: int
    memory: int
    folder: str | None
    budget: Budget | None = None


class Receiver:
    """See above. `head` and `spool` belong to the request at hand; they are None before its head is complete."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_head_size",
        "_limits",
        "_skipped",
        "awaits_continue",
        "head",
        "length",
        "spool",
        "stage",
    )

    def __init__(self, limits: Limits) -> None:
        self.stage: Stage = HEAD
        self.head: Head | None = None
        self.length = 0  # bytes of body announced, or CHUNKED
        self.spool: Spool | None = None
        self.awaits_continue = False  # the client sends the body only when told to (RFC 9110, section 10.1.1)
        self._decoder: ChunkedDecoder | None = None
        self._skipped = 0  # bytes of empty lines before the request
        self._buffer = b""  # received, and not yet understood
        self._head_size = 0  # bytes of the head, once it is there
        self._limits = limits

    @property
    def is_idle(self) -> bool:
        """Nothing of a request is there."""
        return self.stage is HEAD and not self._buffer

    @property
    def method(self) -> str:
        """The request's method, as far as it has come: HEAD can be told where the head cannot be understood."""
        if self.head is not None:
            return self.head.method
        return "HEAD" if begins_with_head(self._buffer) else ""

    @property
    def held(self) -> int:
        """Bytes of memory taken beside the body: by the head, a chunk's or a trailer's lines, the requests to come."""
        line = self._decoder.held if self._decoder is not None and self.stage is BODY else 0
        return self._head_size + len(self._buffer) + line

    def forget_most(self) -> None:
        """The application is done with the request, and its answer is on its way: what the log will tell is kept."""
        if self.spool is not None:
            self.spool.close()
        if self.head is not None:
            self.head = self.head._replace(fields=Fields())
            self._head_size = len(self.head.target)

    def forget_rest(self) -> None:
        """Nobody will look at what was received beyond the request."""
        self._buffer = b""

    @property
    def trailers(self) -> dict[str, str]:
        return self._decoder.trailers if self._decoder is not None else {}

    @property
    def framing(self) -> str:
        if self.length == CHUNKED:
            return "chunked"
        return "length" if self.length else "none"

    def feed(self, data: bytes) -> Stage:
        """Take what was received; returns how far the request has come. Raises Refusal."""
        if self.stage is HEAD:
            return self._feed_head(data)
        return self._feed_body(data)

    def release(self) -> None:
        """Let go of the request at hand: `feed` what comes, even b"", to go on with the next."""
        if self.spool is not None:
            self.spool.close()
        self.head = self.spool = self._decoder = None
        self.length = 0
        self._skipped = self._head_size = 0
        self.stage = HEAD

    def _feed_head(self, data: bytes) -> Stage:
        searched = 0
        if self._buffer:
            searched = max(0, len(self._buffer) - 3) if data else 0
            data = self._buffer + data
        if data.startswith(b"\r\n"):  # RFC 9112, section 2.2: empty lines before the request line
            data, searched = self._skip_empty_lines(data), 0
        try:
            end = find_end(data, searched)
            if not end:
                self._buffer = data
                return HEAD
            head = self.head = parse_head(data[:end])
        except Refusal:
            self._buffer = data[:_TOLD_BY]
            raise
        self._buffer = data[end:]
        self._head_size = end
        if head.fields.is_plain:
            self.stage = COMPLETE
            return COMPLETE
        self.length = body_length(head)
        continues = expects_continue(head)
        if self.length == 0:
            self.stage = COMPLETE
            return COMPLETE
        return self._begin_body(continues=continues)

    def _skip_empty_lines(self, data: bytes) -> bytes:
        """Only some of them: a client must not keep a connection for ever by sending nothing else."""
        rest = _EMPTY_LINES.sub(b"", data, 1)
        self._skipped += len(data) - len(rest)
        if self._skipped > MAX_EMPTY:
            self._buffer = rest[:_TOLD_BY]
            raise Refusal("head-malformed")
        return rest

    def _begin_body(self, *, continues: bool) -> Stage:
        limits = self._limits
        if self.length > limits.max_body:
            raise Refusal("body-too-large")
        self.stage = BODY
        memory = 0 if self.length > limits.memory else limits.memory  # known to be too large: to the file at once
        self.spool = Spool(limits.max_body, memory, limits.folder, limits.budget)
        self._decoder = ChunkedDecoder() if self.length == CHUNKED else None
        data, self._buffer = self._buffer, b""
        self.awaits_continue = continues and not data
        return self._feed_body(data)

    def _feed_body(self, data: bytes) -> Stage:
        assert self.spool is not None  # noqa: S101 - there is one in BODY
        if self._decoder is not None:
            return self._feed_chunks(self._decoder, self.spool, data)
        missing = self.length - self.spool.size
        self.spool.write(data if len(data) <= missing else memoryview(data)[:missing])
        if len(data) < missing:
            return BODY
        return self._complete(data[missing:])

    def _feed_chunks(self, decoder: ChunkedDecoder, spool: Spool, data: bytes) -> Stage:
        pieces = decoder.feed(data)
        if pieces:
            spool.write(*pieces)
        if decoder.state is not Chunk.DONE:
            return BODY
        return self._complete(decoder.rest)

    def _complete(self, rest: bytes) -> Stage:
        self._buffer = rest
        self.stage = COMPLETE
        return COMPLETE
