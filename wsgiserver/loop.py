"""Readiness and deadlines: what can be done now, and what has taken too long.

    poll --> ready events --> connection.receive / flush --> verdict --> settle: watch for READ or WRITE,
     ^                                                         |         or forget
     +------ returned <-- another thread, when it is done      +-- RUN: call the application, here and now

Deadlines are looked at when all that was ready has been handled, as of when it was: what came in time counts, however
late a busy process gets to it.

All of this is done by one thread at a time, the holder of the baton (`baton.py`).
It knows nothing of HTTP: a connection is what has the methods of `Connection` below.
"""

import errno
import os
import socket
from collections import Counter, deque
from collections.abc import Callable
from heapq import nlargest
from time import monotonic
from typing import Any, Final, NamedTuple

from wsgiserver import states
from wsgiserver.accesslog import event
from wsgiserver.baton import Baton
from wsgiserver.connection import Connection
from wsgiserver.poller import EXCLUSIVE, READ, WRITE, Poller
from wsgiserver.states import ABANDONED, CLOSE, RUN, Verdict

# Not events of the poll:
RETURNED: Final = 0  # another thread is done with the connection
POSTPONED: Final = -1  # its next request is complete, but others come first
GIVEN_UP: Final = -2  # its client was answered while another thread has it
EVENTS: Final = 256  # taken from one poll; the rest comes with the next
ACCEPTS: Final = 16  # connections taken at once, so that siblings get their share
SWEEP: Final = 1.0  # seconds between looks at deadlines: they are met to within that
DRAIN_SWEEP: Final = 0.1
OVERDUE: Final = 10.0  # seconds that more events than one poll can tell may put a sweep off
IDLE_PATIENCE: Final = 1.0  # seconds a connection is kept for a request, or the rest of its head, when room is wanted
STALL_PATIENCE: Final = 5.0  # the same for the rest of a body, or for a client to take more of its answer
PAUSE: Final = 0.2  # seconds without looking for new connections, when there is no room for one
SMALL: Final = 4 * 1024  # bytes that a connection may hold while it waits, however many do: an ordinary head

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accept = Callable[[socket.socket, Any, socket.socket, float], Connection]


class Capacity(NamedTuple):
    """How much at once, and how long. Durations are seconds."""

    threads: int
    handoff: float  # in one call until the loop goes on without its thread
    timeout: float  # without progress in one call until it is given up; 0 for never
    connections: int = 1 << 30
    connections_per_address: int = 0  # of strangers; 0 for any number


class Hooks(NamedTuple):
    """What the loop tells its process: that it has caught up, that it goes on, that too many threads are
    stuck, that there is no room for another connection, or is again, and, from the watchdog's thread, that all are
    busy. And what it asks: whether memory is short.
    """

    idle: Callable[[], None]
    woke: Callable[[float], None]
    overwhelmed: Callable[[], None]
    held: Callable[[float], None] = lambda _: None
    crowded: Callable[[], bool] = lambda: False  # what connections hold while they wait is too much
    full: Callable[[bool], None] = lambda _: None


