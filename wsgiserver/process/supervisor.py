"""The parent: binds, forks, watches, restarts, and ends when asked to.

It has one thread, never imports the application (but with `--preload`) and knows no HTTP. Signals become bytes in a
pipe; the main loop waits on that pipe, and on one by which workers say that there is something new to be seen on the
scoreboard. Who comes and goes is decided in `roster.py`. As PID 1 of a container it also reaps orphans.

    TERM        stop accepting, finish what is under way, within `graceful_timeout`; with `drain_delay` that begins so
                many seconds later, or at the second TERM, and until then only readiness says so
    INT, QUIT   stop at once
    HUP         replace all workers, one at a time, by such with the application as it is now
    TTIN, TTOU  one worker more, one less
    USR1        tell workers to open their log files anew
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
from wsgiserver.telemetry.scoreboard import MOST_WORKERS, Phase, Scoreboard, Slot

FIRST_PAUSE: Final = 0.1  # seconds before a worker that died is replaced; doubled each time it dies young
LONGEST_PAUSE: Final = 5.0
STABLE_AFTER: Final = 10.0  # seconds; a worker that lived this long resets the restart back-off
FAILING: Final = 3  # early deaths of workers in a row until the server counts as not ready
CHECK_INTERVAL: Final = 1.0  # seconds between checks for hung workers
IDLE_CHECKS: Final = 3  # that find no worker busy, until the checks stop: a busy one reports each second
HUNG_AFTER: Final = 5.0  # seconds without a heartbeat, beyond the time that the application may take
ABORT_GRACE: Final = 5.0  # seconds for the stacks of its threads to be written
SERVING: Final = {Phase.READY, Phase.RETIRING}
_OBEYED: Final = (*worker.OBEYED, signal.SIGCHLD)


class Supervisor:
    """Everything is bound and checked when this is made: SettingError or OSError say what is wrong."""

    def __init__(self, application: str, settings: Settings) -> None:
        self._name = application
        self._application: ApplicationOrSpec = application
        settings = settings if settings.workers else with_workers(settings)
        check(settings)
        self._settings = within_descriptors(settings)
        self._wish = settings  # as it was before it had to fit
        self._roster: dict[int, WorkerRecord] = {}  # by process id; the admin listener's process is one of them
        self._wanted = settings.workers
        self._pause = FIRST_PAUSE
        self._checks_left = 0  # for hung workers, until the checks stop
        self._next_check = inf
        self._next_start = 0.0  # no worker is started before this
        self._stopping = False
        self._stop_at = inf  # asked to stop, and goes on until then
        self._exit_code = 0
        self._served = False  # a worker has had the application loaded
        self._early_deaths = 0  # of workers in a row, none of them stable
        given = made("LISTEN_FDS", lambda: listeners.inherited(os.environ, os.getpid()))
        found = places(replace(settings, bind=()) if given else settings)
        if given:
            refuse_options(settings)
        self._listeners = [Listener(each, options(settings)) for each in given] or listeners_for(found, settings)
        opened = listeners.listen_all(found, "--admin-bind", settings.socket_mode)
        self._admin_listeners = [Listener(each, Options()) for of_bind in opened for each in of_bind]
        self._scoreboard = Scoreboard(metrics.COUNTS, metrics.SUMS)
        self._signals, self._signal_writer = pipe()
        self._alive_reader, self._alive_writer = os.pipe()  # ends in the children when this process does
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
        for number in _OBEYED:
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
            self._judge()
            self._kill_late()
            self._check_hung()
        event("stopped", code=self._exit_code)
        for number in _OBEYED:
            signal.signal(number, signal.SIG_IGN)  # there is nothing left to stop, and an exit code to be told
        return self._exit_code

    def _report_shortages(self) -> None:
        """Say what was asked for, and is not to be had, or only at a risk."""
        asked, fits = self._wish.max_connections, self._settings.max_connections
        if fits < asked:
            limit = resources.descriptor_limit()
            event("max-connections-lowered", wanted=asked, fits=fits, descriptors=limit)
        memory, wanted = resources.memory_limit(Path("/")), self._wanted * resources.WORKER_MEMORY
        if memory is not None and memory < wanted:
            event("memory-short", workers=self._wanted, limit_bytes=memory, expected_bytes=wanted)

    def _workers(self) -> list[WorkerRecord]:
        return [record for record in self._roster.values() if record.slot is not self._scoreboard.admin]

    # --- Coming and going ------------------------------------------------------------------------------------

    def _adjust(self) -> None:
        """Start workers, or ask some to end, until there are as many workers as there should be."""
        now = monotonic()
        if self._stopping:
            if not self._workers():  # the admin listener goes last: until now it said that the server is not ready
                self._stop_workers(self._roster.values(), signal.SIGTERM, 1.0)
            return
        for record in self._roster.values():
            if record.is_leaving and record.kill_at == inf:  # somebody else asked it to
                record.kill_by(now + self._settings.graceful_timeout)
        try:
            if self._admin_listeners and len(self._workers()) == len(self._roster) and now >= self._next_start:
                self._start(self._scoreboard.admin)
            self._adjust_roster(now)
        except OSError as error:  # no memory, or no process ids, for now
            event("start-failed", error=str(error))
            self._be_patient()

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
        """Fork. Signals are held back until the child can take its own: one that came before would be lost."""
        slot.claim()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OBEYED)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_a_worker(slot)
        except OSError:
            slot.vacate()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        slot.take(pid)
        self._roster[pid] = WorkerRecord(pid, slot, monotonic())

    def _be_a_worker(self, slot: Slot) -> NoReturn:
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
        except BaseException:  # noqa: BLE001 - the boundary of the child: nothing may escape into the parent's code
            event("worker-failed", error=traceback.format_exc())
        sys.exit(code)  # with the application's exit handlers, which send what was gathered; nothing here catches this

    def _stop_workers(self, records: Iterable[WorkerRecord], number: int, patience: float) -> None:
        """Ask them to end; asking again gains them no time."""
        kill_at = monotonic() + patience
        for record in records:
            record.kill_by(kill_at)
            record.slot.advance(Phase.DRAINING)
            os.kill(record.pid, number)  # not yet reaped, so the id is still its own

    def _kill_late(self) -> None:
        now = monotonic()
        late = [record for record in self._roster.values() if record.kill_at <= now]
        for record in late:
            os.kill(record.pid, signal.SIGKILL)
            record.kill_again_at(now + 1.0)
        if late:
            event("cut-off", workers=len(late))

    def _check_hung(self) -> None:
        """Find workers whose loop and watchdog have both been silent for too long."""
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
            if record.suspect(since):  # twice: it may be the whole machine that was stopped
                event("worker-hung", worker=record.pid, silent_seconds=round(now - since, 1))
                self._stop_workers([record], signal.SIGABRT, ABORT_GRACE)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                if gone := self._roster.pop(reaped[0], None):
                    self._on_worker_exit(gone, os.waitstatus_to_exitcode(reaped[1]))

    def _on_worker_exit(self, gone: WorkerRecord, code: int) -> None:
        """A worker has ended: decide when, and whether, there will be another."""
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
        self._be_patient()

    def _judge(self) -> None:
        """Let the admin listener know whether workers end again and again. A stable one proves otherwise."""
        now = monotonic()
        stable = (record for record in self._workers() if now - record.started > STABLE_AFTER)
        if self._early_deaths and any(record.slot.phase in SERVING for record in stable):
            self._early_deaths = 0
        is_failing = self._early_deaths >= FAILING
        if is_failing != self._scoreboard.is_failing:
            event("workers-keep-ending" if is_failing else "workers-stay")
            self._scoreboard.set_failing(is_failing)

    def _is_reloading(self) -> bool:
        return any(record.outdated for record in self._roster.values())

    def _give_up_reload(self) -> None:
        """The application as it is now does not start: those who serve it as it was go on."""
        event("reload-failed", application=self._name, kept=len(self._workers()))
        for record in self._roster.values():
            record.keep()

    def _be_patient(self) -> None:
        """Wait before the next start, longer each time."""
        self._next_start = monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    # --- Being told ------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        readable, _, _ = select.select([self._signals, self._reports], [], [], self._patience())
        if self._reports in readable:
            os.read(self._reports, 4096)
            if self._settings.timeout:
                self._checks_left, self._next_check = IDLE_CHECKS, min(self._next_check, monotonic() + CHECK_INTERVAL)
            phases = {record.slot.phase for record in self._workers()}
            self._served = self._served or bool(phases & SERVING)
        if self._signals in readable:
            self._obey(os.read(self._signals, 4096))

    def _patience(self) -> float | None:
        """Seconds until there is something to do without being told; None for never."""
        now = monotonic()
        deadlines = [self._next_check, self._stop_at, *(record.kill_at for record in self._roster.values())]
        if self._next_start > now:
            deadlines.append(self._next_start)
        if self._early_deaths:  # until one is stable
            deadlines += [due for record in self._workers() if (due := record.started + STABLE_AFTER + 0.1) > now]
        first = min(deadlines)
        return max(0.0, first - now) if first < inf else None

    def _obey(self, numbers: bytes) -> None:
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
        wanted = min(max(self._wanted + change, 1), MOST_WORKERS)
        if wanted > self._wanted and (reason := too_many(wanted - len(self._workers()), self._settings.threads)):
            event("not-resized", workers=self._wanted, reason=reason)
            return
        if wanted != self._wanted:
            self._wanted = wanted
            event("resized", workers=wanted)

    def _drain(self, delay: float) -> None:
        """Stop; where load balancers learn of it late, serve on until they have."""
        if not delay or self._stopping or self._stop_at < inf:
            self._stop(signal.SIGTERM, self._settings.graceful_timeout)
            return
        event("draining", delay_seconds=delay)
        self._scoreboard.past.advance(Phase.DRAINING)
        self._stop_at = monotonic() + delay

    def _stop(self, number: int, patience: float) -> None:
        event("stopping", signal=signal.Signals(number).name, timeout_seconds=patience)
        self._stopping, self._stop_at = True, inf
        self._scoreboard.past.advance(Phase.DRAINING)  # before a worker is told
        for listener in (*self._listeners, *self._admin_listeners):
            listener.socket.close()
        self._listeners = self._admin_listeners = []
        self._stop_workers(self._workers(), number, patience)
