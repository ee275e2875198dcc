"""The parent: binds, forks, watches, restarts, and ends when asked to.

It has one thread, never imports the application (but with `--preload`) and knows no HTTP. Signals become bytes in a
pipe; the main loop waits on that pipe, and on one by which workers say that there is something new to be seen on the
scoreboard. Who comes and goes is decided in `crew.py`. As PID 1 of a container it also reaps what others leave behind.

    TERM        stop accepting, finish what is under way, within `graceful_timeout`
    INT, QUIT   stop at once
    HUP         replace all workers, one at a time, by such with the application as it is now
    TTIN, TTOU  one worker more, one less
    USR1        tell workers to open their log files anew
"""

import contextlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final, NoReturn, TypeVar

from wsgiserver import metrics, resources, sockets, worker
from wsgiserver.accesslog import check_file, event
from wsgiserver.body import check_folder
from wsgiserver.crew import Move, Worker, next_move
from wsgiserver.environ import Trust
from wsgiserver.scoreboard import MOST_WORKERS, Phase, Scoreboard, Slot
from wsgiserver.settings import SettingError, Settings

FIRST_PAUSE: Final = 0.1  # seconds before a worker that died is replaced; doubled each time it dies young
LONGEST_PAUSE: Final = 5.0
GROWN_UP: Final = 10.0  # seconds after which a worker's death counts as the first again
FAILING: Final = 3  # deaths of workers, none of which has grown up, until the server counts as not ready
LOOK: Final = 1.0  # seconds between looks at workers that may be hung
LOOKS: Final = 3  # without finding one that is busy, until there is no need to look: a busy one reports each second
HUNG: Final = 5.0  # seconds without a sign of life, beyond what the application may take, after which one is
ABORT: Final = 5.0  # seconds for the stacks of its threads to be written
SERVING: Final = {Phase.READY, Phase.RETIRING}
_OBEYED: Final = (*worker.OBEYED, signal.SIGCHLD)

Made = TypeVar("Made")


