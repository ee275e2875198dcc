"""The parent: binds, forks, watches, restarts, and ends when asked to.

It has one thread, never imports the application and knows no HTTP. Signals become bytes in a pipe; the main loop
waits on that pipe and on nothing else. As PID 1 of a container it also reaps what others leave behind.

    TERM        stop accepting, finish what is under way, within `graceful_timeout`
    INT, QUIT   stop at once
"""

import os
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Final, NoReturn

from wsgiserver import sockets, worker
from wsgiserver.accesslog import event
from wsgiserver.body import check_folder
from wsgiserver.environ import Trust
from wsgiserver.settings import SettingError, Settings

FIRST_PAUSE: Final = 0.1  # seconds before a worker that died is replaced; doubled each time it dies young
LONGEST_PAUSE: Final = 5.0
GROWN_UP: Final = 10.0  # seconds after which a worker's death counts as the first again
_STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@dataclass(slots=True)
class Worker:
    """What the parent knows of a child."""

    pid: int
    started: float


class Supervisor:
    """Everything is bound and checked when this is made: SettingError or OSError say what is wrong."""

    def __init__(self, application: str, settings: Settings) -> None:
        self._application = application
        self._settings = settings
        self._workers: dict[int, Worker] = {}
        self._pause = FIRST_PAUSE
        self._next_start = 0.0  # no worker is started before this
        self._kill_at = 0.0  # when stopping: those still there are killed
        self._stopping = False
        self._exit_code = 0
        self._served = False  # a worker has had the application loaded
        _check(settings)
        self._listeners = _listen(settings.bind)
        self._signals, self._signal_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._alive_reader, self._alive_writer = os.pipe2(os.O_CLOEXEC)  # ends in the children when this process does
        self._ready_reader, self._ready_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Supervise until stopped; returns the exit code."""
        signal.set_wakeup_fd(self._signal_writer, warn_on_full_buffer=False)
        for number in (*_STOPPING, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes is no reason to stop
        binds = ", ".join(sockets.describe(listener) for listener in self._listeners)
        event("started", bind=binds, workers=self._settings.workers, threads=self._settings.threads)
        while self._workers or not self._stopping:
            self._start_missing()
            self._wait()
            self._reap()
            self._kill_late()
        event("stopped", code=self._exit_code)
        for number in _STOPPING:
            signal.signal(number, signal.SIG_IGN)  # there is nothing left to stop, and an exit code to be told
        return self._exit_code

    def _start_missing(self) -> None:
        missing = self._settings.workers - len(self._workers)
        if self._stopping or time.monotonic() < self._next_start:
            return
        for _ in range(missing):
            self._start()

    def _start(self) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or no process ids, for now
            event("fork-failed", error=str(error))
            self._be_patient()
            return
        if pid == 0:
            self._be_a_worker()
        self._workers[pid] = Worker(pid, time.monotonic())

    def _be_a_worker(self) -> NoReturn:
        code = 1
        try:
            os.close(self._alive_writer)
            code = worker.run(
                self._application, self._settings, self._listeners, self._alive_reader, self._ready_writer
            )
        except BaseException:  # noqa: BLE001 - the boundary of the child: nothing may escape into the parent's code
            event("worker-failed", error=traceback.format_exc())
        sys.exit(code)  # with the application's exit handlers, which send what was gathered; nothing here catches this

    def _wait(self) -> None:
        readable, _, _ = select.select([self._signals, self._ready_reader], [], [], self._patience())
        if self._ready_reader in readable:
            os.read(self._ready_reader, 64)
            self._served = True
        if self._signals not in readable:
            return
        numbers = os.read(self._signals, 64)
        if signal.SIGINT in numbers or signal.SIGQUIT in numbers:
            self._stop(signal.SIGINT, 1.0)
        elif signal.SIGTERM in numbers:
            self._stop(signal.SIGTERM, self._settings.graceful_timeout)

    def _patience(self) -> float | None:
        """Seconds until there is something to do without being told; None for never."""
        if self._stopping:
            return max(0.0, self._kill_at - time.monotonic())
        if len(self._workers) < self._settings.workers:
            return max(0.0, self._next_start - time.monotonic())
        return None

    def _stop(self, number: int, patience: float) -> None:
        event("stopping", signal=signal.Signals(number).name, patience=patience)
        kill_at = time.monotonic() + patience
        self._kill_at = min(self._kill_at, kill_at) if self._stopping else kill_at  # asking again gains no time
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        self._signal_all(number)

    def _kill_late(self) -> None:
        if self._stopping and self._workers and time.monotonic() >= self._kill_at:
            event("cut-off", workers=len(self._workers))
            self._signal_all(signal.SIGKILL)
            self._kill_at = time.monotonic() + 1.0

    def _signal_all(self, number: int) -> None:
        for pid in self._workers:
            os.kill(pid, number)  # not yet reaped, so the id is still its own

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            gone = self._workers.pop(pid, None)
            if gone is not None:
                self._mourn(gone, os.waitstatus_to_exitcode(status))

    def _mourn(self, gone: Worker, code: int) -> None:
        """A worker has ended: decide when, and whether, there will be another."""
        if self._stopping:
            return
        event("worker-died", worker=gone.pid, code=code)
        if code == worker.CANNOT_IMPORT and not self._served:
            event("application-unusable", application=self._application)
            self._exit_code = worker.CANNOT_IMPORT
            self._stop(signal.SIGTERM, 1.0)
            return
        if time.monotonic() - gone.started > GROWN_UP:
            self._pause = FIRST_PAUSE
        self._be_patient()

    def _be_patient(self) -> None:
        """Wait before the next start, longer each time."""
        self._next_start = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def _check(settings: Settings) -> None:
    """Find out now what would otherwise fail in the middle of an upload."""
    try:
        Trust(settings.forwarded_allow_ips)
    except ValueError as error:
        raise SettingError(f"--forwarded-allow-ips: {error}") from error
    try:
        check_folder(settings.spool_dir)
    except OSError as error:
        raise SettingError(f"--spool-dir: no file can be made there: {error}") from error


def _listen(binds: tuple[str, ...]) -> list[socket.socket]:
    listeners = []
    for bind in binds:
        try:
            listeners.append(sockets.listen(bind))
        except ValueError as error:
            raise SettingError(f"--bind: {error}") from error
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {bind}: {error.strerror or error}") from error
    return listeners
