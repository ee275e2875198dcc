"""One client's socket, and what is done in each of its states (`states.py`).

Whoever owns a connection, the thread with the baton or the one that runs its application (`loop.py`), calls its
methods and acts on the verdict they return. Nobody else touches it, so there is no lock; `give_up` alone is the
watchdog's. Clocks are arguments.
"""

import contextlib
import io
import os
import socket
import struct
import traceback
from time import monotonic, time
from typing import Any, Final

from wsgiserver import gateway
from wsgiserver.accesslog import Record, event
from wsgiserver.body import Spool
from wsgiserver.environ import add_body, build
from wsgiserver.errors import ApplicationError, ClientGone, Refusal
from wsgiserver.http1.framing import CHUNKED, keeps_alive
from wsgiserver.http1.head import Head
from wsgiserver.http1.response import CONTINUE, plain_answer, refusal_answer
from wsgiserver.outbox import Outbox
from wsgiserver.receiver import Receiver, Stage
from wsgiserver.service import Service
from wsgiserver.states import MOVES, State, Verdict

HEAD_RECEIVE: Final = 64 * 1024  # bytes asked for at once; nearly every head comes in one piece
BODY_RECEIVE: Final = 256 * 1024
LINGER: Final = 10.0  # seconds a client may go on sending, after its last answer, before it is cut off

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