class Supervisor:
    """Everything is bound and checked when this is made: SettingError or OSError say what is wrong."""

    def __init__(self, application: str, settings: Settings) -> None:
        self._name = application
        self._application: worker.What = application
        settings = settings if settings.workers else _with_workers(settings)
        check(settings)
        self._settings = _within_descriptors(settings)
        self._wish = settings  # as it was before it had to fit
        self._crew: dict[int, Worker] = {}  # by process id; the admin listener's process is one of them
        self._wanted = settings.workers
        self._pause = FIRST_PAUSE
        self._looks = 0  # still to be had at workers that may be hung
        self._next_look = inf
        self._next_start = 0.0  # no worker is started before this
        self._stopping = False
        self._exit_code = 0
        self._served = False  # a worker has had the application loaded
        self._early_deaths = 0  # of workers, one after the other, with none that has grown up
        self._listeners = _made("LISTEN_FDS", lambda: sockets.inherited(os.environ, os.getpid())) or _listen(
            "--bind", settings.bind, settings.socket_mode
        )
        self._admin_listeners = _listen("--admin-bind", settings.admin_bind, settings.socket_mode)
        self._scoreboard = Scoreboard(metrics.COUNTS, metrics.SUMS)
        self._signals, self._signal_writer = worker.pipe()
        self._alive_reader, self._alive_writer = os.pipe()  # ends in the children when this process does
        self._reports, self._report_writer = worker.pipe()

    def run(self) -> int:
        """Supervise until stopped; returns the exit code."""
        if self._settings.preload:
            preloaded = worker.preload(self._name)
            if preloaded is None:
                event("application-unusable", application=self._name)
                return worker.CANNOT_IMPORT
            self._application = preloaded
        signal.set_wakeup_fd(self._signal_writer, warn_on_full_buffer=False)
        for number in _OBEYED:
            signal.signal(number, lambda *_: None)
        binds = {"bind": self._listeners, "admin_bind": self._admin_listeners}
        places = {name: ", ".join(map(sockets.describe, listeners)) for name, listeners in binds.items() if listeners}
        self._tell_what_is_short()
        event("started", **places, workers=self._wanted, threads=self._settings.threads)
        while self._crew or not self._stopping:
            self._adjust()
            self._wait()
            self._reap()
            self._judge()
            self._kill_late()
            self._look()
        event("stopped", code=self._exit_code)
        for number in _OBEYED:
            signal.signal(number, signal.SIG_IGN)  # there is nothing left to stop, and an exit code to be told
        return self._exit_code

    def _tell_what_is_short(self) -> None:
        """Say what was asked for, and is not to be had, or only at a risk."""
        asked, fits = self._wish.max_connections, self._settings.max_connections
        if fits < asked:
            limit = resources.descriptor_limit()
            event("max-connections-lowered", wanted=asked, fits=fits, descriptors=limit)
        memory, wanted = resources.memory_limit(Path("/")), self._wanted * resources.WORKER_MEMORY
        if memory is not None and memory < wanted:
            event("memory-short", workers=self._wanted, limit=memory, to_count_on=wanted)

    def _workers(self) -> list[Worker]:
        return [member for member in self._crew.values() if member.slot is not self._scoreboard.admin]

    # --- Coming and going ------------------------------------------------------------------------------------

    def _adjust(self) -> None:
        """Start and dismiss until there are as many workers as there should be."""
        now = monotonic()
        if self._stopping:
            if not self._workers():  # the admin listener goes last: until now it said that the server is not ready
                self._dismiss(self._crew.values(), signal.SIGTERM, 1.0)
            return
        for member in self._crew.values():
            if member.is_leaving and member.kill_at == inf:  # somebody else asked it to
                member.kill_at = now + self._settings.graceful_timeout
        try:
            if self._admin_listeners and len(self._workers()) == len(self._crew) and now >= self._next_start:
                self._start(self._scoreboard.admin)
            self._adjust_crew(now)
        except OSError as error:  # no memory, or no process ids, for now
            event("start-failed", error=str(error))
            self._be_patient()

    def _adjust_crew(self, now: float) -> None:
        while True:
            move, surplus = next_move(self._workers(), self._wanted)
            if surplus is not None:
                self._dismiss([surplus], signal.SIGTERM, self._settings.graceful_timeout)
            elif move is Move.START and now >= self._next_start:
                self._start(self._scoreboard.claim())
            else:
                return

    def _start(self, slot: Slot) -> None:
        """Fork. Signals are held back until the child can take its own: one that came before would be lost."""
        slot.phase = Phase.STARTING
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OBEYED)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_a_worker(slot)
        except OSError:
            slot.phase = Phase.NONE
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        slot.take(pid)
        self._crew[pid] = Worker(pid, slot, monotonic())

    def _be_a_worker(self, slot: Slot) -> NoReturn:
        code = 1
        try:
            os.close(self._alive_writer)
            lifeline = worker.Lifeline(self._alive_reader, self._report_writer, slot)
            if slot is self._scoreboard.admin:
                mine, others = self._admin_listeners, self._listeners
                application: worker.What = metrics.application(self._scoreboard)
                settings = replace(
                    Settings(threads=1, access_log=False, spool_dir=self._settings.spool_dir),
                    max_connections=self._settings.max_connections,
                )
            else:
                mine, others = self._listeners, self._admin_listeners
                application, settings = self._application, self._settings
            for listener in others:
                listener.close()
            code = worker.run(application, settings, mine, lifeline)
        except BaseException:  # noqa: BLE001 - the boundary of the child: nothing may escape into the parent's code
            event("worker-failed", error=traceback.format_exc())
        sys.exit(code)  # with the application's exit handlers, which send what was gathered; nothing here catches this

    def _dismiss(self, members: Iterable[Worker], number: int, patience: float) -> None:
        """Ask them to end; asking again gains them no time."""
        kill_at = monotonic() + patience
        for member in members:
            member.kill_at = min(member.kill_at, kill_at)
            member.slot.advance(Phase.DRAINING)
            os.kill(member.pid, number)  # not yet reaped, so the id is still its own

    def _kill_late(self) -> None:
        now = monotonic()
        late = [member for member in self._crew.values() if member.kill_at <= now]
        for member in late:
            os.kill(member.pid, signal.SIGKILL)
            member.kill_at = now + 1.0
        if late:
            event("cut-off", workers=len(late))

    def _look(self) -> None:
        """Find workers of which neither the loop nor the watchdog has shown a sign of life for too long."""
        now = monotonic()
        if now < self._next_look:
            return
        busy = [member for member in self._crew.values() if member.slot.silent_since and not member.is_leaving]
        self._looks = LOOKS if busy else self._looks - 1
        self._next_look = now + LOOK if self._looks else inf
        for member in busy:
            since = member.slot.silent_since
            if not since or now - since < self._settings.timeout + HUNG:
                continue
            if member.suspected == since:  # twice: it may be the whole machine that was stopped
                event("worker-hung", worker=member.pid, seconds=round(now - since, 1))
                self._dismiss([member], signal.SIGABRT, ABORT)
            member.suspected = since

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
                if gone := self._crew.pop(reaped[0], None):
                    self._mourn(gone, os.waitstatus_to_exitcode(reaped[1]))

    def _mourn(self, gone: Worker, code: int) -> None:
        """A worker has ended: decide when, and whether, there will be another."""
        was_starting, was_leaving = gone.is_starting, gone.is_leaving
        self._scoreboard.past.counts[metrics.RESTARTS] += not self._stopping
        self._scoreboard.release(gone.slot)
        if was_leaving:
            if gone.outdated and not self._is_reloading():
                event("reloaded", workers=len(self._workers()))
            return
        event("worker-died", worker=gone.pid, code=code)
        if was_starting and code == worker.CANNOT_IMPORT and not self._served:
            event("application-unusable", application=self._name)
            self._exit_code = worker.CANNOT_IMPORT
            self._stop(signal.SIGTERM, 1.0)
            return
        if was_starting and self._is_reloading():
            self._give_up_reload()
        if monotonic() - gone.started > GROWN_UP:
            self._pause = FIRST_PAUSE
            self._early_deaths = 0
        elif gone.slot is not self._scoreboard.admin:
            self._early_deaths += 1
        self._be_patient()

    def _judge(self) -> None:
        """Let the admin listener know whether workers end again and again. One that has grown up proves otherwise."""
        now = monotonic()
        grown_up = (member for member in self._workers() if now - member.started > GROWN_UP)
        if self._early_deaths and any(member.slot.phase in SERVING for member in grown_up):
            self._early_deaths = 0
        is_failing = self._early_deaths >= FAILING
        if is_failing != self._scoreboard.is_failing:
            event("workers-keep-ending" if is_failing else "workers-stay")
            self._scoreboard.is_failing = is_failing

    def _is_reloading(self) -> bool:
        return any(member.outdated for member in self._crew.values())

    def _give_up_reload(self) -> None:
        """The application as it is now does not start: those who serve it as it was go on."""
        event("reload-failed", application=self._name, kept=len(self._workers()))
        for member in self._crew.values():
            member.outdated = False

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
                self._looks, self._next_look = LOOKS, min(self._next_look, monotonic() + LOOK)
            phases = {member.slot.phase for member in self._workers()}
            self._served = self._served or bool(phases & SERVING)
        if self._signals in readable:
            self._obey(os.read(self._signals, 4096))

    def _patience(self) -> float | None:
        """Seconds until there is something to do without being told; None for never."""
        now = monotonic()
        deadlines = [self._next_look, *(member.kill_at for member in self._crew.values())]
        if self._next_start > now:
            deadlines.append(self._next_start)
        if self._early_deaths:  # until one has grown up
            deadlines += [due for member in self._workers() if (due := member.started + GROWN_UP + 0.1) > now]
        first = min(deadlines)
        return max(0.0, first - now) if first < inf else None

    def _obey(self, numbers: bytes) -> None:
        if signal.SIGINT in numbers or signal.SIGQUIT in numbers:
            self._stop(signal.SIGINT, 1.0)
        elif signal.SIGTERM in numbers:
            self._stop(signal.SIGTERM, self._settings.graceful_timeout)
        elif not self._stopping:
            if signal.SIGHUP in numbers:
                self._reload()
            self._resize(numbers.count(signal.SIGTTIN) - numbers.count(signal.SIGTTOU))
        if signal.SIGUSR1 in numbers:
            for member in self._crew.values():
                os.kill(member.pid, signal.SIGUSR1)

    def _reload(self) -> None:
        code = "as it was loaded at the start: --preload" if self._settings.preload else "as it is now"
        event("reloading", workers=len(self._workers()), code=code)
        for member in self._workers():
            member.outdated = True

    def _resize(self, change: int) -> None:
        wanted = min(max(self._wanted + change, 1), MOST_WORKERS)
        if wanted > self._wanted and (reason := _too_many(wanted - len(self._workers()), self._settings.threads)):
            event("not-resized", workers=self._wanted, because=reason)
            return
        if wanted != self._wanted:
            self._wanted = wanted
            event("resized", workers=wanted)

    def _stop(self, number: int, patience: float) -> None:
        event("stopping", signal=signal.Signals(number).name, patience=patience)
        self._stopping = True
        self._scoreboard.past.phase = Phase.DRAINING  # before a worker is told
        for listener in (*self._listeners, *self._admin_listeners):
            listener.close()
        self._listeners = self._admin_listeners = []
        self._dismiss(self._workers(), number, patience)


