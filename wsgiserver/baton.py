"""The baton: which thread goes on with the loop, and what becomes of one that stays too long in the application.

Exactly one thread holds the baton, and only the holder polls, receives, accepts and expires (`loop.py`). It also runs
the application itself, with no queue and no wake-up in between, which is what makes a fast view fast. Before it
does, it lays the baton on the `table`, a list of one; afterwards it takes it back. Should the call last longer
than `handoff`, the watchdog takes the baton first, gives it to an idle thread, and the loop goes on without the
overtaken one, which finishes its answer, gives the connection back, and queues up as idle. Both take it with
`list.remove`, which is atomic: one of them has the baton, the other an exception.

A kind of request that was overtaken while it waited for something is remembered as slow: next time the holder passes
the baton on first. One that was computing is not: two threads that compute take turns, and gain nothing by it.

A call that shows no progress for `timeout` is given up: its client is answered, and the stack of its thread logged.
The thread itself cannot be ended. With half of them stuck so, `overwhelmed` asks for another process. While the loop
has to wait for a call, `held` is told so: what it hears nothing from does not even have a watchdog that runs.
"""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

from wsgiserver.accesslog import event
from wsgiserver.connection import Connection

MOST_AT_ONCE: Final = 1.0  # seconds that count between two looks: beyond, the whole process must have been stopped
LOOK: Final = 0.1  # seconds between looks at calls that take long: they are given up to within that
REST: Final = 200  # ticks without a call until the watchdog sleeps for good
SUSPICION: Final = 16  # halved by each quick call of a kind that is thought to be slow, until it is forgotten
COMPUTING: Final = 0.2  # share of the time a thread had a processor: less, and it was waiting for something else
KINDS: Final = 256  # that are remembered


@dataclass(slots=True)
class Late:
    """A call outside the loop, or one that keeps the loop waiting."""

    thread: int
    quiet: float = 0.0  # seconds without progress
    response: object = None  # what tells it from the next call of the same connection
    progress: object = None
    given_up: bool = False


