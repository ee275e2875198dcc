"""Readiness and deadlines: what can be done now, and what has taken too long.

    poll --> ready events --> connection.receive / flush --> verdict --> settle: watch for READ or WRITE,
     ^                                                         |         or forget
     +------ returned <-- another thread, when it is done      +-- RUN: call the application, here and now

Deadlines are looked at when all that was ready has been handled, as of when it was: what came in time counts, however
late a busy process gets to it.

All of this is done by one thread at a time, the one that leads (`handoff.py`).
It knows nothing of HTTP: a connection is what has the methods of `Connection` below.
"""

import contextlib
import errno
import socket
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from heapq import nlargest
from time import monotonic
from typing import Any, Final, NamedTuple

from wsgiserver.eventloop.handoff import LeaderFollowers, OnThreadEnd
from wsgiserver.eventloop.poller import EXCLUSIVE, READABLE, WRITABLE, Bell, Poller
from wsgiserver.eventloop.watchdog import Watchdog
from wsgiserver.serving.connection import Connection
from wsgiserver.serving.states import ABANDONED, CLOSE, READ, RUN, Verdict
from wsgiserver.telemetry.log import event

# Not events of the poll:
RETURNED: Final = 0  # another thread is done with the connection
POSTPONED: Final = -1  # its next request is complete, but others come first
TIMED_OUT: Final = -2  # its client was answered while another thread has it
MAX_EVENTS: Final = 256  # taken from one poll; the rest comes with the next
MAX_ACCEPTS: Final = 16  # connections taken at once, so that siblings get their share
SWEEP_INTERVAL: Final = 1.0  # seconds between checks of deadlines: they are met to within that
DRAIN_SWEEP_INTERVAL: Final = 0.1
MAX_SWEEP_DELAY: Final = 10.0  # seconds that more events than one poll can tell may put a sweep off
IDLE_PATIENCE: Final = 1.0  # seconds a connection is kept for a request, or the rest of its head, when room is wanted
STALL_PATIENCE: Final = 5.0  # the same for the rest of a body, or for a client to take more of its answer
LAST_PATIENCE: Final = 1.0  # seconds for calls that were interrupted to come back
ACCEPT_PAUSE: Final = 0.2  # seconds without looking for new connections, when there is no room for one
MAX_HELD_ANYHOW: Final = 4 * 1024  # bytes that a connection may hold while it waits, however many do: an ordinary head

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accept = Callable[[socket.socket, Any, socket.socket, float], Connection]


class Capacity(NamedTuple):
    """How much at once, and how long. Durations are seconds."""

    threads: int
    handoff: float  # in one call until the loop goes on without its thread
    timeout: float  # without progress in one call until it is timed out; 0 for never
    connections: int = 1 << 30
    connections_per_address: int = 0  # those of trusted proxies not counted; 0 for any number


class Hooks(NamedTuple):
    """What the loop reports to its process: that it is about to wait, that it goes on, that there is no room for
    another connection, or is again; and, from the watchdog's thread, that too many threads are stuck, and that the
    application blocks the loop. And what it asks: whether memory is short.
    """

    on_idle: Callable[["Loop"], None]
    on_wakeup: Callable[[float], None]
    on_too_many_stuck: Callable[[], None]
    on_blocked: Callable[[float], None] = lambda _: None
    is_memory_short: Callable[[], bool] = lambda: False  # what connections hold while they wait is too much
    on_full: Callable[[bool], None] = lambda _: None


class CutOff(NamedTuple):
    """What was not finished at the end: requests, and threads that are in the application for good."""

    requests: int
    threads: int


