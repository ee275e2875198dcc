"""A server inside another program: one process, threads, no fork.

    server = wsgiserver.Server(application, bind="127.0.0.1:0", threads=4)
    server.bound        # ("127.0.0.1:43210",)
    server.serve()      # in any thread, until server.stop() is called in another one, or in a signal handler

Nothing that belongs to the whole process is touched: no signal, exit handler, umask or limit, and no variable is read.
The application runs on the server's threads, never on the thread that calls `serve`, so that `serve` can return while a
call hangs. The calling thread waits on two pipes: one is rung to stop, the other when a thread has ended. The first is
a source of the loop too, which then drains.
"""

import select
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from enum import Enum
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final, Self

from wsgiserver.eventloop.loop import CutOff, Hooks, Loop
from wsgiserver.eventloop.poller import Bell
from wsgiserver.process.listeners import describe
from wsgiserver.process.preflight import check_values, places
from wsgiserver.process.wiring import context_for, listeners_for, loop_for, within_open_descriptors
from wsgiserver.serving.context import ServerContext
from wsgiserver.settings import Settings, from_arguments, settle
from wsgiserver.telemetry.log import event
from wsgiserver.values import SettingError
from wsgiserver.wsgi.gateway import Application

SIGNAL_INTERVAL: Final = 0.5  # seconds after which the main thread notices a signal that came just before it waited
MAX_WAIT: Final = 86400.0  # seconds that other threads wait at once; poll(2) cannot take much more
_REPLACED: Final = "there is no worker process to replace"
_LOADED: Final = "the application is loaded already"
# Settings that have no meaning here, and why.
UNSUPPORTED_SETTINGS: Final = {
    "workers": "there is one process; threads is how many requests it runs at once",
    "max_requests": _REPLACED,
    "max_requests_jitter": _REPLACED,
    "max_memory": _REPLACED,
    "preload": _LOADED,
    "worker_init": f"{_LOADED}; call it before serve()",
    "reload": _LOADED,
    "check_config": "settings are checked when the server is made",
    "admin_bind": "it needs a second process, and there is only this one",
    "drain_delay": "call stop() that much later",
    "config": "settings are arguments; read the file and pass them",
}


class _ServerState(Enum):
    """The state of a server; the values complete the sentence "this server ..."."""

    NEW = "has not served yet"
    SERVING = "serves already"
    OVER = "has served, and its listeners are closed"


