"""Which thread runs the event loop, and how it passes to another one while the application takes long.

This is the Leader/Followers pattern with a watchdog that hands off, as Go's scheduler does it (`sysmon`, `handoffp`).

The problem: an event loop with a pool of threads pays two hand-overs for each request, to the pool and back, and in
Python these cost more than a small request itself. A loop without threads is fast until one view takes long, and then
every client waits.

The rule: exactly one thread leads. Only the leader polls, accepts, receives and expires (`loop.py`), and it runs the
application itself, without a queue and without waking another thread. The others are idle, or in the application.

The hand-off: before the leader calls the application, it puts the connection into the hand-off slot, a list of one.
When the call returns, it takes the connection out and goes on leading. If the call lasts longer than `handoff`, the
watchdog (`watchdog.py`) takes the connection out first and promotes an idle thread, which leads from then on. The old
leader finishes its response, gives the connection back through `return_connection`, and becomes idle. Both sides use
`list.remove`, which is atomic: it succeeds for one of them and raises for the other, so the call has one owner.

A hand-off by the watchdog comes `handoff` seconds late. So the kinds of requests that were handed off while they waited
are remembered as slow, and the leader hands off before it calls them, until they have been quick for a while. A call
that was computing is not remembered: the interpreter runs one thread at a time, and a second one would gain nothing.

This module must not know what a request is, or what the loop waits for. No locks are taken on the fast path.
"""

import contextlib
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from wsgiserver.eventloop.thread_clock import own_clock
from wsgiserver.serving.connection import Connection
from wsgiserver.telemetry.log import event

INITIAL_SUSPICION: Final = 16  # of a slow kind; each quick call halves it, and at 0 the kind is forgotten
MAX_SLOW_KINDS: Final = 256  # kinds that are remembered
JOIN_INTERVAL: Final = 0.01  # seconds between checks which threads have not ended yet


@dataclass(slots=True)
class InFlightCall:
    """What the watchdog knows of a call outside the loop, or of one that blocks the loop."""

    thread: int
    timed_out: bool = False
    response: object = None  # distinguishes it from the next call of the same connection
    _idle_for: float = 0.0  # seconds without progress
    _progress: object = None

    def is_idle_for(self, timeout: float, elapsed: float, response: object, progress: object) -> bool:
        """Note the progress, `elapsed` seconds after the last check; returns whether the call has timed out."""
        if self.response is None:
            self.response = response
        self._idle_for = self._idle_for + elapsed if progress == self._progress else 0.0
        self._progress = progress
        return self._idle_for >= timeout and self.response is not None

    def note_time_out(self) -> None:
        self.timed_out = True


class SlowKinds(dict[str, int]):
    """The kinds of requests whose calls were slow -> their suspicion, which quick calls halve."""

    def judge(self, kind: str, *, slow: bool) -> None:
        suspicion = INITIAL_SUSPICION if slow else self.get(kind, 0) // 2
        if not suspicion:
            self.pop(kind, None)
        elif kind in self or len(self) < MAX_SLOW_KINDS:
            self[kind] = suspicion


class _Follower:
    """An idle thread, until it is promoted. It then receives the connection whose call goes on outside the loop."""

    __slots__ = ("_handed_off", "_lock")

    def __init__(self) -> None:
        self._handed_off: Connection | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self) -> Connection | None:
        self._lock.acquire()
        handed_off, self._handed_off = self._handed_off, None
        return handed_off

    def promote(self, handed_off: Connection | None) -> None:
        self._handed_off = handed_off
        self._lock.release()


OnThreadEnd = Callable[[BaseException | None], None]


def end_process(error: BaseException | None) -> None:
    """End the worker if one of its threads has failed; the supervisor starts another."""
    if error is not None:
        os._exit(1)