def _with_workers(settings: Settings) -> Settings:
    """Take `--workers auto` for a number."""
    advice = resources.advise(resources.cpus(), threads=settings.threads)
    event("workers-chosen", workers=advice.workers, reason=advice.reason)
    return replace(settings, workers=min(advice.workers, MOST_WORKERS))


def _within_descriptors(settings: Settings) -> Settings:
    """Raise the limit of descriptors as far as is needed, and take as many connections as then fit."""
    connections, threads = settings.max_connections, settings.threads
    resources.raise_descriptor_limit(resources.descriptors_needed(connections, threads))
    limit = resources.descriptor_limit()
    fits = resources.connections_within(limit, threads)
    if fits < threads:
        needed = resources.descriptors_needed(threads, threads)
        raise SettingError(
            f"--threads {threads}: a process may have {limit} descriptors (ulimit -n), and needs at least {needed}"
        )
    return replace(settings, max_connections=min(connections, fits))


def check(settings: Settings, root: Path = Path("/")) -> None:
    """Find out now what would otherwise fail in the middle of an upload, or end one worker after the other."""
    if settings.workers > MOST_WORKERS:
        raise SettingError(f"--workers: at most {MOST_WORKERS}")
    if reason := _too_many(settings.workers, settings.threads, root):
        raise SettingError(f"--workers {settings.workers}, --threads {settings.threads}: {reason}")
    _made("--forwarded-allow-ips", lambda: Trust(settings.forwarded_allow_ips))
    _made("--spool-dir: no file can be made there", lambda: check_folder(settings.spool_dir))
    _made("--access-logfile", lambda: check_file(settings.access_logfile))


def _too_many(workers: int, threads: int, root: Path = Path("/")) -> str:
    """Say why so many workers cannot be started; "" where they can."""
    tasks = resources.spare_tasks(root)
    needed = resources.tasks_needed(workers, threads)
    if tasks is None or needed <= tasks.left:
        return ""
    fits = resources.workers_within(tasks.left, threads)
    instead = f"have at most {fits} workers of {threads} threads" if fits else "have fewer threads"
    return (
        f"they need {needed} processes and threads, and the control group has room for {tasks.left}"
        f" (pids.max is {tasks.limit}; pids_limit in Compose): raise it, or {instead}"
    )


def _made(source: str, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (OSError, ValueError) as error:
        raise SettingError(f"{source}: {error}") from error


def _listen(flag: str, binds: tuple[str, ...], mode: int) -> list[socket.socket]:
    listeners = []
    for bind in binds:
        try:
            listeners.append(sockets.listen(bind, mode))
        except ValueError as error:
            raise SettingError(f"{flag}: {error}") from error
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {bind}: {error.strerror or error}") from error
    return listeners
