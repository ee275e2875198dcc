"""One client: its socket, the one state that it is in (`states.py`), and what happens in each state.

A connection is passive. Its owner is either the leading thread or the thread that runs its application
(`eventloop/handoff.py`). The owner calls a method when something has happened: `receive`, `flush`, `resume` (the
application has returned), `expire` (the deadline has passed). Each method returns a verdict, which says what to do
next: wait to READ, wait to WRITE, RUN the application, or CLOSE. Nobody but the owner touches a connection, so there is
no lock. Clocks are arguments.

`_move` is the only way to another state, and raises for a move that is not in the table. `deadline` always belongs to
the current state: for a head, for a body (the earlier of two limits), for the client to read, for the next request.

Everything that a client can do wrong ends in one place. `_received` catches the Refusal, whoever raised it; the client
is answered, the request is logged, and the connection lingers. Lingering means to read on for a while and throw the
data away, because closing a socket with unread data sends a reset, which could destroy the response on its way.

A connection that waits may have to make room for others. `idle_for` and `stalled_for` say how long it has held its
place without need, and `give_way` and `relieve` give up the place, or the memory.

It must not know threads, the poll, or how a request is parsed (`receiver.py`) and answered (`exchange.py`).
"""

import contextlib
import socket
from typing import Any, Final

from wsgiserver.errors import Refusal
from wsgiserver.http1.framing import CHUNKED
from wsgiserver.http1.head import begins_with_head
from wsgiserver.http1.response import CONTINUE
from wsgiserver.serving.context import ListenerContext, ServerContext
from wsgiserver.serving.exchange import RESET_ON_CLOSE, Exchange
from wsgiserver.serving.receiver import COMPLETE, Receiver
from wsgiserver.serving.states import (
    ABANDONED,
    APPLICATION,
    BODY,
    CLOSE,
    CLOSED,
    HEAD,
    LINGERING,
    MOVES,
    PROXY,
    READ,
    RUN,
    SENDING,
    WRITE,
    State,
    Verdict,
)
from wsgiserver.telemetry.log import event

RECV_SIZE: Final = 64 * 1024  # bytes of one recv(): with more, malloc() would map new memory each time
PEEK_SIZE: Final = 512  # bytes: a PROXY protocol header, and the method behind it
LINGER_TIME: Final = 10.0  # seconds for which a client may go on sending after its last response


