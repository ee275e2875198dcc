"""Which thread leads: it goes on with the loop, and hands it off when it stays too long in the application.

This is the Leader/Followers pattern with a watchdog that hands off, as Go's runtime does (`sysmon`, `handoffp`).

Exactly one thread leads, and only the leader polls, receives, accepts and expires (`loop.py`). It also runs the
application itself, with no queue and no wake-up in between, which is what makes a fast view fast. Before it does, it
puts the connection into the hand-off slot, a list of one; afterwards it takes it out. Should the call last longer
than `handoff`, the watchdog (`watchdog.py`) takes it out first and promotes an idle thread, and the loop goes on
without the one before, which finishes its response, returns the connection, and queues up as idle. Both take it out
with `list.remove`, which is atomic: one of them succeeds, and for the other it raises.

A kind of request that was handed off while it waited for something is remembered as slow: next time the leader hands
the loop off first. One that was computing is not: two threads that compute take turns, and gain nothing by it.
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

SUSPICION: Final = 16  # halved by each quick call of a kind that is thought to be slow, until it is forgotten
MAX_SLOW_KINDS: Final = 256  # that are remembered
JOIN_INTERVAL: Final = 0.01  # seconds between looks at which threads are still to be waited for


@dataclass(slots=True)
class InFlightCall:
    """What the watchdog knows of a call outside the loop, or of one that blocks the loop."""

    thread: int
    timed_out: bool = False
    response: object = None  # what tells it from the next call of the same connection
    _idle_for: float = 0.0  # seconds without progress
    _progress: object = None

    def is_idle_for(self, timeout: float, elapsed: float, response: object, progress: object) -> bool:
        """Note how things stand `elapsed` seconds after the last time; returns whether `timeout` is over."""
        if self.response is None:
            self.response = response
        self._idle_for = self._idle_for + elapsed if progress == self._progress else 0.0
        self._progress = progress
        return self._idle_for >= timeout and self.response is not None

    def note_time_out(self) -> None:
        self.timed_out = True


class SlowKinds(dict[str, int]):
    """The kinds of requests whose calls were slow -> how many quick ones it takes until they are forgotten."""

    def judge(self, kind: str, *, slow: bool) -> None:
        suspicion = SUSPICION if slow else self.get(kind, 0) // 2
        if not suspicion:
            self.pop(kind, None)
        elif kind in self or len(self) < MAX_SLOW_KINDS:
            self[kind] = suspicion


class _Follower:
    """An idle thread, which waits until it is promoted: with the connection whose call goes on without the loop."""

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
    """What becomes of a worker one of whose threads has failed: it ends, and is replaced."""
    if error is not None:
        os._exit(1)


class LeaderFollowers:
    """`lead` goes on with the loop until another thread leads or all is over; it is called with the connection that was
    handed off, no longer the loop's to watch, or None. `return_connection` takes that of a call that ended outside the
    loop. Durations are seconds.
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
        self.handoffs = 0  # how often another thread came to lead
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
        self._slow_kinds = SlowKinds()  # hand off before they are called
        self._called = threading.Event()

    @property
    def busy(self) -> int:
        """How many threads run the application, the leader not counted."""
        return len(self._in_flight)

    @property
    def stuck(self) -> int:
        return sum(call.timed_out for call in self._in_flight.copy().values())

    def start(self, watchdog: Callable[[], None], on_thread_end: OnThreadEnd | None = None) -> None:
        """Start the threads beside the one that will call `run`. Raises RuntimeError where that cannot be.

        With `on_thread_end` that one is started as well, as the last; and each calls it as the last thing it does, with
        what made it fail, if that is why.
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
        """Lead, and then follow, until finished: this thread is one of `threads`, the others are those of `start`."""
        self._lead_with(None)
        self._follow()

    def finish(self) -> None:
        """All is over: let the idle threads and the watchdog find out."""
        self.finished = True
        self._called.set()
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread has just taken the last one
                self._idle.pop().promote(None)

    def call(self, connection: Connection) -> bool:
        """Run the application. Returns False when another thread leads by now, and this one has lost the connection."""
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

    # --- The end, from a thread that is none of these ----------------------------------------------------------

    def join(self) -> None:
        """Wait until each thread of `start` has ended, or is in the application; `finish` was called, or will be."""
        while staying := self._staying():
            for connection in self._slot.copy():
                self._detach(connection)
            staying[0].join(JOIN_INTERVAL)

    def _staying(self) -> list[threading.Thread]:
        inside = {call.thread for call in self._in_flight.copy().values()}
        return [thread for thread in self._started if thread.is_alive() and thread.ident not in inside]

    def let_go(self) -> set[Connection]:
        """Interrupt the calls under way after `join`; returns their connections: each thread closes its own."""
        alive = {thread.ident for thread in self._started if thread.is_alive()}
        with self._returning:
            self._is_over = True
            theirs = {connection for connection, call in self._in_flight.items() if call.thread in alive}
            for connection in theirs:
                connection.exchange.interrupt()
        return theirs

    def left(self, patience: float) -> int:
        """Return how many threads are still in the application after so many seconds."""
        deadline = monotonic() + patience
        alive = [thread for thread in self._started if thread.is_alive()]
        for thread in alive:
            thread.join(max(0.0, deadline - monotonic()))
        return sum(thread.is_alive() for thread in alive)

    # --- The threads -----------------------------------------------------------------------------------------

    def _live(self, work: Callable[[], None]) -> None:
        """Do a helper's work. It might have been leading when it failed, and then nothing would ever go on."""
        failure = None
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the boundary of the loop's threads: the server ends with one
            event("thread-failed", error=traceback.format_exc())
            failure = error
        self._on_thread_end(failure)

    def _follow(self) -> None:
        """A thread's life: idle, then leading, until all is over."""
        follower = _Follower()
        while True:
            self._idle.append(follower)
            if self.finished:  # looked at after it is in the list: whoever finishes promotes it, or this sees it
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
        """Run the application while another thread leads, and learn whether that was needed."""
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
        """Have the leader's call go on outside the loop. Returns False where it has just ended."""
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
        """Wait for a call after the `seen` ones, or for the end."""
        self._called.clear()
        if self.calls == seen and not self.finished:  # what came before the line above found the event still set
            self._called.wait()

    def hand_off(self, *, is_slow: bool) -> bool:
        """Have an idle thread lead while the leader is in a call; `is_slow`: next time before others of this kind.

        Returns False where no thread is idle.
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
