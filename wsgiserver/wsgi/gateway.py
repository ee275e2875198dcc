"""PEP 3333 to the letter: one call of the application, and its response as bytes.

It knows no socket. It gets `send`, which takes bytes, and `send_file`, which takes a part of a file (descriptor,
offset, size in bytes). Both raise ClientGone if the client no longer reads. How the end of the response is marked is
decided once, when the head is sent: by the length that the application has declared or that its only block shows, else
by chunks (HTTP/1.1), else by closing the connection.

    UNSTARTED --start_response--> STARTED --first bytes, or the end--> HEAD_SENT --> FINISHED
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from time import time
from types import TracebackType
from typing import Any, Final, NoReturn

from wsgiserver.errors import ApplicationError, ClientGone
from wsgiserver.http1.response import (
    LAST_CHUNK,
    EncodedHead,
    Headers,
    date_line,
    encode_chunk,
    encode_head,
    encode_hints,
)
from wsgiserver.wsgi.filewrapper import FileWrapper

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
SendFile = Callable[[int, int, int], None]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_BODILESS_STATUSES: Final = ("204", "304")  # RFC 9110, sections 15.3.5 and 15.4.5; 1xx is not an application's to send
_MAX_JOINED_SIZE: Final = 64 * 1024  # bytes: smaller blocks are joined with the head; copying larger ones costs more


class ResponsePhase(Enum):
    """How far a response has come."""

    UNSTARTED = auto()
    STARTED = auto()
    HEAD_SENT = auto()
    FINISHED = auto()


class Ending(Enum):
    """What shows the client that the response is complete (RFC 9112, section 6)."""

    LENGTH = auto()
    CHUNKS = auto()
    UNTIL_CLOSE = auto()
    NO_BODY = auto()  # HEAD, 204, 304: the application's body is dropped


# A global name is found in a third of the time that an attribute of an Enum takes.
UNSTARTED, STARTED, HEAD_SENT, FINISHED = ResponsePhase
LENGTH, CHUNKS, UNTIL_CLOSE, NO_BODY = Ending


class Response:
    """The response to one request. `keep_alive` says, when FINISHED, whether another request may follow."""

    __slots__ = (
        "_ending",
        "_head",
        "_head_only",
        "_minor",
        "_remaining",
        "_send",
        "_send_file",
        "keep_alive",
        "phase",
        "sent",
        "status",
        "timed_out",
    )

    def __init__(
        self, send: Callable[[bytes], None], send_file: SendFile, *, method: str, minor: int, keep_alive: bool
    ) -> None:
        self.phase: ResponsePhase = UNSTARTED
        self.status = ""  # as the application gave it: "200 OK"
        self.sent = 0  # bytes of body
        self.keep_alive = keep_alive
        self.timed_out = False  # another thread has answered, or cut the response off
        self._send = send
        self._send_file = send_file
        self._head_only = method == "HEAD"
        self._minor = minor
        self._head: EncodedHead = (b"", None, False)
        self._ending: Ending = LENGTH
        self._remaining = 0  # bytes of a declared length still to come

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """Take status and headers, as PEP 3333 describes; returns `write`."""
        if exc_info and exc_info[1] is not None and self.phase not in (UNSTARTED, STARTED):
            try:
                raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # the traceback holds this frame
        if self.phase is not UNSTARTED and not (exc_info and self.phase is STARTED):
            raise ApplicationError("start_response was called again, without exc_info or too late")
        # Checked here and not when it is sent, so that the application can still react (PEP 3333, "The
        # start_response() Callable"). A refused call changes nothing, so the application may call again.
        self._head = encode_head(status, list(headers))
        self.phase = STARTED
        self.status = status
        return self.write

    def early_hints(self, headers: Headers) -> None:
        """Send 103 (RFC 8297) at once, as often as wanted before the head; nothing to clients of HTTP/1.0."""
        if self.phase not in (UNSTARTED, STARTED):
            raise ApplicationError("early hints after the head of the response")
        hints = encode_hints(headers)
        if self._minor and headers:
            self._send(hints)

    def write(self, block: bytes) -> None:
        """Send a block of body; the head goes before the first one that is not empty."""
        if not isinstance(block, bytes):
            raise ApplicationError(f"a block of the body is not bytes: {type(block)}")
        if not block:
            return
        if self.phase is HEAD_SENT:
            self._send_body(block)
        else:
            self._begin(block, None)

    def write_all(self, blocks: Iterable[bytes]) -> None:
        """Send what the application has returned, with its length if that is known in advance."""
        kind = type(blocks)
        if self.phase is STARTED and (kind is list or kind is tuple):
            block = blocks[0] if len(blocks) == 1 else _joined(blocks)  # type: ignore[arg-type,index] # is one
            if type(block) is bytes:
                self._begin(block, len(block))
                return
        elif kind is FileWrapper:
            self._write_file(blocks)  # type: ignore[arg-type] # it is one
            return
        iterator = iter(blocks)
        if hasattr(kind, "__len__") and len(blocks) == 1:  # type: ignore[arg-type] # it has a length
            self._write_only(next(iterator, b""))
        for block in iterator:
            self.write(block)

    def _write_only(self, block: bytes) -> None:
        """Send the only block of the body (PEP 3333, "Handling the Content-Length Header")."""
        if self.phase is STARTED and isinstance(block, bytes):
            self._begin(block, len(block))
        else:
            self.write(block)

    def _write_file(self, wrapper: FileWrapper) -> None:
        """Send a file from its position to its end, "or until Content-Length bytes have been written" (PEP 3333).

        Bytes beyond that are not a mistake: the response may be a range, or the file may have grown.
        """
        if self.phase is STARTED and self._has_no_body:
            self._begin(b"", None)
        if self.phase is HEAD_SENT and self._ending is NO_BODY:
            return
        wanted = self._wanted()
        segment = wrapper.segment() if self.phase is STARTED else None
        if segment is None:
            for block in wrapper.up_to(wanted):
                self.write(block)
            return
        size = segment.size if wanted is None else min(segment.size, wanted)
        if size < _MAX_JOINED_SIZE:
            block = b"".join(wrapper.up_to(size))
            self._begin(block, len(block))
            return
        self._begin(b"", size)
        self._remaining -= size
        self.sent += size
        self._send_file(segment.descriptor, segment.offset, size)

    def _wanted(self) -> int | None:
        """Return how many bytes are still to come, if a length was declared."""
        if self.phase is HEAD_SENT:
            return self._remaining if self._ending is LENGTH else None
        return self._head[1]

    def finish(self) -> None:
        """End the response. Raises ApplicationError if it is shorter than declared: then it must be cut off."""
        if self.phase in (UNSTARTED, STARTED):
            self._begin(b"", 0)
        if self._ending is CHUNKS:
            self._send(LAST_CHUNK)
        elif self._ending is LENGTH and self._remaining:
            raise ApplicationError(f"the body is {self._remaining} bytes shorter than its Content-Length")
        self.phase = FINISHED

    # --- A response that is not completed -----------------------------------------------------------------------

    def cut_short(self, dropped: int) -> None:
        """No request may follow, and `dropped` bytes of the body that were counted as sent are not sent."""
        self.keep_alive = False
        self.sent = max(0, self.sent - dropped)

    def time_out(self) -> bool:
        """Keep the application from sending a head; called by another thread.

        Returns False if the response was complete. Here the flag is set before the phase is read; where the application
        sends, the phase is set before the flag is read. So at most one of the two answers.
        """
        if self.phase is FINISHED:
            return False
        self.timed_out = True
        if self.phase is FINISHED:
            self.timed_out = False
            return False
        return True

    def replace(self, status: str) -> bool:
        """The server answers instead of the application; returns False if another thread has done so already."""
        self.keep_alive = False
        self.phase = HEAD_SENT
        if self.timed_out:
            return False
        self.status = status
        return True

    # ----------------------------------------------------------------------------------------------------------

    @property
    def _has_no_body(self) -> bool:
        return self._head_only or self.status[:3] in _BODILESS_STATUSES

    def _begin(self, block: bytes, known: int | None) -> None:
        if self.phase is not STARTED:
            raise ApplicationError("the body came before start_response was called, or after its end")
        head = self._encode_head(known)
        self.phase = HEAD_SENT
        if self.timed_out:  # read after the phase is set; `time_out` does it in the other order
            raise ClientGone
        if self._ending is LENGTH and 0 < len(block) <= self._remaining and len(block) < _MAX_JOINED_SIZE:
            self._remaining -= len(block)
            self.sent += len(block)
            self._send(head + block)
            return
        self._send(head)
        if block:
            self._send_body(block)

    def _encode_head(self, known: int | None) -> bytes:
        """Decide once how the response ends, and encode it. `known` is the size of a body that is complete already."""
        lines, declared, has_date = self._head
        extra = b"" if has_date else date_line(int(time()))
        if declared is not None:
            self._remaining = declared
        if self._has_no_body:
            self._ending = NO_BODY
        elif declared is None:
            extra += self._undeclared(known)
        if not self.keep_alive:
            extra += b"Connection: close\r\n"
        elif not self._minor:
            extra += b"Connection: keep-alive\r\n"
        return b"%b%b\r\n" % (lines, extra)

    def _undeclared(self, known: int | None) -> bytes:
        """Choose an ending for a body whose length the application did not declare; returns its field line."""
        if known is not None:
            self._remaining = known
            return b"Content-Length: %d\r\n" % known
        if self._minor:
            self._ending = CHUNKS
            return b"Transfer-Encoding: chunked\r\n"
        self._ending = UNTIL_CLOSE
        self.keep_alive = False
        return b""

    def _send_body(self, block: bytes) -> None:
        ending = self._ending
        if ending is NO_BODY:
            return
        if ending is LENGTH:
            if len(block) > self._remaining:
                self._send_body_up_to_length(block)
            self._remaining -= len(block)
        self.sent += len(block)
        self._send(encode_chunk(block) if ending is CHUNKS else block)

    def _send_body_up_to_length(self, block: bytes) -> None:
        """Send what fits, and refuse the rest, which the client would read as the next response."""
        fits = block[: self._remaining]
        self._remaining = 0
        self.sent += len(fits)
        if fits:
            self._send(fits)
        self._refuse_the_rest()

    def _refuse_the_rest(self) -> NoReturn:
        self.phase = FINISHED
        raise ApplicationError("the body is longer than its Content-Length")


def _joined(blocks: Sequence[bytes]) -> bytes | None:
    """Join a small, complete body: in one piece it costs less, and its length is known."""
    if set(map(type, blocks)) == {bytes} and sum(map(len, blocks)) < _MAX_JOINED_SIZE:
        return b"".join(blocks)
    return None


def run(application: Application, environ: Environ, response: Response) -> None:
    """Call the application and send its whole response; `close` is called whatever happens (PEP 3333)."""
    environ["wsgi.early_hints"] = response.early_hints
    blocks = application(environ, response.start_response)
    try:
        response.write_all(blocks)
        response.finish()
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            close()