class Loop:
    """Runs until drained. `accept` makes a connection of (socket, address, listener, now)."""

    def __init__(self, listeners: list[socket.socket], accept: Accept, capacity: Capacity, hooks: Hooks) -> None:
        self._accept = accept
        self._hooks = hooks
        self._capacity = capacity
        self.baton = Baton(
            self._hold,
            lambda connection: self._wake(connection, RETURNED),
            lambda connection: self._wake(connection, GIVEN_UP),
            threads=capacity.threads,
            handoff=capacity.handoff,
            timeout=capacity.timeout,
            overwhelmed=hooks.overwhelmed,
        )
        self.baton.held = hooks.held
        self._poll = Poller()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._paused: list[socket.socket] = []
        self.connections: dict[int, Connection] = {}
        self._strangers: Counter[str] = Counter()  # connections of each address, where there is a limit
        self.ready: deque[tuple[int, int]] = deque()
        self.postponed: list[tuple[int, int]] = []  # their turn comes after the next poll
        self._woken: deque[tuple[int, int]] = deque()  # by other threads
        self._sources: dict[int, Callable[[], None]] = {}
        self._next_sweep = 0.0
        self._next_complaint = 0.0
        self._looked = 0.0  # when the poll last told of all that was there: who is late as of then is late
        self.accepted = 0
        self.draining = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.watch(self._wake_read, self._take_woken)
        for fd in self._listeners:
            self._watch_listener(fd)

    # --- From outside ----------------------------------------------------------------------------------------

    def watch(self, fd: int, action: Callable[[], None]) -> None:
        """Call `action`, on the thread with the baton, whenever `fd` can be read."""
        self._sources[fd] = action
        self._poll.register(fd, READ)

    def unwatch(self, fd: int) -> None:
        del self._sources[fd]
        self._poll.unregister(fd)

    def start(self) -> None:
        """Start the other threads, which wait. `run` would do so, too late to say that the process cannot be ready:
        RuntimeError where there cannot be so many.
        """
        self.baton.start()

    def run(self) -> None:
        """Serve until drained, this thread being one of those that do."""
        self.baton.run()

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
        for connection in list(self.connections.values()):
            if connection.watched:
                connection.drain(now, IDLE_PATIENCE)
        self._next_sweep = now

    # --- Holding the baton -----------------------------------------------------------------------------------

    def _hold(self) -> None:
        """Do what is ready, and wait for more; return when another thread has the baton, or all is over."""
        baton = self.baton
        if baton.handed_over is not None:
            self._unwatch(baton.handed_over)
            baton.handed_over = None
        ready = self.ready
        while not baton.finished:
            while ready:
                if not self._handle(*ready.popleft()):
                    return
            if self._looked >= self._next_sweep:
                self._sweep(self._looked)
            else:
                self._wait()
        baton.finish()

    def _wait(self) -> None:
        """Wait for more to do, having told so; where there is more already, tell it once in a while."""
        if self._hooks.crowded():
            self._relieve(monotonic())
        events = self._poll.poll(0, EVENTS)
        if not events and not self.postponed:
            self._hooks.idle()
            events = self._poll.poll(self._patience(), EVENTS)
        self.ready.extend(events)
        self.ready.extend(self.postponed)
        self.postponed.clear()
        now = monotonic()
        if now >= self._next_sweep:
            self._hooks.idle()
        self._hooks.woke(now)
        if len(events) < EVENTS or now >= self._next_sweep + OVERDUE:
            self._looked = now

    def _patience(self) -> float | None:
        if self.draining:
            return DRAIN_SWEEP
        if self._paused:
            return PAUSE
        return SWEEP if self.connections else None

    def _handle(self, fd: int, events: int) -> bool:
        """Act on one event. Returns False when the baton was lost on the way."""
        connection = self.connections.get(fd)
        now = monotonic()
        if connection is None:
            self._other(fd, now)
            return True
        if events > 0:
            if not connection.watched:  # another thread's by now
                return True
            go_on = connection.flush if connection.watched == WRITE else connection.receive
            return self._settle(connection, fd, go_on(now), now)
        if events == RETURNED:
            return self._settle(connection, fd, connection.resume(now), now)
        if events == GIVEN_UP:
            connection.note_given_up(now)
            return True
        return self._settle(connection, fd, RUN, now)

    def _settle(self, connection: Connection, fd: int, verdict: Verdict, began: float) -> bool:
        """Do what the verdict says. Pipelined requests run one after the other, but not for longer than `handoff`
        since `began`: then others have their turn. Returns False when the baton was lost.
        """
        while verdict is RUN:
            if not self.baton.call(connection):
                return False
            now = monotonic()
            verdict = connection.resume(now)
            if verdict is RUN and now - began > self._capacity.handoff:
                self._unwatch(connection)
                self.postponed.append((fd, POSTPONED))
                return True
        if verdict is CLOSE:
            self._forget(connection, fd)
            return True
        events = READ if verdict is states.READ else WRITE
        if connection.watched != events:
            self._watch(connection, fd, events)
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
        for count in range(ACCEPTS):
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
        return ACCEPTS

    def _welcome(self, connection: Connection, fd: int, now: float) -> None:
        self.accepted += 1
        self.connections[fd] = connection
        self._watch(connection, fd, READ)
        if self._capacity.connections_per_address and (address := connection.stranger):
            self._strangers[address] += 1
            if self._strangers[address] > self._capacity.connections_per_address:
                self._settle(connection, fd, connection.turn_away(now), now)
                return
        self.ready.append((fd, READ))

    def _make_room(self, now: float) -> bool:
        """Close those connections that have kept their place for longest without a request, if there are any; else that
        on which there was no progress for longest.
        """
        watched = [(fd, item) for fd, item in self.connections.items() if item.watched]
        idle = [(seconds, fd) for fd, item in watched if (seconds := item.idle_for(now)) > IDLE_PATIENCE]
        longest = nlargest(ACCEPTS, idle)
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
            if item.held > SMALL and (item.watched or fd in postponed)
        ]
        for _, fd in sorted(held, reverse=True):
            if not self._hooks.crowded():
                return
            connection = self.connections[fd]
            verdict = connection.relieve(now)
            if connection.watched:
                self._settle(connection, fd, verdict, now)

    def _pause(self, listener: socket.socket, why: str, now: float) -> None:
        """Accept no more for a moment, rather than spin."""
        if listener in self._paused:
            return
        if now >= self._next_complaint:
            event(why, connections=len(self.connections))
            self._next_complaint = now + SWEEP
        self._next_sweep = min(self._next_sweep, now + PAUSE)
        self._poll.unregister(listener.fileno())
        self._paused.append(listener)
        self._hooks.full(True)

    def _watch_listener(self, fd: int) -> None:
        self._poll.register(fd, READ | EXCLUSIVE)

    def _watch(self, connection: Connection, fd: int, events: int) -> None:
        if connection.watched:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        connection.watched = events

    def _unwatch(self, connection: Connection) -> None:
        """Let go of a connection that another thread owns now."""
        if connection.watched:
            self._poll.unregister(connection.socket.fileno())
            connection.watched = 0

    def _forget(self, connection: Connection, fd: int) -> None:
        self._unwatch(connection)  # before it is closed: a child of the application's may have a copy of it
        connection.socket.close()
        del self.connections[fd]
        if self._strangers and (address := connection.stranger):
            self._strangers[address] -= 1
            if not self._strangers[address]:
                del self._strangers[address]

    def _sweep(self, now: float) -> None:
        """Expire what is due. A connection that is not watched is another thread's, and has no deadline here."""
        self._next_sweep = now + (DRAIN_SWEEP if self.draining else SWEEP)
        due = [(fd, item) for fd, item in self.connections.items() if item.deadline <= now and item.watched]
        for fd, connection in due:
            self._settle(connection, fd, connection.expire(now), now)
        if self._paused:
            self._hooks.full(False)
        while self._paused:
            self._watch_listener(self._paused.pop().fileno())
        if self.draining and not self.ready and self._is_everybody_gone():
            self.baton.finished = True

    def _is_everybody_gone(self) -> bool:
        return all(connection.state is ABANDONED for connection in self.connections.values())

    # --- Called by other threads -------------------------------------------------------------------------------

    def _wake(self, connection: Connection, why: int) -> None:
        """Tell whoever has the baton of a connection."""
        self._woken.append((connection.socket.fileno(), why))
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _take_woken(self) -> None:
        os.read(self._wake_read, 4096)
        while self._woken:
            self.ready.append(self._woken.popleft())