class Connection:
    """See above. `deadline` is when `expire` is due, on the clock of `time.monotonic`."""

    __slots__ = (
        "_body_began",
        "_body_deadline",
        "_complete",
        "_context",
        "_idle_since",
        "_is_last",
        "_progressed",
        "_receiver",
        "deadline",
        "exchange",
        "held",
        "socket",
        "state",
    )

    def __init__(
        self, sock: socket.socket, address: Any, listener: ListenerContext, context: ServerContext, now: float
    ) -> None:
        client = (address[0], address[1]) if isinstance(address, tuple) else ("", 0)
        self.socket = sock
        self.state: State = HEAD
        self.deadline = now + context.head_timeout
        self.held = 0  # bytes of `context.heads`
        self._idle_since = now  # when it was opened, its last response was sent, or its next request began
        self._complete = 0.0  # when that request was complete
        self._body_began = self._body_deadline = 0.0
        # Of a response: when the last byte was taken. Of a body: the time up to which its bytes suffice at the lowest
        # rate (`context.body_rate`), but never later than now: a few bytes now and then hardly count.
        self._progressed = 0.0
        self._is_last = False  # no request after the current one is answered
        self._context = context
        self._receiver = Receiver(context.limits)
        self.exchange = Exchange(sock, self._receiver, client, listener, context)

    @property
    def is_idle(self) -> bool:
        """Whether no byte of a request has arrived."""
        return self.state is HEAD and self._receiver.is_idle

    def idle_for(self, now: float) -> float:
        """Return for how many seconds it has had no request, or only the beginning of a head, or has lingered."""
        if self.state is LINGERING:
            return now - self.deadline + LINGER_TIME
        return now - self._idle_since if self.state in {HEAD, PROXY} else 0.0

    def stalled_for(self, now: float) -> float:
        """Return for how many seconds no byte of a response was taken, or how far a body is behind the lowest rate."""
        return now - self._progressed if self.state in {BODY, SENDING} else 0.0

    @property
    def limited_address(self) -> str:
        """The client's address, or "" for a trusted proxy, which is not limited because it speaks for many clients."""
        return "" if self.exchange.trusted else self.exchange.client[0]

    # --- Called by the owner: each returns what to do next ---------------------------------------------------

    def receive(self, now: float) -> Verdict:
        """The socket is readable."""
        try:
            data = self.socket.recv(RECV_SIZE)
        except BlockingIOError:
            return READ
        except OSError:
            data = b""
        return self._received(data, now) if data else self._hung_up(now)

    def resume(self, now: float) -> Verdict:
        """The application has returned: send the rest of the response, or begin the next request."""
        exchange = self.exchange
        if exchange.is_timed_out:
            self.note_time_out(now)
            return self._close()
        if exchange.outbox.is_empty:
            return self._answered(now)
        self._move(SENDING)
        self._receiver.forget_most()
        self._hold(self._receiver.held)
        return self.flush(now)

    def flush(self, now: float) -> Verdict:
        """The socket is writable."""
        if self.exchange.flush():
            return self._answered(now)
        self._progressed = now
        self.deadline = now + self._context.send_timeout
        return WRITE

    def expire(self, now: float) -> Verdict:
        """The deadline has passed."""
        if self.state is HEAD and not self._receiver.is_idle:
            return self._refuse(Refusal("head-timeout"), now)
        if self.state is BODY:
            return self._refuse(Refusal("body-too-slow" if now >= self._body_deadline else "body-timeout"), now)
        if self.state is SENDING:
            self.exchange.cut_off()
            return self._answered(now)
        if self.state is HEAD and self._unread(1):  # a request has arrived at the last moment
            self.deadline = now + self._context.head_timeout
            return READ
        return self._close()

    def turn_away(self, now: float) -> Verdict:
        """Refuse a connection of a client that has too many."""
        return self._refuse(Refusal("too-many-connections"), now)

    def give_way(self, now: float) -> Verdict:
        """Make room at once, without lingering; a connection whose next request has arrived stays."""
        if self.state is SENDING:
            self.exchange.cut_off()
            self.exchange.finish(self._idle_since, self._complete, now)
            return self._close()
        if self._unread(1) and self.state is not LINGERING:
            return READ
        if self._is_begun:
            self.exchange.refuse(Refusal("overloaded"), self._idle_since, now, self._method())
        return self._close()

    def relieve(self, now: float) -> Verdict:
        """Give up memory. A complete request is still answered; requests behind it are dropped."""
        if self.state in {APPLICATION, SENDING}:
            self._receiver.forget_rest()
            self._hold(self._receiver.held)
            self._is_last = True
            return WRITE
        return self._refuse(Refusal("overloaded"), now)

    def note_time_out(self, now: float) -> None:
        """The client was answered instead of the application, whose thread returns later or never."""
        if self.state is APPLICATION and self.exchange.is_timed_out:
            self._move(ABANDONED)
            self.exchange.note_time_out(self._idle_since, self._complete, now)

    def drain(self, now: float, patience: float) -> None:
        """Shutting down: close this connection in `patience` seconds if it is idle or lingering."""
        if self.state is LINGERING or self.is_idle:
            self.deadline = min(self.deadline, now + patience)

    @property
    def is_under_way(self) -> bool:
        """Whether a request, or a part of one, has not been answered yet."""
        return self._is_begun or self.state in {APPLICATION, SENDING}

    def cut_off(self) -> None:
        """The server ends: close. A client in the middle of a response sees that it is not complete."""
        if self.state is CLOSED:
            return
        if self.state in {APPLICATION, SENDING}:
            self.exchange.cut_off()
        self._close()
        self.socket.close()

    @property
    def _is_begun(self) -> bool:
        """Whether a part of a request has arrived, and not all of it."""
        return self.state is BODY or (self.state is HEAD and not self._receiver.is_idle)

    def _hold(self, size: int) -> None:
        """Charge the shared budget for the bytes that wait here. It may be overdrawn until the loop makes room."""
        self._context.heads.charge(size - self.held)
        self.held = size

    # --- Receiving -------------------------------------------------------------------------------------------

    def _received(self, data: bytes, now: float) -> Verdict:
        """Take what was received. Every mistake that a client can make is caught here."""
        if self.state is LINGERING:
            return READ  # the data is dropped
        receiver = self._receiver
        if receiver.is_idle:
            self._idle_since = now
            self.deadline = now + self._context.head_timeout
        try:
            stage = receiver.feed(data)
        except Refusal as refusal:
            return self._refuse(refusal, now)
        if stage is COMPLETE:
            self._move(APPLICATION)
            self._complete = now
            return RUN
        if receiver.head is not None:
            self._body_goes_on(now, len(data))
        self._hold(receiver.held)
        return READ

    def _body_goes_on(self, now: float, more: int) -> None:
        context, spool = self._context, self._receiver.spool
        if self.state is HEAD:
            self._move(BODY)
            self._body_began = self._progressed = now
            if self._receiver.awaits_continue:
                self.exchange.send_at_once(CONTINUE)
        received = spool.size if spool is not None else 0
        self._progressed = min(now, self._progressed + more / context.body_rate)
        self._body_deadline = self._body_began + context.body_timeout + received / context.body_rate
        self.deadline = min(now + context.body_idle_timeout, self._body_deadline)

    def _hung_up(self, now: float) -> Verdict:
        """The client sends no more. An incomplete request is never handed to the application."""
        if self.state is not BODY:
            return self._close()
        receiver = self._receiver
        received = receiver.spool.size if receiver.spool is not None else 0
        expected = "unknown" if receiver.length == CHUNKED else receiver.length
        event("body-incomplete", client=self.exchange.client[0], received_bytes=received, expected_bytes=expected)
        return self._refuse(Refusal("body-incomplete"), now)

    def _refuse(self, refusal: Refusal, now: float) -> Verdict:
        self.exchange.refuse(refusal, self._idle_since, now, self._method())
        return self._linger(now)

    def _method(self) -> str:
        """Return the method of the request, as far as it is known. If nothing was received yet, peek for it."""
        receiver = self._receiver
        if receiver.head is not None or not receiver.is_idle:
            return receiver.method
        return "HEAD" if begins_with_head(self._unread(PEEK_SIZE)) else ""

    # --- After the response ----------------------------------------------------------------------------------

    def _answered(self, now: float) -> Verdict:
        """The response is over: begin the next request, or close."""
        if not self.exchange.finish(self._idle_since, self._complete, now) or self._is_last:
            return self._end(now)
        self._move(HEAD)
        self._idle_since = now
        if self._receiver.is_idle:
            if self.held:
                self._hold(0)
            self.deadline = now + self._context.keep_alive
            return READ
        self.deadline = now + self._context.head_timeout
        verdict = self._received(b"", now)
        self._hold(self._receiver.held)  # a request that is complete may still have to wait for others
        return verdict

    def _end(self, now: float) -> Verdict:
        """The last response is sent: close, or linger if data is unread, because close() would send a reset."""
        if self.exchange.is_cut_off or (self._receiver.is_idle and not self._unread(1)):
            return self._close()
        return self._linger(now)

    def _unread(self, most: int) -> bytes:
        """Return data that the socket has, without removing it."""
        try:
            return self.socket.recv(most, socket.MSG_PEEK)
        except OSError:
            return b""

    def _linger(self, now: float) -> Verdict:
        """Read on for a while: closing now could destroy the response on its way (RFC 9112, section 9.6)."""
        self._move(LINGERING)
        self._receiver.forget_rest()
        self._hold(0)
        self.deadline = now + LINGER_TIME
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return self._close()
        return READ

    def _close(self) -> Verdict:
        with contextlib.suppress(OSError):
            if self.exchange.is_cut_off:  # send a reset, so that it does not look complete
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            else:  # a process that the application has forked may hold the socket open
                self.socket.shutdown(socket.SHUT_RDWR)
        self.exchange.release()
        self.exchange.outbox.drop()
        self._receiver.forget_rest()
        self._hold(0)
        self._move(CLOSED)
        return CLOSE

    def _move(self, state: State) -> None:
        assert state in MOVES[self.state], f"{self.state} -> {state}"  # noqa: S101 - the table is the rule
        self.state = state