class Connection:
    """See above. `deadline` is when `expire` is due, on the clock of `time.monotonic`."""

    __slots__ = (
        "_aborted",
        "_application_time",
        "_began",
        "_body_deadline",
        "_complete",
        "_ended",
        "_environ",
        "_outbox",
        "_receiver",
        "_request_id",
        "_response",
        "_service",
        "_trusted",
        "client",
        "deadline",
        "socket",
        "state",
        "watched",
    )

    def __init__(
        self, sock: socket.socket, address: Any, environ: dict[str, Any], service: Service, now: float
    ) -> None:
        # The connection's own
        self.socket = sock
        self.client: tuple[str, int] = (address[0], address[1]) if isinstance(address, tuple) else ("", 0)
        self.state = State.HEAD
        self.deadline = now + service.head_timeout
        self.watched = 0  # what the loop watches the socket for; the loop's to keep
        self._service = service
        self._environ = environ
        self._trusted = service.trust.covers(self.client[0])
        # The request's
        self._receiver = Receiver(service.limits)
        self._began = self._complete = now
        self._body_deadline = now
        self._request_id = ""
        # The answer's
        self._response: gateway.Response | None = None
        self._application_time = 0.0
        self._ended = now  # when the application was done
        self._aborted = False  # the answer was begun and cannot be finished
        self._outbox = Outbox(sock, service.limits.folder, service.send_timeout)

    @property
    def is_idle(self) -> bool:
        """Nothing of a request is there."""
        return self.state is State.HEAD and self._receiver.is_idle

    def idle_for(self, now: float) -> float:
        """Seconds without anything of a request."""
        return now - self._began if self.is_idle else 0.0

    @property
    def kind(self) -> str:
        """What requests that take alike long have in common: the method, and the path to its second segment."""
        head = self._receiver.head
        return f"{head.method} {'/'.join(head.target.partition('?')[0].split('/', 3)[:3])}" if head is not None else ""

    @property
    def stranger(self) -> str:
        """The client's address, or "" for a proxy that is trusted, and so speaks for many."""
        return "" if self._trusted else self.client[0]

    # --- Called by the owner: each returns what to do next ---------------------------------------------------

    def receive(self, now: float) -> Verdict:
        """There is something to receive."""
        try:
            data = self.socket.recv(BODY_RECEIVE if self.state is State.BODY else HEAD_RECEIVE)
        except BlockingIOError:
            return Verdict.READ
        except OSError:
            data = b""
        return self._received(data, now) if data else self._hung_up(now)

    def resume(self, now: float) -> Verdict:
        """`respond` is done: go on with what is unsent, or with the next request."""
        if self._response is not None and self._response.given_up:
            self.given_up(now)
            return self._close()
        if self._outbox.is_empty:
            return self._answered(now)
        self._move(State.SENDING)
        return self.flush(now)

    def flush(self, now: float) -> Verdict:
        """There is room to send."""
        try:
            if not self._outbox.flush():
                self.deadline = now + self._service.send_timeout
                return Verdict.WRITE
        except ClientGone:
            self._gone()
        except ApplicationError as error:  # a file that is not what it was when its length was told
            event("application-error", client=self.client[0], error=str(error))
            self._aborted = True
            self._gone()
        return self._answered(now)

    def expire(self, now: float) -> Verdict:
        """The deadline has passed."""
        if self.state is State.HEAD and not self._receiver.is_idle:
            return self._refuse(Refusal("head-timeout"), now)
        if self.state is State.BODY:
            return self._refuse(Refusal("body-too-slow" if now >= self._body_deadline else "body-timeout"), now)
        if self.state is State.SENDING:
            self._gone()
            return self._answered(now)
        return self._close()

    def turn_away(self, now: float) -> Verdict:
        """There are too many of its kind."""
        return self._refuse(Refusal("too-many-connections"), now)

    def drain(self, now: float, patience: float) -> None:
        """No new requests are wanted: who sends none, or none that counts, gets `patience` seconds."""
        if self.state is State.LINGERING or self.is_idle:
            self.deadline = min(self.deadline, now + patience)

    def respond(self) -> None:
        """Run the application and send what the socket takes; then `resume` says what comes next."""
        service, head = self._service, self._receiver.head
        assert head is not None  # noqa: S101 - Verdict.RUN was returned
        started = monotonic()
        response = self._response = gateway.Response(
            self._outbox.send,
            self._outbox.send_file,
            method=head.method,
            minor=head.minor,
            keep_alive=keeps_alive(head) and not service.draining,
        )
        try:
            gateway.run(service.application, self._request(head), response)
        except ClientGone:
            self._gone()
        except ApplicationError as error:
            event("application-error", target=head.target, error=str(error))
            self._fail(response, head.method)
        except BaseException:  # noqa: BLE001 - the boundary of whatever an application can raise
            event("application-error", target=head.target, error=traceback.format_exc())
            self._fail(response, head.method)
        self._ended = monotonic()
        self._application_time = self._ended - started

    # --- An application that hangs ----------------------------------------------------------------------------

    @property
    def answer(self) -> object:
        """What tells one call of the application from the next."""
        return self._response

    @property
    def progress(self) -> object:
        """Something that differs from before if the application has done anything, or waits for its client."""
        response, outbox = self._response, self._outbox
        return object() if response is None or outbox.is_full else (response.phase, response.sent, outbox.kept)

    def give_up(self, answer: object, after: float, stack: str) -> bool:
        """Answer in the place of the application, or cut its answer off. Called by another thread than the owner's.

        Returns False if the call has just ended. The flag is set before the phase is looked at, and `Response` does it
        the other way round, so at most one of the two answers.
        """
        response, head = self._response, self._receiver.head
        if response is None or response is not answer or head is None:
            return False
        response.given_up = True
        if response.phase is gateway.Phase.DONE:
            return False
        event("application-timeout", request_id=self._request_id, target=head.target, after=after, stack=stack)
        if response.phase is gateway.Phase.SENDING:
            self._aborted = True
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - closes the socket, and keeps its number taken
                os.dup2(nothing.fileno(), self.socket.fileno(), inheritable=False)
        else:
            self._send_at_once(refusal_answer(Refusal("application-timeout"), int(time()), head.method))
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        return True

    def given_up(self, now: float) -> None:
        """Note what `give_up` has done. The connection ends when its thread comes back, if it ever does."""
        response = self._response
        if self.state is State.APPLICATION and response is not None and response.given_up:
            self._move(State.ABANDONED)
            self._application_time = now - self._complete
            self._ended = now
            status = int(response.status[:3]) if self._aborted else 504
            self._log(status, response.sent, now, "application-timeout")

    # --- Receiving -------------------------------------------------------------------------------------------

    def _received(self, data: bytes, now: float) -> Verdict:
        """Take what was received; the boundary of everything a client can do wrong."""
        if self.state is State.LINGERING:
            return Verdict.READ  # and forgotten
        receiver = self._receiver
        if receiver.is_idle:
            self._began = now
            self.deadline = now + self._service.head_timeout
        try:
            stage = receiver.feed(data)
        except Refusal as refusal:
            return self._refuse(refusal, now)
        if stage is Stage.COMPLETE:
            self._move(State.APPLICATION)
            self._complete = now
            return Verdict.RUN
        if stage is Stage.BODY:
            self._body_goes_on(now)
        return Verdict.READ

    def _body_goes_on(self, now: float) -> None:
        service, spool = self._service, self._receiver.spool
        if self.state is State.HEAD:
            self._move(State.BODY)
            self._complete = now  # the head is
            if self._receiver.awaits_continue:
                self._send_at_once(CONTINUE)
        received = spool.size if spool is not None else 0
        self._body_deadline = self._complete + service.body_timeout + received / service.body_rate
        self.deadline = min(now + service.body_idle_timeout, self._body_deadline)

    def _request(self, head: Head) -> dict[str, Any]:
        receiver = self._receiver
        environ = build(self._environ, head, self.client, self._service.trust if self._trusted else None)
        environ["HTTP_X_REQUEST_ID"] = self._request_id = self._service.ids.of(head)
        if receiver.spool is None:
            environ["wsgi.input"] = io.BytesIO()
            if "content-length" in head.fields:
                environ["CONTENT_LENGTH"] = "0"
        else:
            add_body(environ, receiver.spool.rewind(), receiver.spool.size, receiver.trailers)
        return environ

    # --- Sending ---------------------------------------------------------------------------------------------

    def _send_at_once(self, data: bytes) -> None:
        """Send a few bytes of the server's own; a socket that has no room for them is as good as gone."""
        try:
            self.socket.send(data)
        except OSError:
            return

    def _fail(self, response: gateway.Response, method: str) -> None:
        """The application failed: say so if nothing was said yet; else cut the answer off, so that it shows."""
        response.keep_alive = False
        if response.phase is gateway.Phase.DONE:  # the client has a whole answer
            return
        if response.phase is gateway.Phase.SENDING:
            self._aborted = True
            return
        response.phase = gateway.Phase.SENDING
        if response.given_up:
            return
        response.status = "500"
        answer = plain_answer(500, "Internal Server Error", "the application failed", int(time()), method)
        try:
            self._outbox.send(answer)
        except ClientGone:
            self._gone()

    def _gone(self) -> None:
        """Nobody reads the rest of the answer."""
        assert self._response is not None  # noqa: S101 - there is one while an answer is under way
        self._response.keep_alive = False
        self._outbox.drop()

    def _answered(self, now: float) -> Verdict:
        """The answer is over: log it, and go on with the next request, or close."""
        response = self._response
        assert response is not None  # noqa: S101 - as in _gone()
        self._log(int(response.status[:3]), response.sent, now)
        self._release()
        if not response.keep_alive:
            return self._end(now)
        self._move(State.HEAD)
        self._began = now
        if self._receiver.is_idle:
            self.deadline = now + self._service.keep_alive
            return Verdict.READ
        self.deadline = now + self._service.head_timeout
        return self._received(b"", now)

    # --- The end ---------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal, now: float) -> Verdict:
        """Answer what will not be taken."""
        if refusal.__cause__ is not None:  # the disk's fault, or the administrator's, and not the client's
            event("spool-failed", error=str(refusal.__cause__))
        head = self._receiver.head
        self._request_id = self._service.ids.of(head)
        self._complete = self._ended = now
        self._application_time = 0.0
        self._log(refusal.status, 0, now, refusal.name)
        self._release()
        self._send_at_once(refusal_answer(refusal, int(time()), head.method if head else ""))
        return self._linger(now)

    def _end(self, now: float) -> Verdict:
        """The last answer is out: close, unless there is something unread, for which a close sends a reset."""
        if self._aborted or (self._receiver.is_idle and not self._is_anything_unread()):
            return self._close()
        return self._linger(now)

    def _is_anything_unread(self) -> bool:
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _linger(self, now: float) -> Verdict:
        """Read on for a while: a close now could destroy the answer on its way (RFC 9112, section 9.6)."""
        self._move(State.LINGERING)
        self.deadline = now + LINGER
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return self._close()
        return Verdict.READ

    def _hung_up(self, now: float) -> Verdict:
        """The client sends no more. What it began is never handed to the application."""
        if self.state is not State.BODY:
            return self._close()
        receiver = self._receiver
        received = receiver.spool.size if receiver.spool is not None else 0
        expected = "unknown" if receiver.length == CHUNKED else receiver.length
        event("body-truncated", client=self.client[0], received=received, expected=expected)
        return self._refuse(Refusal("body-truncated"), now)

    def _close(self) -> Verdict:
        with contextlib.suppress(OSError):
            if self._aborted:  # a reset, not an end: where the end is what marks completeness, it must not look so
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:  # a process the application has forked may keep the socket open
                self.socket.shutdown(socket.SHUT_RDWR)
        self._release()
        self._move(State.CLOSED)
        return Verdict.CLOSE

    def _release(self) -> None:
        self._receiver.release()
        self._response = None

    def _move(self, state: State) -> None:
        assert state in MOVES[self.state], f"{self.state} -> {state}"  # noqa: S101 - the table is the rule
        self.state = state

    def _log(self, status: int, sent: int, now: float, refused: str = "") -> None:
        service, receiver = self._service, self._receiver
        if service.metrics is None and not service.log.wanted:
            return
        head, spool = receiver.head, receiver.spool
        record = Record(
            client=self.client[0],
            request_id=self._request_id,
            method=head.method if head else "",
            target=head.target if head else "",
            status=status,
            received=spool.size if spool else 0,
            sent=sent,
            framing=receiver.framing,
            spool=_where(spool),
            receive=self._complete - self._began,
            application=self._application_time,
            send=now - self._ended,
            refused=refused,
        )
        service.log.add(record)
        if service.metrics is not None:
            service.metrics.finished(record)


def _where(spool: Spool | None) -> str:
    if spool is None or not spool.size:
        return "none"
    return "memory" if spool.in_memory else "file"
