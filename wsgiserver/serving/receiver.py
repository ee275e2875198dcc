r"""Puts one request together from bytes as they arrive: the head is parsed, the body goes to a spool.

    IN_HEAD --head complete--> IN_BODY --last byte--> COMPLETE --release--> IN_HEAD
       \------------- no body follows -------------/

A request is handed on when all of it is there, and not before. An upload that is cut short is a Refusal, never a
shorter upload. Every mistake is a Refusal too: it is raised as soon as no further byte could make the request valid,
and it has the same name however the bytes were cut into pieces.

The receiver knows no socket and no clock: its owner feeds it, watches the time, and answers. Where the body ends is
decided once, when the head is complete (`http1/framing.py`). A body whose announced length exceeds the memory for one
body goes to a file from its first byte on. One of unknown length goes there once it has grown beyond that.

Bytes that arrive behind the request belong to the next one (pipelining). They stay in the buffer, unparsed, until
`release` has ended the request at hand and `feed` is called again.
"""

import re
from enum import Enum, auto
from typing import Final, NamedTuple

from wsgiserver.buffers.budget import Budget
from wsgiserver.buffers.spool import Spool
from wsgiserver.errors import Refusal
from wsgiserver.http1.chunked import ChunkedDecoder, ChunkState
from wsgiserver.http1.fields import Fields
from wsgiserver.http1.framing import CHUNKED, body_length, expects_continue
from wsgiserver.http1.head import Head, begins_with_head, find_end, parse_head

MAX_EMPTY_LINES_SIZE: Final = 16  # bytes of empty lines before a request
_METHOD_PREFIX_SIZE: Final = 8  # bytes of a refused head, from which `method` reads HEAD
_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")


class Stage(Enum):
    """How much of the request has arrived."""

    IN_HEAD = auto()
    IN_BODY = auto()
    COMPLETE = auto()


IN_HEAD, IN_BODY, COMPLETE = Stage  # a global name is found faster than an attribute of an Enum


class Limits(NamedTuple):
    """The limits of a body in bytes, the directory for one that does not fit in memory, and the budget of all."""

    max_body: int
    memory: int
    folder: str | None
    budget: Budget | None = None


class Receiver:
    """See above. `head` and `spool` belong to the current request; they are None before its head is complete."""

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
        self.stage: Stage = IN_HEAD
        self.head: Head | None = None
        self.length = 0  # bytes of body announced, or CHUNKED
        self.spool: Spool | None = None
        self.awaits_continue = False  # the client sends the body only when told to (RFC 9110, section 10.1.1)
        self._decoder: ChunkedDecoder | None = None
        self._skipped = 0  # bytes of empty lines before the request
        self._buffer = b""  # received, and not parsed yet
        self._head_size = 0  # bytes of the head, once it is complete
        self._limits = limits

    @property
    def is_idle(self) -> bool:
        """Whether no byte of a request has arrived."""
        return self.stage is IN_HEAD and not self._buffer

    @property
    def method(self) -> str:
        """The method of the request. HEAD is recognized even where the head is not valid."""
        if self.head is not None:
            return self.head.method
        return "HEAD" if begins_with_head(self._buffer) else ""

    @property
    def held(self) -> int:
        """The bytes of memory besides the body: the head, lines of chunks and trailers, and requests that follow."""
        line = self._decoder.held if self._decoder is not None and self.stage is IN_BODY else 0
        return self._head_size + len(self._buffer) + line

    def forget_most(self) -> None:
        """The application has returned, and the response is being sent: keep only what the log needs."""
        if self.spool is not None:
            self.spool.close()
        if self.head is not None:
            self.head = self.head._replace(fields=Fields())
            self._head_size = len(self.head.target)

    def forget_rest(self) -> None:
        """Drop what was received beyond the request."""
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
        if self.stage is IN_HEAD:
            return self._feed_head(data)
        return self._feed_body(data)

    def release(self) -> None:
        """Drop the current request. The next call of `feed`, even with b"", begins the next one."""
        if self.spool is not None:
            self.spool.close()
        self.head = self.spool = self._decoder = None
        self.length = 0
        self._skipped = self._head_size = 0
        self.stage = IN_HEAD

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
                return IN_HEAD
            head = self.head = parse_head(data[:end])
        except Refusal:
            self._buffer = data[:_METHOD_PREFIX_SIZE]
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
        """Skip a few empty lines; a client must not hold a connection for ever by sending nothing else."""
        rest = _EMPTY_LINES.sub(b"", data, 1)
        self._skipped += len(data) - len(rest)
        if self._skipped > MAX_EMPTY_LINES_SIZE:
            self._buffer = rest[:_METHOD_PREFIX_SIZE]
            raise Refusal("head-malformed")
        return rest

    def _begin_body(self, *, continues: bool) -> Stage:
        limits = self._limits
        if self.length > limits.max_body:
            raise Refusal("body-too-large")
        self.stage = IN_BODY
        memory = 0 if self.length > limits.memory else limits.memory  # known to be too large: to the file at once
        self.spool = Spool(limits.max_body, memory, limits.folder, limits.budget)
        self._decoder = ChunkedDecoder() if self.length == CHUNKED else None
        data, self._buffer = self._buffer, b""
        self.awaits_continue = continues and not data
        return self._feed_body(data)

    def _feed_body(self, data: bytes) -> Stage:
        assert self.spool is not None  # noqa: S101 - there is one in IN_BODY
        if self._decoder is not None:
            return self._feed_chunks(self._decoder, self.spool, data)
        missing = self.length - self.spool.size
        self.spool.write(data if len(data) <= missing else memoryview(data)[:missing])
        if len(data) < missing:
            return IN_BODY
        return self._complete(data[missing:])

    def _feed_chunks(self, decoder: ChunkedDecoder, spool: Spool, data: bytes) -> Stage:
        pieces = decoder.feed(data)
        if pieces:
            spool.write(*pieces)
        if decoder.state is not ChunkState.END:
            return IN_BODY
        return self._complete(decoder.rest)

    def _complete(self, rest: bytes) -> Stage:
        self._buffer = rest
        self.stage = COMPLETE
        return COMPLETE
