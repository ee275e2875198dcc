"""Everything that the thread which runs the application does for a request: call it, send its response, log it.

One for each connection, used again for each of its requests. It knows the socket, and not what the connection waits for
(`states.py`). `time_out` and `interrupt` alone are called by other threads.
"""

import contextlib
import io
import os
import socket
import struct
import traceback
from http import HTTPStatus
from time import monotonic, time
from typing import Any, Final

from wsgiserver.buffers.outbox import Outbox
from wsgiserver.buffers.spool import Spool
from wsgiserver.errors import INTERNAL_ERROR, ApplicationError, ClientGone, Refusal
from wsgiserver.http1.framing import keeps_alive
from wsgiserver.http1.head import Head
from wsgiserver.http1.response import own_answer, refusal_answer
from wsgiserver.serving.context import ListenerContext, ServerContext
from wsgiserver.serving.receiver import Receiver
from wsgiserver.telemetry.accesslog import Record, path_of
from wsgiserver.telemetry.log import event
from wsgiserver.wsgi import gateway
from wsgiserver.wsgi.environ import add_body, build
from wsgiserver.wsgi.gateway import DONE, SENDING

_new = tuple.__new__  # half the time of NamedTuple's own, which is written in Python
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


class Exchange:
    """See above. Times are those of `time.monotonic`."""

    __slots__ = (
        "_asked_by",
        "_context",
        "_ended",
        "_environ",
        "_error",
        "_receiver",
        "_request_id",
        "_socket",
        "_trust",
        "client",
        "is_cut_off",
        "outbox",
        "response",
        "trusted",
    )

    def __init__(
        self,
        sock: socket.socket,
        receiver: Receiver,
        client: tuple[str, int],
        listener: ListenerContext,
        context: ServerContext,
    ) -> None:
        self.client = client
        self.trusted = listener.trust.trusts(client[0])
        self.outbox = Outbox(sock, context.limits.folder, context.send_timeout, context.answers)
        self._socket = sock
        self._receiver = receiver
        self._environ = listener.environ
        self._trust = listener.trust
        self._context = context
        # The request's
        self._request_id = ""
        self._asked_by = ""  # the client, as far as trusted proxies know
        # The answer's
        self.response: gateway.Response | None = None
        self.is_cut_off = False  # the answer was begun and cannot be finished
        self._error = ""  # what the log calls it when the application fails
        self._ended = 0.0  # when the application was done

    def introduce(self, client: tuple[str, int] | None, *, tls: bool) -> None:
        """A trusted proxy has told whose connection this is: address and port, None for its own."""
        if client is not None:
            self.client = client
            self.trusted = (
                self._trust.trusts(client[0]) and not self._trust.everyone
            )  # "*" is for peers, and this is none
        if tls:
            self._environ = self._environ | {"wsgi.url_scheme": "https"}

    @property
    def kind(self) -> str:
        """What requests that take alike long have in common: the method, and the path to its second segment."""
        head = self._receiver.head
        return f"{head.method} {'/'.join(head.target.partition('?')[0].split('/', 3)[:3])}" if head is not None else ""

    def respond(self) -> None:
        """Run the application, and send what the socket takes of its answer."""
        context, head = self._context, self._receiver.head
        assert head is not None  # noqa: S101 - a request is complete
        response = self.response = gateway.Response(
            self.outbox.send,
            self.outbox.send_file,
            method=head.method,
            minor=head.minor,
            keep_alive=((head.fields.is_plain and head.minor > 0) or keeps_alive(head))
            and not (context.draining or context.is_full),
        )
        try:
            gateway.run(context.application, self._request(head), response)
        except ClientGone:
            self.gone()
        except ApplicationError as error:
            event("application-error", path=path_of(head.target), error=str(error))
            self._fail(response, head.method)
        except BaseException:  # noqa: BLE001 - the boundary of whatever an application can raise
            event("application-error", path=path_of(head.target), error=traceback.format_exc())
            self._fail(response, head.method)
        self._ended = monotonic()

    def flush(self) -> bool:
        """Send what the socket takes of what is left of the answer; True when it is over, one way or another."""
        try:
            return self.outbox.flush()
        except ClientGone:
            self.gone()
        except ApplicationError as error:  # a file that is not what it was when its length was told
            event("application-error", client=self.client[0], error=str(error))
            self.is_cut_off = True
            self.gone()
        return True

    def gone(self) -> None:
        """Nobody reads the rest of the answer."""
        dropped = self.outbox.drop()
        if self.response is not None:
            self.response.cut_short(dropped)

    def cut_off(self) -> None:
        """The client takes no more, or too slowly. A reset tells it so, where the end would mark completeness."""
        self.is_cut_off = True
        self.gone()

    def finish(self, began: float, complete: float, now: float) -> bool:
        """The answer is over: log it. Returns whether another request may follow.

        The request `began` with its first byte, and was `complete` with its last.
        """
        response = self.response
        assert response is not None  # noqa: S101 - there was an answer
        times = complete - began, self._ended - complete, now - self._ended
        self._log(int(response.status[:3]), response.sent, times, self._error)
        self._error = ""
        self.release()
        return response.keep_alive

    def refuse(self, refusal: Refusal, began: float, now: float, method: str) -> None:
        """Log, and answer, what is not handed to the application. To HEAD there is no content (RFC 9110, 9.3.2)."""
        if refusal.__cause__ is not None:  # the disk's fault, or the administrator's, and not the client's
            event("spool-failed", error=str(refusal.__cause__))
        head = self._receiver.head
        self._request_id = self._context.ids.of(head)
        self._asked_by = self.client[0]
        self._log(refusal.status, 0, (now - began, 0.0, 0.0), refusal.name)
        self.release()
        self.send_at_once(refusal_answer(refusal, self._request_id, int(time()), method))

    def send_at_once(self, data: bytes) -> None:
        """Send a few bytes of the server's own; a socket that has no room for them is as good as gone."""
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def release(self) -> None:
        """Let go of the request."""
        self._receiver.release()
        self.response = None

    # --- An application that hangs ----------------------------------------------------------------------------

    @property
    def progress(self) -> object:
        """Something that differs from before if the application has done anything, or waits for its client."""
        response, outbox = self.response, self.outbox
        return object() if response is None or outbox.is_full else (response.phase, response.sent, outbox.kept)

    def time_out(self, response: object, after: float, stack: str) -> bool:
        """Answer in the place of the application, or cut its answer off.

        Returns False if the call, known by its `response`, has just ended.
        """
        current, head = self.response, self._receiver.head
        if current is None or current is not response or head is None or not current.time_out():
            return False
        event(
            "application-timeout",
            request_id=self._request_id,
            path=path_of(head.target),
            after_seconds=after,
            stack=stack,
        )
        if current.phase is SENDING:
            self.is_cut_off = True
            self._reset()
        else:
            self.send_at_once(
                refusal_answer(Refusal("application-timeout"), self._request_id, int(time()), head.method)
            )
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        return True

    def interrupt(self) -> None:
        """The server ends while a thread runs the application: let the client see it, and that thread, if it sends."""
        current = self.response
        with contextlib.suppress(OSError):  # there may be no connection any more
            if current is not None and current.phase is SENDING and not self.outbox.is_full:
                self._reset()
            else:  # who waits for room to send is not woken by a reset
                self._socket.shutdown(socket.SHUT_RDWR)

    def _reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - closes the socket, and keeps its number taken
            os.dup2(nothing.fileno(), self._socket.fileno(), inheritable=False)

    @property
    def is_timed_out(self) -> bool:
        return self.response is not None and self.response.timed_out

    def note_time_out(self, began: float, complete: float, now: float) -> None:
        """Log what `time_out` has done."""
        assert self.response is not None  # noqa: S101 - is_timed_out
        status = int(self.response.status[:3]) if self.is_cut_off else 504
        self._log(status, self.response.sent, (complete - began, now - complete, 0.0), "application-timeout")

    # ----------------------------------------------------------------------------------------------------------

    def _request(self, head: Head) -> dict[str, Any]:
        receiver = self._receiver
        environ = build(self._environ, head, self.client, self._trust if self.trusted else None)
        environ["HTTP_X_REQUEST_ID"] = self._request_id = self._context.ids.of(head)
        self._asked_by = environ["REMOTE_ADDR"]
        if receiver.spool is None:
            environ["wsgi.input"] = io.BytesIO()
            if "content-length" in head.fields:
                environ["CONTENT_LENGTH"] = "0"
        else:
            add_body(environ, receiver.spool.rewind(), receiver.spool.size, receiver.trailers)
        return environ

    def _fail(self, response: gateway.Response, method: str) -> None:
        """The application failed: say so if nothing was said yet; else cut the answer off, so that it shows."""
        if response.phase is DONE:  # the client has a whole answer, and may have sent its next request
            return
        self._error = INTERNAL_ERROR
        if response.phase is SENDING:
            response.cut_short(0)
            self.is_cut_off = True
            return
        if not response.replace("500"):
            return
        about = (INTERNAL_ERROR, "the application failed", self._request_id)
        answer = own_answer(HTTPStatus.INTERNAL_SERVER_ERROR, *about, int(time()), method)
        try:
            self.outbox.send(answer)
        except ClientGone:
            self.gone()

    def _log(self, status: int, sent: int, times: tuple[float, float, float], error: str) -> None:
        """Log and count it. `times` are seconds: receiving it, running the application, sending the answer."""
        context, receiver = self._context, self._receiver
        if context.metrics is None and not context.log.wanted:
            return
        head, spool = receiver.head, receiver.spool
        method, target = (head.method, head.target) if head is not None else ("", "")
        if spool is None:
            received, framing, where = 0, "none" if not receiver.length else receiver.framing, "none"
        else:
            received, framing, where = spool.size, receiver.framing, _where(spool)
        about = (self._asked_by, self._request_id, method, target, status, received, sent, framing, where)
        record = _new(Record, (*about, *times, error))
        context.log.add(record)
        if context.metrics is not None:
            context.metrics.finished(record)


def _where(spool: Spool) -> str:
    if not spool.size:
        return "none"
    return "memory" if spool.in_memory else "file"
