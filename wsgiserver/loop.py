"""Readiness, deadlines and the baton: which thread does what, and never two the same.

    poll --> ready events --> connection.receive / flush --> verdict --> settle: watch for READ or WRITE,
     ^                                                         |         or forget
     +------ returned <-- another thread, when it is done      +-- RUN: call the application, here and now

Exactly one thread holds the baton, and only the holder polls, receives, accepts and expires. It also runs the
application itself, with no queue and no wake-up in between, which is what makes a fast view fast. Before it
does, it lays the baton on the `table`, a list of one; afterwards it takes it back. Should the call last longer
than `handoff`, the watchdog takes the baton first, gives it to an idle thread, and the loop goes on without the
overtaken one, which finishes its answer, returns the connection, and queues up as idle. Taking is `list.pop`
for the watchdog and `list.remove` of its own connection for the holder. Both are atomic: whoever gets the item has
the baton, whoever gets an exception has not.

While calls keep overrunning, the holder does not wait to be overtaken: it passes the baton on first.

It knows nothing of HTTP: a connection is what has the methods of `Connection` below.
"""

import contextlib
import errno
import os
import select
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, Final

from wsgiserver.accesslog import event
from wsgiserver.connection import Connection, Verdict

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
# Not events of the poll:
RETURNED: Final = 0  # another thread is done with the connection
POSTPONED: Final = -1  # its next request is complete, but others come first
EVENTS: Final = 256  # taken from one poll; the rest comes with the next
ACCEPTS: Final = 16  # connections taken at once, so that siblings get their share
SWEEP: Final = 1.0  # seconds between looks at deadlines: they are met to within that
DRAIN_SWEEP: Final = 0.1
IDLE_PATIENCE: Final = 1.0  # seconds an idle connection is kept when draining, for a request on its way
WATCHDOG_REST: Final = 200  # ticks without a call until the watchdog sleeps for good
SUSPICION: Final = 16  # quick calls it takes to forget one that overran

_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Accept = Callable[[socket.socket, Any, socket.socket, float], Connection]


