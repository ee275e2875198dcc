"""The event loop: which connections are ready, which are too late, and which come and go.

    poll --> ready events --> connection.receive / flush --> verdict --> settle: watch for READ or WRITE,
     ^                                                         |         or forget
     +------ returned <-- another thread, when it is done      +-- RUN: call the application, here and now

One thread at a time runs the loop, the leader (`handoff.py`). So nothing here needs a lock, except what other threads
call: `_wake`, which appends to a queue and rings a bell.

A connection answers each event with a verdict, and the loop acts on it: it waits until the socket is readable or
writable, calls the application, or forgets the connection. It does not know why. A connection is watched exactly while
the loop owns it; a connection in the application of another thread is neither polled nor expired.

Deadlines are checked in sweeps, about once a second, after everything that was ready has been handled, and as of the
moment of the poll. So data that arrived in time counts, however late a busy process comes to read it.

When there is no room for another connection, or memory is short, the loop closes the connections that have waited
longest without a request. If it cannot, it stops accepting for a moment and leaves clients in the listen backlog.

The loop must not know HTTP: a connection is anything that has the methods of `Connection`.
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
MAX_EVENTS: Final = 256  # of one poll; the others come with the next
MAX_ACCEPTS: Final = 16  # connections accepted at once, so that other workers get their share
SWEEP_INTERVAL: Final = 1.0  # seconds between checks of deadlines: the accuracy of time limits
DRAIN_SWEEP_INTERVAL: Final = 0.1  # seconds; the same while the loop drains
MAX_SWEEP_DELAY: Final = 10.0  # seconds for which a sweep may be put off while each poll returns MAX_EVENTS
IDLE_PATIENCE: Final = 1.0  # seconds without a request, or the rest of a head, before a connection may make room
STALL_PATIENCE: Final = 5.0  # seconds without progress of a body or a response before a connection may make room
LAST_PATIENCE: Final = 1.0  # seconds for interrupted calls to return at the end
ACCEPT_PAUSE: Final = 0.2  # seconds without accepting, when there is no room for a connection
MIN_HELD_TO_RELIEVE: Final = 4 * 1024  # bytes; an ordinary head is smaller, and may always wait

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accept = Callable[[socket.socket, Any, socket.socket, float], Connection]


class Capacity(NamedTuple):
    """How much the loop takes on at once, and for how long. Durations are seconds."""

    threads: int
    handoff: float  # in one call until the loop goes on without its thread
    timeout: float  # without progress in one call until it is timed out; 0 for never
    connections: int = 1 << 30
    connections_per_address: int = 0  # those of trusted proxies not counted; 0 for any number


class Hooks(NamedTuple):
    """What the loop reports to its process, and what it queries.

    `on_idle`: it is about to wait. `on_wakeup`: it goes on, at this time. `on_full`: there is no room for another
    connection, or there is again. From the watchdog's thread, `on_too_many_stuck` and `on_blocked`: the application
    blocks the loop, at this time. `is_memory_short`: what waiting connections hold is too much.
    """

    on_idle: Callable[["Loop"], None]
    on_wakeup: Callable[[float], None]
    on_too_many_stuck: Callable[[], None]
    on_blocked: Callable[[float], None] = lambda _: None
    is_memory_short: Callable[[], bool] = lambda: False
    on_full: Callable[[bool], None] = lambda _: None


class CutOff(NamedTuple):
    """What was not finished at the end: requests, and threads that still hang in the application."""

    requests: int
    threads: int


class Loop:
    """Runs until drained. `accept` makes a connection from socket, address, listener and time."""

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
        self.postponed: list[tuple[int, int]] = []  # handled after the next poll
        self._woken: deque[tuple[int, int]] = deque()  # by other threads
        self._sources: dict[int, Callable[[], None]] = {}
        self._next_sweep = 0.0
        self._next_complaint = 0.0
        self._polled = 0.0  # when a poll last reported everything that was ready: deadlines are compared with it
        self.accepted = 0
        self.draining = False
        self._bell = Bell()  # rung by other threads
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
        """Start all threads but the one that will call `run`; with `on_thread_end`, start that one too.

        Raises RuntimeError if the system refuses one.
        """
        self.team.start(self._watchdog.run, on_thread_end)

    def run(self) -> None:
        """Serve until drained; the calling thread is one of those that serve."""
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
        """End everything that is under way, and close every descriptor.

        Called by a thread outside the loop, after `start` with `on_thread_end`. A thread in the application cannot be
        ended. Its client sees that no response will come; when the call returns, the thread closes the connection and
        ends.
        """
        self.team.finish()
        self._bell.ring()
        self.team.join()
        requests = sum(connection.is_under_way for connection in self.connections.values())
        theirs = self.team.interrupt_calls()
        for connection in self.connections.values():
            if connection not in theirs:
                connection.cut_off()
        for listener in self._listeners.values():
            listener.close()
        with contextlib.suppress(OSError):  # other code has closed a descriptor of ours
            self._poll.close()
        self._bell.close()
        return CutOff(requests, self.team.left(LAST_PATIENCE))

    # --- Leading ---------------------------------------------------------------------------------------------

    def _lead(self, handed_off: Connection | None) -> None:
        """Handle what is ready, and wait for more; return when another thread leads, or the server ends."""
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
        """Wait for events, and report that before. A loop that is never idle reports with each sweep."""
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
        """Handle one event. Returns False if another thread leads now."""
        connection = self.connections.get(fd)
        now = monotonic()
        if connection is None:
            self._other(fd, now)
            return True
        if events > 0:
            watched = self._watched.get(fd)
            if watched is None:  # another thread owns it now
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
        """Act on a verdict. Returns False if another thread leads now.

        Pipelined requests run one after the other until `handoff` seconds after `began`; then other connections get
        their turn.
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
        """Accept connections, and receive at once: the request is usually there. Returns how many were accepted."""
        for count in range(MAX_ACCEPTS):
            if len(self.connections) >= self._capacity.connections:
                if count:
                    return count  # the next poll reports whether there is another one to make room for
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
        """Close the connections that have been without a request for longest. If there are none, close the one that has
        made no progress for longest.
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
        """Waiting connections hold too much memory: those that hold most give theirs up."""
        postponed = {fd for fd, _ in self.postponed}
        held = [
            (item.held, fd)
            for fd, item in self.connections.items()
            if item.held > MIN_HELD_TO_RELIEVE and (fd in self._watched or fd in postponed)
        ]
        for _, fd in sorted(held, reverse=True):
            if not self._hooks.is_memory_short():
                return
            connection = self.connections[fd]
            verdict = connection.relieve(now)
            if fd in self._watched:
                self._settle(connection, fd, verdict, now)

    def _pause(self, listener: socket.socket, why: str, now: float) -> None:
        """Stop accepting for a moment: otherwise the poll would report the listener again and again."""
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
        """Poll a connection that this thread owns."""
        if fd in self._watched:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._watched[fd] = events

    def _unwatch(self, fd: int) -> None:
        """Stop polling a connection that another thread owns now."""
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _forget(self, connection: Connection, fd: int) -> None:
        self._unwatch(fd)  # before it is closed: a child process of the application may have a copy
        connection.socket.close()
        del self.connections[fd]
        if self._by_address and (address := connection.limited_address):
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def _sweep(self, now: float) -> None:
        """Expire what is due. A connection that is not watched belongs to another thread, and has no deadline here."""
        self._next_sweep = now + (DRAIN_SWEEP_INTERVAL if self.draining else SWEEP_INTERVAL)
        due = [(fd, item) for fd in self._watched if (item := self.connections[fd]).deadline <= now]
        for fd, connection in due:
            self._settle(connection, fd, connection.expire(now), now)
        if self._paused:
            self._hooks.on_full(False)
        while self._paused:
            self._watch_listener(self._paused.pop().fileno())
        if self.draining and not self.ready and self._is_all_closed():
            self.team.finish()

    def _is_all_closed(self) -> bool:
        return all(connection.state is ABANDONED for connection in self.connections.values())

    # --- Called by other threads -------------------------------------------------------------------------------

    def _wake(self, why: int, connection: Connection) -> None:
        """Queue an event about a connection for the leader."""
        self._woken.append((connection.socket.fileno(), why))
        self._bell.ring()

    def _take_woken(self) -> None:
        self._bell.silence()
        while self._woken:
            self.ready.append(self._woken.popleft())