class LeaderFollowers:
    """The threads of one loop, and which of them leads. Durations are seconds.

    `lead` runs the loop until another thread leads or the server ends. Its argument is the connection that was just
    handed off, which the loop must no longer watch, or None. `return_connection` gives a connection back to the loop
    when its call has ended outside.
    """

    def __init__(
        self,
        lead: Callable[[Connection | None], None],
        return_connection: Callable[[Connection], None],
        *,
        threads: int,
        handoff: float,
    ) -> None:
        self.threads = threads
        self.handoff = handoff
        self.finished = False
        self.calls = 0  # of the application, so far
        self.handoffs = 0  # so far
        self.leader = 0  # its thread id
        self.leader_clock = 0  # of its processor time
        self._lead = lead
        self._return_connection = return_connection
        self._on_thread_end: OnThreadEnd = end_process
        self._started: list[threading.Thread] = []
        self._is_over = False  # calls that end now have no loop to return to
        self._returning = threading.Lock()
        self._slot: list[Connection] = []  # the connection of the leader's call, while the loop may be handed off
        self._idle: list[_Follower] = []
        self._in_flight: dict[Connection, InFlightCall] = {}
        self._slow_kinds = SlowKinds()  # the leader hands off before it calls them
        self._called = threading.Event()

    @property
    def busy(self) -> int:
        """The number of threads in the application, without the leader."""
        return len(self._in_flight)

    @property
    def stuck(self) -> int:
        return sum(call.timed_out for call in self._in_flight.copy().values())

    def start(self, watchdog: Callable[[], None], on_thread_end: OnThreadEnd | None = None) -> None:
        """Start all threads but the one that will call `run`. Raises RuntimeError if the system refuses one.

        With `on_thread_end` the thread that calls `run` is started here too, as the last. Each thread then calls
        `on_thread_end` when it ends, with the exception that ended it, or None.
        """
        works = [*[("follower", self._follow)] * (self.threads - 1), ("watchdog", watchdog)]
        if on_thread_end is not None:
            self._on_thread_end = on_thread_end
            works.append(("leader", self.run))
        for name, work in works:
            thread = threading.Thread(target=self._live, args=(work,), name=name, daemon=True)
            self._started.append(thread)  # first: a signal handler may raise while it starts
            thread.start()

    def run(self) -> None:
        """Lead, and then follow, until finished. The calling thread is one of the `threads`."""
        self._lead_with(None)
        self._follow()

    def finish(self) -> None:
        """End: wake the idle threads and the watchdog, which then return."""
        self.finished = True
        self._called.set()
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread has just taken the last one
                self._idle.pop().promote(None)

    def call(self, connection: Connection) -> bool:
        """Run the application. Returns False if another thread leads now; then the connection is no longer owned."""
        self.calls += 1
        if self._slow_kinds and connection.exchange.kind in self._slow_kinds and self._promote(connection):
            self._call_outside(connection)
            return False
        if not self._called.is_set():
            self._called.set()
        self._slot.append(connection)
        connection.exchange.respond()
        try:
            self._slot.remove(connection)
        except ValueError:  # the loop was handed off: whatever is in the slot now is another thread's
            self._end(connection)
            return False
        return True

    # --- The end, called by a thread that is not one of these -------------------------------------------------

    def join(self) -> None:
        """Wait until each thread of `start` has ended or is in the application. `finish` has to be called too."""
        while staying := self._staying():
            for connection in self._slot.copy():
                self._detach(connection)
            staying[0].join(JOIN_INTERVAL)

    def _staying(self) -> list[threading.Thread]:
        inside = {call.thread for call in self._in_flight.copy().values()}
        return [thread for thread in self._started if thread.is_alive() and thread.ident not in inside]

    def interrupt_calls(self) -> set[Connection]:
        """Interrupt the calls under way after `join`; returns their connections: each thread closes its own."""
        alive = {thread.ident for thread in self._started if thread.is_alive()}
        with self._returning:
            self._is_over = True
            theirs = {connection for connection, call in self._in_flight.items() if call.thread in alive}
            for connection in theirs:
                connection.exchange.interrupt()
        return theirs

    def left(self, patience: float) -> int:
        """Return how many threads are still in the application after `patience` seconds."""
        deadline = monotonic() + patience
        alive = [thread for thread in self._started if thread.is_alive()]
        for thread in alive:
            thread.join(max(0.0, deadline - monotonic()))
        return sum(thread.is_alive() for thread in alive)

    # --- The threads -----------------------------------------------------------------------------------------

    def _live(self, work: Callable[[], None]) -> None:
        """Run a thread, and report its end. If the leader failed unnoticed, the loop would stand still for ever."""
        failure = None
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the boundary of the loop's threads: the server ends with one
            event("thread-failed", error=traceback.format_exc())
            failure = error
        self._on_thread_end(failure)

    def _follow(self) -> None:
        """Be idle, then lead, in turns, until the server ends."""
        follower = _Follower()
        while True:
            self._idle.append(follower)
            if self.finished:  # checked after the append: either `finish` promotes this follower, or it sees this
                return
            handed_off = follower.wait()
            if self.finished:
                return
            self._lead_with(handed_off)

    def _lead_with(self, handed_off: Connection | None) -> None:
        self.leader = threading.get_ident()
        self.leader_clock = own_clock()
        self._lead(handed_off)

    def _promote(self, busy: Connection) -> bool:
        """Have an idle thread lead, if there is one."""
        try:
            follower = self._idle.pop()
        except IndexError:
            return False
        self.handoffs += 1
        follower.promote(busy)
        return True

    def _call_outside(self, connection: Connection) -> None:
        """Run the application while another thread leads, and note whether the call was slow."""
        began = monotonic()
        self._in_flight[connection] = InFlightCall(threading.get_ident())
        connection.exchange.respond()
        self._slow_kinds.judge(connection.exchange.kind, slow=monotonic() - began > self.handoff)
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        with self._returning:
            del self._in_flight[connection]
            if self._is_over:
                connection.cut_off()
            else:
                self._return_connection(connection)

    def _detach(self, connection: Connection) -> bool:
        """Let the leader's call go on outside the loop. Returns False if it has just ended."""
        self._in_flight[connection] = InFlightCall(self.leader)  # first: the thread, once it notices, removes it
        try:
            self._slot.remove(connection)
        except ValueError:
            del self._in_flight[connection]
            return False
        return True

    # --- Called by the watchdog ------------------------------------------------------------------------------

    @property
    def leader_call(self) -> Connection | None:
        """The connection for which the leader is in the application."""
        try:
            return self._slot[0]
        except IndexError:
            return None

    def calls_in_flight(self) -> list[tuple[Connection, InFlightCall]]:
        return list(self._in_flight.copy().items())

    def sleep_until_called(self, seen: int) -> None:
        """Wait until there were more than `seen` calls, or for the end."""
        self._called.clear()
        if self.calls == seen and not self.finished:  # what came before the line above found the event still set
            self._called.wait()

    def hand_off(self, *, is_slow: bool) -> bool:
        """Promote an idle thread while the leader is in a call. `is_slow`: remember this kind of request as slow.

        Returns False if no thread is idle.
        """
        try:
            connection = self._slot[0]
            follower = self._idle.pop()
        except IndexError:
            return False  # the call has just ended; or all are busy, and the next check may find one
        if not self._detach(connection):
            self._idle.append(follower)
            return True
        if is_slow:
            self._slow_kinds.judge(connection.exchange.kind, slow=True)
        self.handoffs += 1
        follower.promote(connection)
        return True
