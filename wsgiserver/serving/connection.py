"""One client's socket, and what is done in each of its states (`states.py`).

Whoever owns a connection, the thread that leads or the one that runs its application (`eventloop/handoff.py`), calls
its methods and acts on the verdict they return. Nobody else touches it, so there is no lock. Clocks are arguments.
"""

import contextlib
import socket
from typing import Any, Final

from wsgiserver.errors import Refusal
from wsgiserver.http1.framing import CHUNKED
from wsgiserver.http1.head import begins_with_head
from wsgiserver.http1.response import CONTINUE
from wsgiserver.serving.context import ListenerContext, ServerContext
from wsgiserver.serving.exchange import RESET, Exchange
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

RECV_SIZE: Final = 64 * 1024  # bytes asked for at once: more is slower, since malloc() then maps new memory each time
PEEK_SIZE: Final = 512  # bytes: a PROXY protocol header, and the method behind it
LINGER: Final = 10.0  # seconds a client may go on sending, after its last answer, before it is cut off


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
        self._idle_since = now  # when it was opened, or its last answer was sent, or its next request began
        self._complete = 0.0  # when that request was all there
        self._body_began = self._body_deadline = 0.0
        # When there was the last byte of an answer that has to wait. For a body: until when its bytes suffice at the
        # lowest rate (`context.body_rate`), and never later than they came: a crumb now and then is next to nothing.
        self._progressed = 0.0
        self._is_last = False  # of the requests that are there, the one at hand is the last to be answered
        self._context = context
        self._receiver = Receiver(context.limits)
        self.exchange = Exchange(sock, self._receiver, client, listener, context)

    @property
    def is_idle(self) -> bool:
        """Nothing of a request is there."""
        return self.state is HEAD and self._receiver.is_idle

    def idle_for(self, now: float) -> float:
        """Seconds since when it keeps its place for no request, or only the beginning of a head; or for an answer that
        was sent.
        """
        if self.state is LINGERING:
            return now - self.deadline + LINGER
        return now - self._idle_since if self.state in {HEAD, PROXY} else 0.0

    def stalled_for(self, now: float) -> float:
        """Seconds without a byte of an answer being taken, or that a body is behind a client of the lowest rate."""
        return now - self._progressed if self.state in {BODY, SENDING} else 0.0

    @property
    def limited_address(self) -> str:
        """The client's address, or "" for a proxy that is trusted, and so speaks for many."""
        return "" if self.exchange.trusted else self.exchange.client[0]

    # --- Called by the owner: each returns what to do next ---------------------------------------------------

    def receive(self, now: float) -> Verdict:
        """There is something to receive."""
        try:
            data = self.socket.recv(RECV_SIZE)
        except BlockingIOError:
            return READ
        except OSError:
            data = b""
        return self._received(data, now) if data else self._hung_up(now)

    def resume(self, now: float) -> Verdict:
        """The application is done: go on with what is unsent, or with the next request."""
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
        """There is room to send."""
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
        if self.state is HEAD and self._unread(1):  # a request, in the last moment
            self.deadline = now + self._context.head_timeout
            return READ
        return self._close()

    def turn_away(self, now: float) -> Verdict:
        """There are too many of its kind."""
        return self._refuse(Refusal("too-many-connections"), now)

    def give_way(self, now: float) -> Verdict:
        """Its place is wanted, at once: there is no time to linger. Not that of a request on its way."""
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
        """The memory that it holds is wanted. A request that is whole is answered, and what came behind it is not."""
        if self.state in {APPLICATION, SENDING}:
            self._receiver.forget_rest()
            self._hold(self._receiver.held)
            self._is_last = True
            return WRITE
        return self._refuse(Refusal("overloaded"), now)

    def note_time_out(self, now: float) -> None:
        """The client was answered in the application's place; the thread comes back later, or never."""
        if self.state is APPLICATION and self.exchange.is_timed_out:
            self._move(ABANDONED)
            self.exchange.note_time_out(self._idle_since, self._complete, now)

    def drain(self, now: float, patience: float) -> None:
        """No new requests are wanted: who sends none, or none that counts, gets `patience` seconds."""
        if self.state is LINGERING or self.is_idle:
            self.deadline = min(self.deadline, now + patience)

    @property
    def is_under_way(self) -> bool:
        """There is a request, or a part of one, whose client has no answer yet."""
        return self._is_begun or self.state in {APPLICATION, SENDING}

    def cut_off(self) -> None:
        """The server ends. Where an answer was begun, the client sees that it is not whole."""
        if self.state is CLOSED:
            return
        if self.state in {APPLICATION, SENDING}:
            self.exchange.cut_off()
        self._close()
        self.socket.close()

    @property
    def _is_begun(self) -> bool:
        """A part of a request is there, and it waits for the rest."""
        return self.state is BODY or (self.state is HEAD and not self._receiver.is_idle)

    def _hold(self, size: int) -> None:
        """Tell how many bytes wait here. All together may be too many for a moment: the loop sees to that."""
        self._context.heads.charge(size - self.held)
        self.held = size

    # --- Receiving -------------------------------------------------------------------------------------------

    def _received(self, data: bytes, now: float) -> Verdict:
        """Take what was received; the boundary of everything a client can do wrong."""
        if self.state is LINGERING:
            return READ  # and forgotten
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
        """The client sends no more. What it began is never handed to the application."""
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
        """The request's, as far as it is known; one that is turned away has not been looked at yet."""
        receiver = self._receiver
        if receiver.head is not None or not receiver.is_idle:
            return receiver.method
        return "HEAD" if begins_with_head(self._unread(PEEK_SIZE)) else ""

    # --- After the answer ------------------------------------------------------------------------------------

    def _answered(self, now: float) -> Verdict:
        """The answer is over: go on with the next request, or close."""
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
        self._hold(self._receiver.held)  # if it is to run, others may come first
        return verdict

    def _end(self, now: float) -> Verdict:
        """The last answer is out: close, unless there is something unread, for which a close sends a reset."""
        if self.exchange.is_cut_off or (self._receiver.is_idle and not self._unread(1)):
            return self._close()
        return self._linger(now)

    def _unread(self, most: int) -> bytes:
        """What has come and was not received yet; it stays where it is."""
        try:
            return self.socket.recv(most, socket.MSG_PEEK)
        except OSError:
            return b""

    def _linger(self, now: float) -> Verdict:
        """Read on for a while: a close now could destroy the answer on its way (RFC 9112, section 9.6)."""
        self._move(LINGERING)
        self._receiver.forget_rest()
        self._hold(0)
        self.deadline = now + LINGER
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return self._close()
        return READ

    def _close(self) -> Verdict:
        with contextlib.suppress(OSError):
            if self.exchange.is_cut_off:  # a reset, not an end: where the end marks completeness, it must not look so
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:  # a process the application has forked may keep the socket open
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