class Baton:
    """`hold` goes on with the loop until the baton is lost or all is over; `give_back` takes the connection of a call
    that ended without the baton, `gave_up` one whose client was answered in its place. Durations are seconds.
    """

    def __init__(
        self,
        hold: Callable[[], None],
        give_back: Callable[[Connection], None],
        gave_up: Callable[[Connection], None],
        *,
        threads: int,
        handoff: float,
        timeout: float,
        overwhelmed: Callable[[], None],
    ) -> None:
        self.finished = False
        self.handed_over: Connection | None = None  # came with the baton: no longer the loop's to watch
        self.calls = 0  # of the application, so far
        self.held: Callable[[float], None] = lambda _: None  # called, with the time, while the loop has to wait
        self.passes = 0  # how often the baton went from one thread to another
        self._hold = hold
        self._give_back = give_back
        self._gave_up = gave_up
        self._overwhelmed = overwhelmed
        self._threads = threads
        self._handoff = handoff
        self._timeout = timeout
        self._table: list[Connection] = []  # holds the busy connection while its thread may be overtaken
        self._seats: list[threading.Lock] = []  # one for each idle thread; releasing it hands over the baton
        self._started = False
        self._holder = 0
        self._clock = 0  # the holder's processor time
        self._late: dict[Connection, Late] = {}
        self._slow: dict[str, int] = {}  # kinds of requests whose calls overran: pass the baton on before calling
        self._watchdog_wanted = threading.Event()

    @property
    def busy(self) -> int:
        """How many threads run the application, the holder not counted."""
        return len(self._late)

    @property
    def stuck(self) -> int:
        return sum(late.given_up for late in self._late.copy().values())

    def start(self) -> None:
        """Start the threads beside the one that will call `run`. Raises RuntimeError where that cannot be."""
        self._started = True
        for work in [*[self._work] * (self._threads - 1), self._guard]:
            threading.Thread(target=self._live, args=(work,), name=work.__name__, daemon=True).start()

    def run(self) -> None:
        """Go on until finished, this thread being one of `threads`."""
        if not self._started:
            self.start()
        self._take()
        self._work()

    def finish(self) -> None:
        """All is over: let the idle threads find out."""
        self.finished = True
        while self._seats:
            with contextlib.suppress(IndexError):  # another thread has just taken the last one
                self._seats.pop().release()

    def call(self, connection: Connection) -> bool:
        """Run the application. Returns False when the baton was lost meanwhile, and the connection with it."""
        self.calls += 1
        if self._slow and connection.exchange.kind in self._slow and self._pass_on(connection):
            self._call_apart(connection)
            return False
        if not self._watchdog_wanted.is_set():
            self._watchdog_wanted.set()
        self._table.append(connection)
        connection.exchange.respond()
        try:
            self._table.remove(connection)
        except ValueError:  # overtaken: whatever lies there now is the baton of another thread
            self._end(connection)
            return False
        return True

    # --- The threads -----------------------------------------------------------------------------------------

    def _live(self, work: Callable[[], None]) -> None:
        """Do a helper's work. It might have had the baton when it failed, and then nothing would ever go on."""
        try:
            work()
        except BaseException:  # noqa: BLE001 - the boundary of the loop's threads: the process ends, and is replaced
            event("thread-failed", error=traceback.format_exc())
            os._exit(1)

    def _work(self) -> None:
        """A thread's life: idle, then with the baton, until all is over."""
        seat = threading.Lock()
        seat.acquire()
        while True:
            self._seats.append(seat)
            if self.finished:  # looked at after the seat is in the list: whoever finishes releases it, or this sees it
                return
            seat.acquire()
            self._take()

    def _take(self) -> None:
        self._holder = threading.get_ident()
        self._clock = own_clock()
        self._hold()

    def _call_apart(self, connection: Connection) -> None:
        """Run the application without the baton, and learn whether that was needed."""
        began = monotonic()
        self._late[connection] = Late(threading.get_ident())
        connection.exchange.respond()
        self._judge(connection.exchange.kind, slow=monotonic() - began > self._handoff)
        self._end(connection)

    def _judge(self, kind: str, *, slow: bool) -> None:
        suspicion = SUSPICION if slow else self._slow.get(kind, 0) // 2
        if not suspicion:
            self._slow.pop(kind, None)
        elif kind in self._slow or len(self._slow) < KINDS:
            self._slow[kind] = suspicion

    def _end(self, connection: Connection) -> None:
        del self._late[connection]
        self._give_back(connection)

    def _pass_on(self, busy: Connection) -> bool:
        """Hand the baton to an idle thread, if there is one."""
        try:
            seat = self._seats.pop()
        except IndexError:
            return False
        self.handed_over = busy
        self.passes += 1
        seat.release()
        return True

    # --- The watchdog ----------------------------------------------------------------------------------------

    def _guard(self) -> None:
        """Look at the table every `handoff` seconds, at late calls less often; sleep while nothing is called."""
        seen = rested = 0
        looked = monotonic()
        held: Late | None = None  # the holder's call, when it cannot be overtaken
        then = computed = 0.0
        tick = self._handoff if self._threads > 1 else LOOK
        while not self._is_over_after(tick):
            now = monotonic()
            if self.calls != seen:
                seen, rested, held = self.calls, 0, None
                then, computed = now, processor_time(self._clock)
            elif self._table and not self._overtake(now - then, computed):
                held = held or Late(self._holder)
                self.held(now)
            elif rested < REST or self._late:
                rested += 1
            else:
                self._watchdog_wanted.clear()
                if self.calls == seen:  # a call that began before the line above found the event still set
                    self._watchdog_wanted.wait()
            if now - looked >= LOOK and self._timeout:
                self._look(min(now - looked, MOST_AT_ONCE), held)
                looked = now
        self.finish()  # with a seat that _overtake may have had in hand when the others were dismissed

    def _is_over_after(self, tick: float) -> bool:
        sleep(tick)
        return self.finished

    def _overtake(self, elapsed: float, computed: float) -> bool:
        """Take the baton from a thread that is too long in one call, and give it to an idle one, if there is one."""
        try:
            connection = self._table[0]
            seat = self._seats.pop()
        except IndexError:
            return False  # the call has just ended; or all are busy, and the next look may find one
        self._late[connection] = Late(self._holder)  # first: the thread, once overtaken, removes it
        try:
            self._table.remove(connection)
        except ValueError:  # the call has just ended
            del self._late[connection]
            self._seats.append(seat)
            return True
        if processor_time(self._clock) - computed < COMPUTING * elapsed:
            self._judge(connection.exchange.kind, slow=True)
        self.handed_over = connection
        self.passes += 1
        seat.release()
        return True

    def _look(self, elapsed: float, held: Late | None) -> None:
        """Give up the calls that have shown no progress for `timeout`; `elapsed` is the time since the last look."""
        calls = list(self._late.copy().items())
        if held is not None:
            calls += [(connection, held) for connection in self._table[:1]]
        stuck = 0
        for connection, late in calls:
            stuck += late.given_up or self._is_stuck(connection, late, elapsed)
        if 2 * stuck >= self._threads:
            self._overwhelmed()

    def _is_stuck(self, connection: Connection, late: Late, elapsed: float) -> bool:
        """Say whether the call had to be given up, now."""
        if late.response is None:
            late.response = connection.exchange.response
        progress = connection.exchange.progress
        late.quiet = late.quiet + elapsed if progress == late.progress else 0.0
        late.progress = progress
        if late.quiet < self._timeout or late.response is None:
            return False
        frame = sys._current_frames().get(late.thread)  # noqa: SLF001 - documented for just this
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        if connection.exchange.give_up(late.response, self._timeout, stack):
            late.given_up = True
            self._gave_up(connection)
        elif connection.exchange.response is late.response:  # the answer is whole, and still the thread does not return
            late.given_up = True
            event("close-timeout", after=self._timeout, stack=stack)
        return late.given_up


def own_clock() -> int:
    """Return the clock of the calling thread's processor time; 0 where the system has none that others can read."""
    return time.pthread_getcpuclockid(threading.get_ident()) if hasattr(time, "pthread_getcpuclockid") else 0


def processor_time(clock: int) -> float:
    """Seconds of processor time that a thread has used; 0 where the system does not tell, or the thread has ended.

    By its clock, which the system looks up: to ask for the clock of a thread that has ended follows a stale pointer.
    """
    try:
        return time.clock_gettime(clock) if clock else 0.0
    except OSError:
        return 0.0
