"""The parent process: it listens, forks the workers, watches and restarts them, and ends when it is asked to.

    TERM        stop: accept no more, and finish what is under way within `graceful_timeout`. With `drain_delay`, only
                readiness fails at first; the stop begins that many seconds later, or at a second TERM
    INT, QUIT   stop at once
    HUP         replace the workers one at a time with new ones that load the current application code
    TTIN, TTOU  one worker more, one worker less
    USR1        have all processes reopen their log files

It has to stay alive whatever the application does, so it does as little as possible. It has one thread, because a
process with several threads cannot fork safely. It never imports the application, except with `--preload`, and it never
reads what a client sends.

One loop does everything: start or stop workers until there are as many as wanted (`roster.py` decides which), wait,
then act on what has happened. It waits on two pipes. Signal handlers write into the first one, so that no code runs
inside a handler. Workers write a byte into the second one when the scoreboard has something new. While all workers are
idle it sleeps without a timeout.

A worker that dies is replaced after a pause, which doubles each time one dies young. A worker whose loop and watchdog
are both silent is hung: it is told to write the stacks of its threads (ABRT) and is killed soon after. If workers keep
dying, `/readyz` says so. The process of the admin listener is supervised in the same way; it stops last, so that it can
report until the end. As PID 1 of a container the parent also reaps orphans.
"""

import contextlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterable
from dataclasses import replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final, NoReturn

from wsgiserver.binds import Options
from wsgiserver.eventloop.poller import pipe
from wsgiserver.process import listeners, worker
from wsgiserver.process.importing import CANNOT_IMPORT, ApplicationOrSpec, preload
from wsgiserver.process.preflight import (
    check,
    made,
    places,
    refuse_options,
    too_many,
    with_workers,
    within_descriptors,
)
from wsgiserver.process.roster import Move, WorkerRecord, next_move
from wsgiserver.process.wiring import Listener, bound_to, listeners_for
from wsgiserver.settings import Settings, options
from wsgiserver.telemetry import admin, metrics, resources
from wsgiserver.telemetry.log import event
from wsgiserver.telemetry.scoreboard import MAX_WORKERS, Scoreboard, Slot, WorkerPhase

FIRST_PAUSE: Final = 0.1  # seconds before a worker that died is replaced; doubled each time one dies young
LONGEST_PAUSE: Final = 5.0  # seconds
STABLE_AFTER: Final = 10.0  # seconds; a worker that lived this long resets the restart back-off
FAILING_AFTER: Final = 3  # early deaths of workers in a row before the server counts as not ready
CHECK_INTERVAL: Final = 1.0  # seconds between checks for hung workers
IDLE_CHECKS: Final = 3  # without a busy worker before the checks stop; a busy worker reports every second
HUNG_AFTER: Final = 5.0  # seconds without a heartbeat, beyond the time that the application may take
ABORT_GRACE: Final = 5.0  # seconds for the stacks of its threads to be written
SERVING_PHASES: Final = {WorkerPhase.READY, WorkerPhase.RETIRING}
_HANDLED_SIGNALS: Final = (*worker.HANDLED_SIGNALS, signal.SIGCHLD)


