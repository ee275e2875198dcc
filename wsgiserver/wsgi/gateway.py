"""PEP 3333 to the letter: one call of the application, and its answer as bytes.

It knows no socket: it is given `send`, which takes bytes, and `send_file`, which takes a part of a file
(descriptor, offset, size in bytes). Both raise ClientGone where nobody reads what they are given.
How the end of the answer is marked is decided once, when the head goes out: by the length the application
declared or that its single block shows, else by chunks (HTTP/1.1), else by closing.

    NEW --start_response--> STARTED --first bytes, or the end--> SENDING --> DONE
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from time import time
from types import TracebackType
from typing import Any, Final, NoReturn

from wsgiserver.errors import ApplicationError, ClientGone
from wsgiserver.http1.response import (
    LAST_CHUNK,
    Head,
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

_BODILESS: Final = ("204", "304")  # RFC 9110, sections 15.3.5 and 15.4.5; 1xx is not an application's to send
_JOINED: Final = 64 * 1024  # bytes: below, head and first block go out in one piece; above, copying costs more


class Phase(Enum):
    """How far an answer has come."""

    NEW = auto()
    STARTED = auto()
    SENDING = auto()
    DONE = auto()


class Ending(Enum):
    """What tells the client that the answer is complete (RFC 9112, section 6)."""

    LENGTH = auto()
    CHUNKS = auto()
    CLOSE = auto()
    NO_BODY = auto()  # HEAD, 204, 304: whatever the application gives is left out


# A global name is found in a third of the time that an attribute of an Enum takes.
NEW, STARTED, SENDING, DONE = Phase
LENGTH, CHUNKS, CLOSE, NO_BODY = Ending


class Response:
    """The answer to one request. `keep_alive` says, when DONE, whether another request may follow."""

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
        self.phase: Phase = NEW
        self.status = ""  # as the application gave it: "200 OK"
        self.sent = 0  # bytes of body
        self.keep_alive = keep_alive
        self.timed_out = False  # another thread has answered, or cut the answer off, without the application
        self._send = send
        self._send_file = send_file
        self._head_only = method == "HEAD"
        self._minor = minor
        self._head: Head = (b"", None, False)
        self._ending: Ending = LENGTH
        self._remaining = 0  # bytes of a declared length still to come

    def start_response(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """Take status and headers, as PEP 3333 describes; returns `write`."""
        if exc_info and exc_info[1] is not None and self.phase not in (NEW, STARTED):
            try:
                raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # the traceback holds this frame
        if self.phase is not NEW and not (exc_info and self.phase is STARTED):
            raise ApplicationError("start_response was called again, without exc_info or too late")
        # Not when it goes out: here the application can still react (PEP 3333, "The start_response() Callable"). What
        # is refused changes nothing, so it may be called again with something better.
        self._head = encode_head(status, list(headers))
        self.phase = STARTED
        self.status = status
        return self.write

    def early_hints(self, headers: Headers) -> None:
        """Send 103 (RFC 8297) at once, as often as wanted before the head; nothing to clients of HTTP/1.0."""
        if self.phase not in (NEW, STARTED):
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
        if self.phase is SENDING:
            self._send_body(block)
        else:
            self._begin(block, None)

    def write_all(self, blocks: Iterable[bytes]) -> None:
        """Send what the application returned, and tell its length where that can be known before its end."""
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
        """Send a block that is said to be all there is (PEP 3333, "Handling the Content-Length Header")."""
        if self.phase is STARTED and isinstance(block, bytes):
            self._begin(block, len(block))
        else:
            self.write(block)

    def _write_file(self, wrapper: FileWrapper) -> None:
        """Send a file from where it is to its end, "or until Content-Length bytes have been written" (PEP 3333): what
        is beyond them is no mistake, as in an answer with a range, or of a file that has grown since.
        """
        if self.phase is STARTED and self._has_no_body:
            self._begin(b"", None)
        if self.phase is SENDING and self._ending is NO_BODY:
            return
        wanted = self._wanted()
        segment = wrapper.segment() if self.phase is STARTED else None
        if segment is None:
            for block in wrapper.up_to(wanted):
                self.write(block)
            return
        size = segment.size if wanted is None else min(segment.size, wanted)
        if size < _JOINED:
            block = b"".join(wrapper.up_to(size))
            self._begin(block, len(block))
            return
        self._begin(b"", size)
        self._remaining -= size
        self.sent += size
        self._send_file(segment.descriptor, segment.offset, size)

    def _wanted(self) -> int | None:
        """Say how many bytes are still to come, as far as that was declared."""
        if self.phase is SENDING:
            return self._remaining if self._ending is LENGTH else None
        return self._head[1]

    def finish(self) -> None:
        """End the answer. Raises ApplicationError where it is shorter than declared: then it must be cut off."""
        if self.phase in (NEW, STARTED):
            self._begin(b"", 0)
        if self._ending is CHUNKS:
            self._send(LAST_CHUNK)
        elif self._ending is LENGTH and self._remaining:
            raise ApplicationError(f"the body is {self._remaining} bytes shorter than its Content-Length")
        self.phase = DONE

    # --- An answer that does not come to its end ----------------------------------------------------------------

    def cut_short(self, dropped: int) -> None:
        """No request may follow; of the body, so many bytes that seemed sent will never be."""
        self.keep_alive = False
        self.sent = max(0, self.sent - dropped)

    def time_out(self) -> bool:
        """Take the answer away from the application, from another thread: it sends no head any more.

        Returns False if the answer was complete. The flag is set before the phase is looked at, and where the
        application sends it is the other way round: so at most one of the two answers.
        """
        if self.phase is DONE:
            return False
        self.timed_out = True
        if self.phase is DONE:
            self.timed_out = False
            return False
        return True

    def replace(self, status: str) -> bool:
        """The server answers in the application's place; returns False where another thread has done so."""
        self.keep_alive = False
        self.phase = SENDING
        if self.timed_out:
            return False
        self.status = status
        return True

    # ----------------------------------------------------------------------------------------------------------

    @property
    def _has_no_body(self) -> bool:
        return self._head_only or self.status[:3] in _BODILESS

    def _begin(self, block: bytes, known: int | None) -> None:
        if self.phase is not STARTED:
            raise ApplicationError("the body came before start_response was called, or after its end")
        head = self._encode_head(known)
        self.phase = SENDING
        if self.timed_out:  # looked at after the phase is set: `time_out` does it the other way round
            raise ClientGone
        if self._ending is LENGTH and 0 < len(block) <= self._remaining and len(block) < _JOINED:
            self._remaining -= len(block)
            self.sent += len(block)
            self._send(head + block)
            return
        self._send(head)
        if block:
            self._send_body(block)

    def _encode_head(self, known: int | None) -> bytes:
        """Decide how the answer ends, once, and say so. `known` is the body's size, where it is all there."""
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
        self._ending = CLOSE
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
        """Send what still fits, which ends the answer, and refuse the rest: it would be read as the next one."""
        fits = block[: self._remaining]
        self._remaining = 0
        self.sent += len(fits)
        if fits:
            self._send(fits)
        self._refuse_the_rest()

    def _refuse_the_rest(self) -> NoReturn:
        self.phase = DONE
        raise ApplicationError("the body is longer than its Content-Length")


def _joined(blocks: Sequence[bytes]) -> bytes | None:
    """Join a small body that is all there: in one piece it costs less, and its length is known."""
    if set(map(type, blocks)) == {bytes} and sum(map(len, blocks)) < _JOINED:
        return b"".join(blocks)
    return None


def run(application: Application, environ: Environ, response: Response) -> None:
    """Call the application and send its whole answer; `close` is called whatever happens (PEP 3333)."""
    environ["wsgi.early_hints"] = response.early_hints
    blocks = application(environ, response.start_response)
    try:
        response.write_all(blocks)
        response.finish()
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            close()