class Server:
    """See above. It listens as soon as it is made; `serve` then serves the clients that connect.

    `given` are settings by the names in `Settings`, with values as in a file: texts as for a flag, numbers, True and
    False, lists or tuples of texts, and for `bind` tables too. The access log is off unless a setting turns it on.

    Raises SettingError, which is a ValueError, for a setting that cannot be used, and OSError for a bind that is taken.
    """

    def __init__(self, application: Application, **given: Any) -> None:
        if not callable(application):
            raise TypeError(f"{application!r} cannot be called; pass a WSGI application")
        self._application = application
        self._settings = _settings(given)
        check_values(self._settings)
        self._listeners = listeners_for(places(self._settings), self._settings)
        self.bound: tuple[str, ...] = tuple(describe(listener.socket) for listener in self._listeners)
        self._asked, self._thread_ended = Bell(), Bell()
        self._state, self._moving = _ServerState.NEW, threading.Lock()
        self._failure: BaseException | None = None  # of a thread of the loop
        self._is_short_of_threads = False
        self._thread: threading.Thread | None = None  # of `start`
        self._outcome: CutOff | Exception = RuntimeError("the thread that served has failed")

    def serve(self) -> CutOff:
        """Serve until `stop`, and then at most `graceful_timeout` longer; returns what was cut off at the end.

        When it returns, descriptors are closed and threads have ended, but for those that `CutOff.threads` counts: they
        hang in the application, each with its connection, and end when it returns. Raises RuntimeError if this server
        has served before, if threads cannot be started, or from what made one of them fail. What a signal handler
        raises in this thread, KeyboardInterrupt for one, ends it at once, and is passed on.
        """
        self._move(_ServerState.SERVING)
        with ExitStack() as ending:
            ending.callback(self._close)
            context = context_for(self._application, self._settings)
            ending.callback(context.log.close)
            loop = loop_for(context, within_open_descriptors(self._settings), self._listeners, self._hooks(context))
            loop.add_source(self._asked.reader, partial(_drain, self._asked.reader, loop, context))
            cut_off = self._served(loop, context)
        if self._failure is not None:
            raise RuntimeError("a thread of the server has failed") from self._failure
        return cut_off

    def stop(self) -> None:
        """Ask `serve` to end: to take what is in the listen backlog, and to finish the requests that are under way.

        It waits for nothing, and may be called from any thread or signal handler, again, and before `serve`.
        """
        self._asked.ring()

    def close(self) -> None:
        """Close the listeners of a server that will not serve. Raises RuntimeError if it has served."""
        self._move(_ServerState.OVER)
        self._close()

    def _move(self, state: _ServerState) -> None:
        with self._moving:
            if self._state is not _ServerState.NEW:
                raise RuntimeError(f"this server {self._state.value}: make another one")
            self._state = state

    def _close(self) -> None:
        self._state = _ServerState.OVER
        for listener in self._listeners:
            listener.socket.close()
        self._asked.close()
        self._thread_ended.close()

    # --- In a thread of its own --------------------------------------------------------------------------------

    def start(self) -> Self:
        """Serve in a background thread until `stop`; `wait` returns how it ended."""
        if self._thread is not None:
            raise RuntimeError("this server was started before")
        self._thread = threading.Thread(target=self._run, name="wsgiserver", daemon=True)
        self._thread.start()
        return self

    def wait(self) -> CutOff:
        """Wait until what `start` began has ended; returns, and raises, what `serve` does."""
        if self._thread is None:
            raise RuntimeError("this server was not started: start() has to come first")
        self._thread.join()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.wait()

    def _run(self) -> None:
        try:
            self._outcome = self.serve()
        except (RuntimeError, OSError) as error:
            self._outcome = error

    # --- While it serves ---------------------------------------------------------------------------------------

    def _served(self, loop: Loop, context: ServerContext) -> CutOff:
        try:
            loop.start(self._note_thread_end)
            self._wait_for_the_end()
        finally:
            context.cut_off()
            cut_off = loop.close()
        if any(cut_off):
            event("cut-off", requests=cut_off.requests, threads=cut_off.threads)
        return cut_off

    def _wait_for_the_end(self) -> None:
        """Wait until a thread of the loop ends, as all do at the end; after `stop`, `graceful_timeout` at most."""
        if self._thread_ended.reader not in _rung(inf, self._asked, self._thread_ended):
            _rung(self._settings.graceful_timeout, self._thread_ended)

    def _hooks(self, context: ServerContext) -> Hooks:
        return Hooks(
            on_idle=lambda _: context.log.flush(),
            on_wakeup=lambda _: None,
            on_too_many_stuck=self._report_stuck_threads,
        )

    def _report_stuck_threads(self) -> None:
        """Half of the threads are in calls that have timed out. Nothing replaces this process, so log it once."""
        if not self._is_short_of_threads:
            self._is_short_of_threads = True
            event("too-many-threads-stuck", threads=self._settings.threads)

    def _note_thread_end(self, error: BaseException | None) -> None:
        self._failure = self._failure or error
        self._thread_ended.ring()


def _settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings that the arguments name. Raises SettingError."""
    values = from_arguments(given)
    settings = settle({"access_log": "access_logfile" in values}, values)
    for name, reason in UNSUPPORTED_SETTINGS.items():
        if getattr(settings, name) != getattr(Settings(), name):
            raise SettingError(f"{name} cannot be set for a server inside a program: {reason}")
    return settings


def _drain(asked: int, loop: Loop, context: ServerContext) -> None:
    loop.remove_source(asked)  # it stays readable
    context.drain()
    loop.drain()


def _rung(patience: float, *bells: Bell) -> set[int]:
    """Wait until some of the bells were rung, for `patience` seconds at most; returns their descriptors.

    Python runs the handler of a signal between two of its instructions. One that comes after the last of them, and
    before the system call that waits, does not end the wait, so the main thread does not wait for long.
    """
    waiting = select.poll()
    for bell in bells:
        waiting.register(bell.reader, select.POLLIN)
    longest = SIGNAL_INTERVAL if threading.current_thread() is threading.main_thread() else MAX_WAIT
    deadline = monotonic() + patience
    while True:
        left = deadline - monotonic()
        ready = {fd for fd, _ in waiting.poll(max(0.0, min(left, longest)) * 1000)}
        if ready or left <= 0:
            return ready