class Loop:
    """Runs until drained. `accept` makes a connection of (socket, address, listener, now)."""

    def __init__(self, listeners: list[socket.socket], accept: Accept, capacity: Capacity, hooks: Hooks) -> None:
        self._accept = accept
        self._hooks = hooks
        self._capacity = capacity
        returned, timed_out = (partial(self._wake, why) for why in (RETURNED, TIMED_OUT))
        self.team = LeaderFollowers(self._lead, returned, threads=capacity.threads, handoff=capacity.handoff)
        self._watchdog = Watchdog(
            self.team,
            timed_out=timed_out,
            blocked=hooks.on_blocked,
            too_many_stuck=hooks.on_too_many_stuck,
            timeout=capacity.timeout,
        )
        self._poll = Poller()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._paused: list[socket.socket] = []
        self.connections: dict[int, Connection] = {}
        self._watched: dict[int, int] = {}  # descriptors of connections that are this thread's -> events waited for
        self._by_address: Counter[str] = Counter()  # connections of each address, where there is a limit
        self.ready: deque[tuple[int, int]] = deque()
        self.postponed: list[tuple[int, int]] = []  # their turn comes after the next poll
        self._woken: deque[tuple[int, int]] = deque()  # by other threads
        self._sources: dict[int, Callable[[], None]] = {}
        self._next_sweep = 0.0
        self._next_complaint = 0.0
        self._polled = 0.0  # when the poll last reported all that was there: who is late as of then is late
        self.accepted = 0
        self.draining = False
        self._bell = Bell()  # other threads have something to say
        self.add_source(self._bell.reader, self._take_woken)
        for fd in self._listeners:
            self._watch_listener(fd)

    # --- From outside ----------------------------------------------------------------------------------------

    def add_source(self, fd: int, action: Callable[[], None]) -> None:
        """Call `action`, on the thread that leads, whenever `fd` can be read."""
        self._sources[fd] = action
        self._poll.register(fd, READABLE)

    def remove_source(self, fd: int) -> None:
        del self._sources[fd]
        self._poll.unregister(fd)

    def start(self, on_thread_end: OnThreadEnd | None = None) -> None:
        """Start the threads beside the one that will call `run`; or, where somebody wants to know of their end, all of
        them, which serve. Raises RuntimeError where there cannot be so many.
        """
        self.team.start(self._watchdog.run, on_thread_end)

    def run(self) -> None:
        """Serve until drained, this thread being one of those that do."""
        self.team.run()

    def drain(self) -> None:
        """Take what is in the listen backlog, then no more; end when the last connection has ended."""
        if self.draining:
            return
        self.draining = True
        now = monotonic()
        for listener in self._listeners.values():
            while self._accept_some(listener, now):
                pass
            # A sibling may still have the socket, so closing it would not take it out of the poll.
            if listener not in self._paused:
                self._poll.unregister(listener.fileno())
            listener.close()
        self._listeners = {}
        self._paused = []
        for fd in self._watched:
            self.connections[fd].drain(now, IDLE_PATIENCE)
        self._next_sweep = now

    def close(self) -> CutOff:
        """End whatever is under way, and let go of every descriptor. For a thread that is none of the loop's, where all
        of those were started.

        A thread that is in the application cannot be ended. Its client sees that there will be no answer, and once it
        comes back it closes its connection, and ends.
        """
        self.team.finish()
        self._bell.ring()
        self.team.join()
        requests = sum(connection.is_under_way for connection in self.connections.values())
        theirs = self.team.let_go()
        for connection in self.connections.values():
            if connection not in theirs:
                connection.cut_off()
        for listener in self._listeners.values():
            listener.close()
        with contextlib.suppress(OSError):  # somebody else has closed what was not theirs
            self._poll.close()
        self._bell.close()
        return CutOff(requests, self.team.left(LAST_PATIENCE))

    # --- Leading ---------------------------------------------------------------------------------------------

    def _lead(self, handed_off: Connection | None) -> None:
        """Do what is ready, and wait for more; return when another thread leads, or all is over."""
        if handed_off is not None:
            self._unwatch(handed_off.socket.fileno())
        team, ready = self.team, self.ready
        while not team.finished:
            while ready:
                if not self._handle(*ready.popleft()):
                    return
            if self._polled >= self._next_sweep:
                self._sweep(self._polled)
            else:
                self._wait()

    def _wait(self) -> None:
        """Wait for more to do, having reported so; where there is more already, report it once in a while."""
        if self._hooks.is_memory_short():
            self._relieve(monotonic())
        events = self._poll.poll(0, MAX_EVENTS)
        if not events and not self.postponed:
            self._hooks.on_idle(self)
            events = self._poll.poll(self._patience(), MAX_EVENTS)
        self.ready.extend(events)
        self.ready.extend(self.postponed)
        self.postponed.clear()
        now = monotonic()
        if now >= self._next_sweep:
            self._hooks.on_idle(self)
        self._hooks.on_wakeup(now)
        if len(events) < MAX_EVENTS or now >= self._next_sweep + MAX_SWEEP_DELAY:
            self._polled = now

    def _patience(self) -> float | None:
        if self.draining:
            return DRAIN_SWEEP_INTERVAL
        if self._paused:
            return ACCEPT_PAUSE
        return SWEEP_INTERVAL if self.connections else None

    def _handle(self, fd: int, events: int) -> bool:
        """Act on one event. Returns False when another thread leads by now."""
        connection = self.connections.get(fd)
        now = monotonic()
        if connection is None:
            self._other(fd, now)
            return True
        if events > 0:
            watched = self._watched.get(fd)
            if watched is None:  # another thread's by now
                return True
            go_on = connection.flush if watched == WRITABLE else connection.receive
            return self._settle(connection, fd, go_on(now), now)
        if events == RETURNED:
            return self._settle(connection, fd, connection.resume(now), now)
        if events == TIMED_OUT:
            connection.note_time_out(now)
            return True
        return self._settle(connection, fd, RUN, now)

    def _settle(self, connection: Connection, fd: int, verdict: Verdict, began: float) -> bool:
        """Do what the verdict says. Pipelined requests run one after the other, but not for longer than `handoff`
        since `began`: then others have their turn. Returns False when another thread leads by now.
        """
        while verdict is RUN:
            if not self.team.call(connection):
                return False
            now = monotonic()
            verdict = connection.resume(now)
            if verdict is RUN and now - began > self._capacity.handoff:
                self._unwatch(fd)
                self.postponed.append((fd, POSTPONED))
                return True
        if verdict is CLOSE:
            self._forget(connection, fd)
            return True
        events = READABLE if verdict is READ else WRITABLE
        if self._watched.get(fd) != events:
            self._watch(fd, events)
        if self.draining:
            connection.drain(monotonic(), IDLE_PATIENCE)
        return True

    def _other(self, fd: int, now: float) -> None:
        listener = self._listeners.get(fd)
        if listener is not None:
            self._accept_some(listener, now)
        elif fd in self._sources:
            self._sources[fd]()

    # --- Connections that come and go --------------------------------------------------------------------------

    def _accept_some(self, listener: socket.socket, now: float) -> int:
        """Accept what is waiting, and look at once for a request: it is usually there. Returns how many."""
        for count in range(MAX_ACCEPTS):
            if len(self.connections) >= self._capacity.connections:
                if count:
                    return count  # whether there is another one, for which room has to be made, the poll will tell
                if not self._make_room(now):
                    self._pause(listener, "connections-exhausted", now)
                    return 0
            try:
                sock, address = listener.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS and not self._make_room(now):
                    self._pause(listener, "descriptors-exhausted", now)
                return count
            sock.setblocking(False)
            self._welcome(self._accept(sock, address, listener, now), sock.fileno(), now)
        return MAX_ACCEPTS

    def _welcome(self, connection: Connection, fd: int, now: float) -> None:
        self.accepted += 1
        self.connections[fd] = connection
        self._watch(fd, READABLE)
        if self._capacity.connections_per_address and (address := connection.limited_address):
            self._by_address[address] += 1
            if self._by_address[address] > self._capacity.connections_per_address:
                self._settle(connection, fd, connection.turn_away(now), now)
                return
        self.ready.append((fd, READABLE))

    def _make_room(self, now: float) -> bool:
        """Close those connections that have kept their place for longest without a request, if there are any; else that
        on which there was no progress for longest.
        """
        watched = [(fd, self.connections[fd]) for fd in self._watched]
        idle = [(seconds, fd) for fd, item in watched if (seconds := item.idle_for(now)) > IDLE_PATIENCE]
        longest = nlargest(MAX_ACCEPTS, idle)
        if not longest:
            stalled = [(seconds, fd) for fd, item in watched if (seconds := item.stalled_for(now)) > STALL_PATIENCE]
            longest = nlargest(1, stalled)
        before = len(self.connections)
        for _, fd in longest:
            self._settle(self.connections[fd], fd, self.connections[fd].give_way(now), now)
        return len(self.connections) < before

    def _relieve(self, now: float) -> None:
        """What connections hold while they wait has become too much: those that hold most let go of it."""
        postponed = {fd for fd, _ in self.postponed}
        held = [
            (item.held, fd)
            for fd, item in self.connections.items()
            if item.held > MAX_HELD_ANYHOW and (fd in self._watched or fd in postponed)
        ]
        for _, fd in sorted(held, reverse=True):
            if not self._hooks.is_memory_short():
                return
            connection = self.connections[fd]
            verdict = connection.relieve(now)
            if fd in self._watched:
                self._settle(connection, fd, verdict, now)

    def _pause(self, listener: socket.socket, why: str, now: float) -> None:
        """Accept no more for a moment, rather than spin."""
        if listener in self._paused:
            return
        if now >= self._next_complaint:
            event(why, connections=len(self.connections))
            self._next_complaint = now + SWEEP_INTERVAL
        self._next_sweep = min(self._next_sweep, now + ACCEPT_PAUSE)
        self._poll.unregister(listener.fileno())
        self._paused.append(listener)
        self._hooks.on_full(True)

    def _watch_listener(self, fd: int) -> None:
        self._poll.register(fd, READABLE | EXCLUSIVE)

    def _watch(self, fd: int, events: int) -> None:
        """Wait for something of a connection that is this thread's."""
        if fd in self._watched:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._watched[fd] = events

    def _unwatch(self, fd: int) -> None:
        """Let go of a connection that another thread owns now."""
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _forget(self, connection: Connection, fd: int) -> None:
        self._unwatch(fd)  # before it is closed: a child of the application's may have a copy of it
        connection.socket.close()
        del self.connections[fd]
        if self._by_address and (address := connection.limited_address):
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _sweep(self, now: float) -> None:
        """Expire what is due. A connection that is not watched is another thread's, and has no deadline here."""
        self._next_sweep = now + (DRAIN_SWEEP_INTERVAL if self.draining else SWEEP_INTERVAL)
        due = [(fd, item) for fd in self._watched if (item := self.connections[fd]).deadline <= now]
        for fd, connection in due:
            self._settle(connection, fd, connection.expire(now), now)
        if self._paused:
            self._hooks.on_full(False)
        while self._paused:
            self._watch_listener(self._paused.pop().fileno())
        if self.draining and not self.ready and self._is_everybody_gone():
            self.team.finish()

    def _is_everybody_gone(self) -> bool:
        return all(connection.state is ABANDONED for connection in self.connections.values())

    # --- Called by other threads -------------------------------------------------------------------------------

    def _wake(self, why: int, connection: Connection) -> None:
        """Tell whoever leads of a connection."""
        self._woken.append((connection.socket.fileno(), why))
        self._bell.ring()

    def _take_woken(self) -> None:
        self._bell.silence()
        while self._woken:
            self.ready.append(self._woken.popleft())