class Supervisor:
    """See above. The constructor checks and binds everything; it raises SettingError or OSError."""

    def __init__(self, application: str, settings: Settings) -> None:
        self._name = application
        self._application: ApplicationOrSpec = application
        settings = settings if settings.workers else with_workers(settings)
        check(settings)
        self._settings = within_descriptors(settings)
        self._wanted_settings = settings  # before values were lowered to what this machine allows
        self._roster: dict[int, WorkerRecord] = {}  # by process id; the admin listener's process is one of them
        self._wanted = settings.workers
        self._pause = FIRST_PAUSE
        self._checks_left = 0  # for hung workers, until the checks stop
        self._next_check = inf
        self._next_start = 0.0  # no worker is started before this
        self._stopping = False
        self._stop_at = inf  # the time at which a delayed stop begins
        self._exit_code = 0
        self._served = False  # at least one worker has loaded the application
        self._early_deaths = 0  # of workers in a row, none of them stable
        given = made(
            "LISTEN_FDS",
            lambda: listeners.inherited(os.environ, os.getpid()),
            "a descriptor cannot be used",
            "pass sockets that listen",
        )
        found = places(replace(settings, bind=()) if given else settings)
        if given:
            refuse_options(settings)
        self._listeners = [Listener(each, options(settings)) for each in given] or listeners_for(found, settings)
        opened = listeners.listen_all(found, settings.spelled("admin_bind", "bind"), settings.socket_mode)
        self._admin_listeners = [Listener(each, Options()) for of_bind in opened for each in of_bind]
        self._scoreboard = Scoreboard(metrics.COUNTS, metrics.SUMS)
        self._signals, self._signal_writer = pipe()
        self._alive_reader, self._alive_writer = os.pipe()  # the children read the end of it when this process is gone
        self._reports, self._report_writer = pipe()

    def run(self) -> int:
        """Supervise until stopped; returns the exit code."""
        if self._settings.preload:
            preloaded = preload(self._name)
            if preloaded is None:
                event("application-unusable", application=self._name)
                return CANNOT_IMPORT
            self._application = preloaded
        signal.set_wakeup_fd(self._signal_writer, warn_on_full_buffer=False)
        for number in _HANDLED_SIGNALS:
            signal.signal(number, lambda *_: None)
        self._report_shortages()
        bound = bound_to("bind", self._listeners) | bound_to("admin_bind", self._admin_listeners)
        event("started", **bound, workers=self._wanted, threads=self._settings.threads)
        while self._roster or not self._stopping:
            self._adjust()
            self._wait()
            if monotonic() >= self._stop_at:
                self._drain(0.0)
            self._reap()
            self._report_failing()
            self._kill_late()
            self._check_hung()
        event("stopped", code=self._exit_code)
        for number in _HANDLED_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a signal now would replace the exit code
        return self._exit_code

    def _report_shortages(self) -> None:
        """Log what was wanted and does not fit on this machine, or only at a risk."""
        asked, fits = self._wanted_settings.max_connections, self._settings.max_connections
        if fits < asked:
            limit = resources.descriptor_limit()
            event("max-connections-lowered", wanted=asked, fits=fits, descriptors=limit)
        memory, wanted = resources.memory_limit(Path("/")), self._wanted * resources.WORKER_MEMORY
        if memory is not None and memory < wanted:
            event("memory-short", workers=self._wanted, limit_bytes=memory, expected_bytes=wanted)

    def _workers(self) -> list[WorkerRecord]:
        return [record for record in self._roster.values() if record.slot is not self._scoreboard.admin]

    # --- Starting and stopping workers -----------------------------------------------------------------------

    def _adjust(self) -> None:
        """Start or stop workers until there are as many as wanted."""
        now = monotonic()
        if self._stopping:
            if not self._workers():  # the admin process stops last: until now it reported that the server is not ready
                self._stop_workers(self._roster.values(), signal.SIGTERM, 1.0)
            return
        for record in self._roster.values():
            if record.is_leaving and record.kill_at == inf:  # another process asked it to
                record.kill_by(now + self._settings.graceful_timeout)
        try:
            if self._admin_listeners and len(self._workers()) == len(self._roster) and now >= self._next_start:
                self._start(self._scoreboard.admin)
            self._adjust_roster(now)
        except OSError as error:  # no memory, or no process ids, for now
            event("start-failed", error=str(error))
            self._delay_next_start()

    def _adjust_roster(self, now: float) -> None:
        while True:
            move, surplus = next_move(self._workers(), self._wanted)
            if surplus is not None:
                self._stop_workers([surplus], signal.SIGTERM, self._settings.graceful_timeout)
            elif move is Move.START and now >= self._next_start:
                self._start(self._scoreboard.claim())
            else:
                return

    def _start(self, slot: Slot) -> None:
        """Fork a worker. Signals are blocked until the child can handle them, or one could be lost."""
        slot.claim()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._run_worker(slot)
        except OSError:
            slot.vacate()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        slot.take(pid)
        self._roster[pid] = WorkerRecord(pid, slot, monotonic())

    def _run_worker(self, slot: Slot) -> NoReturn:
        code = 1
        try:
            os.close(self._alive_writer)
            link = worker.ParentLink(self._alive_reader, self._report_writer, slot)
            if slot is self._scoreboard.admin:
                mine, others = self._admin_listeners, self._listeners
                application: ApplicationOrSpec = admin.application(self._scoreboard)
                settings = replace(
                    Settings(threads=1, access_log=False, spool_dir=self._settings.spool_dir),
                    max_connections=self._settings.max_connections,
                )
            else:
                mine, others = self._listeners, self._admin_listeners
                application, settings = self._application, self._settings
            for listener in others:
                listener.socket.close()
            code = worker.run(application, settings, mine, link)
        except BaseException:  # noqa: BLE001 - the boundary of the child, which must never return into the code of the parent
            event("worker-failed", error=traceback.format_exc())
        sys.exit(code)  # runs the application's exit handlers, which may send what was gathered

    def _stop_workers(self, records: Iterable[WorkerRecord], number: int, patience: float) -> None:
        """Ask workers to end by a deadline; asking again does not extend it."""
        kill_at = monotonic() + patience
        for record in records:
            record.kill_by(kill_at)
            record.slot.advance(WorkerPhase.DRAINING)
            os.kill(record.pid, number)  # it is not reaped yet, so the id is still its own

    def _kill_late(self) -> None:
        now = monotonic()
        late = [record for record in self._roster.values() if record.kill_at <= now]
        for record in late:
            os.kill(record.pid, signal.SIGKILL)
            record.kill_again_at(now + 1.0)
        if late:
            event("cut-off", workers=len(late))

    def _check_hung(self) -> None:
        """Stop workers whose loop and watchdog have both been silent for too long."""
        now = monotonic()
        if now < self._next_check:
            return
        busy = [record for record in self._roster.values() if record.slot.silent_since and not record.is_leaving]
        self._checks_left = IDLE_CHECKS if busy else self._checks_left - 1
        self._next_check = now + CHECK_INTERVAL if self._checks_left else inf
        for record in busy:
            since = record.slot.silent_since
            if not since or now - since < self._settings.timeout + HUNG_AFTER:
                continue
            if record.suspect(since):  # in two checks: the whole machine may have been suspended before the first
                event("worker-hung", worker=record.pid, silent_seconds=round(now - since, 1))
                self._stop_workers([record], signal.SIGABRT, ABORT_GRACE)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                if gone := self._roster.pop(reaped[0], None):
                    self._on_worker_exit(gone, os.waitstatus_to_exitcode(reaped[1]))

    def _on_worker_exit(self, gone: WorkerRecord, code: int) -> None:
        """A worker has ended: decide whether and when to start another."""
        was_starting, was_leaving = gone.is_starting, gone.is_leaving
        self._scoreboard.past.count(metrics.RESTARTS, int(not self._stopping))
        self._scoreboard.release(gone.slot)
        if was_leaving:
            if gone.outdated and not self._is_reloading():
                event("reloaded", workers=len(self._workers()))
            return
        event("worker-died", worker=gone.pid, code=code)
        if was_starting and code == CANNOT_IMPORT and not self._served:
            event("application-unusable", application=self._name)
            self._exit_code = CANNOT_IMPORT
            self._stop(signal.SIGTERM, 1.0)
            return
        if was_starting and self._is_reloading():
            self._give_up_reload()
        if monotonic() - gone.started > STABLE_AFTER:
            self._pause = FIRST_PAUSE
            self._early_deaths = 0
        elif gone.slot is not self._scoreboard.admin:
            self._early_deaths += 1
        self._delay_next_start()

    def _report_failing(self) -> None:
        """Tell the admin process whether workers end again and again. One stable worker proves otherwise."""
        now = monotonic()
        stable = (record for record in self._workers() if now - record.started > STABLE_AFTER)
        if self._early_deaths and any(record.slot.phase in SERVING_PHASES for record in stable):
            self._early_deaths = 0
        is_failing = self._early_deaths >= FAILING_AFTER
        if is_failing != self._scoreboard.is_failing:
            event("workers-keep-ending" if is_failing else "workers-stay")
            self._scoreboard.set_failing(is_failing)

    def _is_reloading(self) -> bool:
        return any(record.outdated for record in self._roster.values())

    def _give_up_reload(self) -> None:
        """The current application code does not start: the workers with the old code stay."""
        event("reload-failed", application=self._name, kept=len(self._workers()))
        for record in self._roster.values():
            record.keep()

    def _delay_next_start(self) -> None:
        """Wait before the next start, longer each time."""
        self._next_start = monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    # --- Waiting and signals ---------------------------------------------------------------------------------

    def _wait(self) -> None:
        readable, _, _ = select.select([self._signals, self._reports], [], [], self._patience())
        if self._reports in readable:
            os.read(self._reports, 4096)
            if self._settings.timeout:
                self._checks_left, self._next_check = IDLE_CHECKS, min(self._next_check, monotonic() + CHECK_INTERVAL)
            phases = {record.slot.phase for record in self._workers()}
            self._served = self._served or bool(phases & SERVING_PHASES)
        if self._signals in readable:
            self._handle_signals(os.read(self._signals, 4096))

    def _patience(self) -> float | None:
        """Return the seconds until there is something to do without an event; None for never."""
        now = monotonic()
        deadlines = [self._next_check, self._stop_at, *(record.kill_at for record in self._roster.values())]
        if self._next_start > now:
            deadlines.append(self._next_start)
        if self._early_deaths:  # until one is stable
            deadlines += [due for record in self._workers() if (due := record.started + STABLE_AFTER + 0.1) > now]
        first = min(deadlines)
        return max(0.0, first - now) if first < inf else None

    def _handle_signals(self, numbers: bytes) -> None:
        if signal.SIGINT in numbers or signal.SIGQUIT in numbers:
            self._stop(signal.SIGINT, 1.0)
        elif signal.SIGTERM in numbers:
            self._drain(self._settings.drain_delay)
        elif not self._stopping:
            if signal.SIGHUP in numbers:
                self._reload()
            self._resize(numbers.count(signal.SIGTTIN) - numbers.count(signal.SIGTTOU))
        if signal.SIGUSR1 in numbers:
            for record in self._roster.values():
                os.kill(record.pid, signal.SIGUSR1)

    def _reload(self) -> None:
        code = "as it was loaded at the start: --preload" if self._settings.preload else "as it is now"
        event("reloading", workers=len(self._workers()), code=code)
        for record in self._workers():
            record.mark_outdated()

    def _resize(self, change: int) -> None:
        wanted = min(max(self._wanted + change, 1), MAX_WORKERS)
        if wanted > self._wanted and (reason := too_many(wanted - len(self._workers()), self._settings.threads)):
            event("not-resized", workers=self._wanted, reason=reason)
            return
        if wanted != self._wanted:
            self._wanted = wanted
            event("resized", workers=wanted)

    def _drain(self, delay: float) -> None:
        """Stop, or with a delay first only fail readiness, so that load balancers notice."""
        if not delay or self._stopping or self._stop_at < inf:
            self._stop(signal.SIGTERM, self._settings.graceful_timeout)
            return
        event("draining", delay_seconds=delay)
        self._scoreboard.past.advance(WorkerPhase.DRAINING)
        self._stop_at = monotonic() + delay

    def _stop(self, number: int, patience: float) -> None:
        event("stopping", signal=signal.Signals(number).name, timeout_seconds=patience)
        self._stopping, self._stop_at = True, inf
        self._scoreboard.past.advance(WorkerPhase.DRAINING)  # before the workers drain
        for listener in (*self._listeners, *self._admin_listeners):
            listener.socket.close()
        self._listeners = self._admin_listeners = []
        self._stop_workers(self._workers(), number, patience)