class Loop:
    """Runs until drained. `accept` makes a connection of (socket, address, listener, now), `idle` is called
    before each wait, `handoff` is in seconds.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        accept: Accept,
        *,
        threads: int,
        handoff: float,
        idle: Callable[[], None],
    ) -> None:
        self._accept = accept
        self._idle_hook = idle
        self._handoff = handoff
        self._threads = threads
        self._poll = select.epoll()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._connections: dict[int, Connection] = {}
        self._ready: deque[tuple[int, int]] = deque()
        self._postponed: list[tuple[int, int]] = []  # their turn comes after the next poll
        self._returned: deque[Connection] = deque()  # by threads that were overtaken
        self._sources: dict[int, Callable[[], None]] = {}
        self._next_sweep = 0.0
        self.draining = False
        self.finished = False
        # The baton
        self._table: list[Connection] = []  # holds the busy connection while its thread may be overtaken
        self._seats: list[threading.Lock] = []  # one for each idle thread; releasing it hands over the baton
        self._overtaken: Connection | None = None  # handed over with the baton: no longer the loop's to watch
        self._calls = 0
        self._suspicion = 0  # above 0, pass the baton on before calling
        self._watchdog_wanted = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wake_read, self._take_returned)
        self._paused: list[socket.socket] = []
        for fd in self._listeners:
            self._watch_listener(fd)

    # --- From outside ----------------------------------------------------------------------------------------

    def watch(self, fd: int, action: Callable[[], None]) -> None:
        """Call `action`, on the thread with the baton, whenever `fd` can be read."""
        self._sources[fd] = action
        self._poll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        del self._sources[fd]
        self._poll.unregister(fd)

    def run(self) -> None:
        """Serve until drained, this thread being one of them."""
        works = [self._work] * (self._threads - 1)
        for work in [*works, self._guard] if works else []:
            threading.Thread(target=self._live, args=(work,), name=work.__name__, daemon=True).start()
        self._hold()
        self._work()

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
        for connection in list(self._connections.values()):
            if connection.watched:
                connection.drain(now, IDLE_PATIENCE)
        self._next_sweep = now

    # --- Holding the baton -----------------------------------------------------------------------------------

    def _live(self, work: Callable[[], None]) -> None:
        """Do a helper's work. It might have had the baton when it failed, and then nothing would ever go on."""
        try:
            work()
        except BaseException:  # noqa: BLE001 - the boundary of the loop's threads: the process ends, and is replaced
            event("thread-failed", error=traceback.format_exc())
            os._exit(1)

    def _work(self) -> None:
        """A thread's life: idle, then with the baton, until the loop is over."""
        seat = threading.Lock()
        seat.acquire()
        while True:
            self._seats.append(seat)
            if self.finished:  # looked at after the seat is in the list: whoever finishes releases it, or this sees it
                return
            seat.acquire()
            self._hold()

    def _hold(self) -> None:
        """Do what is ready, and wait for more; return when another thread has the baton, or all is over."""
        if self._overtaken is not None:
            self._unwatch(self._overtaken)
            self._overtaken = None
        ready = self._ready
        while not self.finished:
            while ready:
                if not self._handle(*ready.popleft()):
                    return
            self._wait()
        self._dismiss()

    def _dismiss(self) -> None:
        """All is over: let the idle threads find out."""
        while self._seats:
            with contextlib.suppress(IndexError):  # another thread has just taken the last one
                self._seats.pop().release()

    def _wait(self) -> None:
        self._idle_hook()
        self._ready.extend(self._poll.poll(self._patience(), EVENTS))
        self._ready.extend(self._postponed)
        self._postponed.clear()
        now = monotonic()
        if now >= self._next_sweep:
            self._sweep(now)

    def _patience(self) -> float | None:
        if self._postponed:
            return 0.0
        if self.draining:
            return DRAIN_SWEEP
        return SWEEP if self._connections or self._paused else None

    def _handle(self, fd: int, events: int) -> bool:
        """Act on one event. Returns False when the baton was lost on the way."""
        connection = self._connections.get(fd)
        now = monotonic()
        if connection is None:
            self._other(fd, now)
            return True
        if events == RETURNED:
            return self._settle(connection, fd, connection.resume(now), now)
        if events == POSTPONED:
            return self._settle(connection, fd, Verdict.RUN, now)
        if not connection.watched:  # another thread's by now
            return True
        if connection.watched == WRITE:
            return self._settle(connection, fd, connection.flush(now), now)
        return self._settle(connection, fd, connection.receive(now), now)

    def _settle(self, connection: Connection, fd: int, verdict: Verdict, began: float) -> bool:
        """Do what the verdict says. Pipelined requests run one after the other, but not for longer than `handoff`
        since `began`: then others have their turn. Returns False when the baton was lost.
        """
        while verdict is Verdict.RUN:
            if not self._call(connection):
                return False
            now = monotonic()
            verdict = connection.resume(now)
            if verdict is Verdict.RUN and now - began > self._handoff:
                self._unwatch(connection)
                self._postponed.append((fd, POSTPONED))
                return True
        if verdict is Verdict.CLOSE:
            self._unwatch(connection)  # before it is closed: a child of the application's may have a copy of it
            connection.socket.close()
            del self._connections[fd]
        else:
            self._watch(connection, fd, READ if verdict is Verdict.READ else WRITE)
            if self.draining:
                connection.drain(monotonic(), IDLE_PATIENCE)
        return True

    def _other(self, fd: int, now: float) -> None:
        listener = self._listeners.get(fd)
        if listener is not None:
            self._accept_some(listener, now)
        elif fd in self._sources:
            self._sources[fd]()

    def _accept_some(self, listener: socket.socket, now: float) -> int:
        """Accept what is waiting, and look at once for a request: it is usually there. Returns how many."""
        for count in range(ACCEPTS):
            try:
                sock, address = listener.accept()
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    self._pause(listener)
                return count
            sock.setblocking(False)
            connection = self._accept(sock, address, listener, now)
            fd = sock.fileno()
            self._connections[fd] = connection
            self._watch(connection, fd, READ)
            self._ready.append((fd, READ))
        return ACCEPTS

    def _pause(self, listener: socket.socket) -> None:
        """Descriptors ran out: accept no more until the next sweep, rather than spin."""
        if listener in self._paused:
            return
        event("descriptors-exhausted", connections=len(self._connections))
        self._poll.unregister(listener.fileno())
        self._paused.append(listener)

    def _watch_listener(self, fd: int) -> None:
        self._poll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def _watch(self, connection: Connection, fd: int, events: int) -> None:
        if connection.watched == events:
            return
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

    def _sweep(self, now: float) -> None:
        """Expire what is due. A connection that is not watched is another thread's, and has no deadline here."""
        self._next_sweep = now + (DRAIN_SWEEP if self.draining else SWEEP)
        due = [(fd, item) for fd, item in self._connections.items() if item.deadline <= now and item.watched]
        for fd, connection in due:
            self._settle(connection, fd, connection.expire(now), now)
        while self._paused:
            self._watch_listener(self._paused.pop().fileno())
        if self.draining and not self._connections and not self._ready:
            self.finished = True

    # --- Passing it on ---------------------------------------------------------------------------------------

    def _call(self, connection: Connection) -> bool:
        """Run the application. Returns False when the baton was lost meanwhile."""
        self._calls += 1
        if self._suspicion and self._pass_on(connection):
            self._call_apart(connection)
            return False
        if self._threads == 1:
            connection.respond()
            return True
        if not self._watchdog_wanted.is_set():
            self._watchdog_wanted.set()
        self._table.append(connection)
        connection.respond()
        try:
            self._table.remove(connection)
        except ValueError:  # overtaken: whatever lies there now is the baton of another thread
            self._return(connection)
            return False
        return True

    def _call_apart(self, connection: Connection) -> None:
        """Run the application without the baton, and learn whether that was needed."""
        began = monotonic()
        connection.respond()
        if monotonic() - began > self._handoff:
            self._suspicion = SUSPICION
        else:
            self._suspicion = max(0, self._suspicion - 1)
        self._return(connection)

    def _pass_on(self, busy: Connection) -> bool:
        """Hand the baton, and the rest of the events, to an idle thread, if there is one."""
        try:
            seat = self._seats.pop()
        except IndexError:
            return False
        self._overtaken = busy
        seat.release()
        return True

    def _return(self, connection: Connection) -> None:
        """Give a connection back to whoever has the baton."""
        self._returned.append(connection)
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _take_returned(self) -> None:
        os.read(self._wake_read, 4096)
        while self._returned:
            self._ready.append((self._returned.popleft().socket.fileno(), RETURNED))

    def _guard(self) -> None:
        """The watchdog: looks at the table every `handoff` seconds, and sleeps while nothing is called."""
        seen = rested = 0
        while not self.finished:
            sleep(self._handoff)
            if self._calls != seen:
                seen, rested = self._calls, 0
            elif self._table:
                self._overtake()
            elif rested < WATCHDOG_REST:
                rested += 1
            else:
                self._watchdog_wanted.clear()
                if self._calls == seen:  # a call that began before the line above found the event still set
                    self._watchdog_wanted.wait()
        self._dismiss()  # with a seat that _overtake may have had in hand when the others were dismissed

    def _overtake(self) -> None:
        """Take the baton from a thread that is too long in one call, and give it to an idle one, if there is one."""
        try:
            seat = self._seats.pop()
        except IndexError:
            return  # all are busy; the next look may find one
        try:
            self._overtaken = self._table.pop()
        except IndexError:  # the call has just ended
            self._seats.append(seat)
            return
        self._suspicion = SUSPICION
        seat.release()
