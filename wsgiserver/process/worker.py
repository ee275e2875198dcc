"""One worker process: the application, its threads, and the way out.

It runs until its supervisor asks it to stop (TERM: drain; INT, QUIT: at once) or is gone. Signals arrive as bytes
in a pipe that the loop watches, so nothing happens inside a signal handler, and it does not matter which thread
the kernel chose.
"""

import contextlib
import faulthandler
import os
import signal
from functools import partial
from random import randint
from typing import Final, NamedTuple

from wsgiserver.eventloop.loop import Hooks, Loop
from wsgiserver.eventloop.poller import pipe
from wsgiserver.process.importing import CANNOT_IMPORT, ApplicationOrSpec, freeze, prepared
from wsgiserver.process.reloader import Reloader, import_error_app
from wsgiserver.process.wiring import Listener, context_for, loop_for, within_open_descriptors
from wsgiserver.serving.context import ServerContext
from wsgiserver.settings import Settings
from wsgiserver.telemetry import resources
from wsgiserver.telemetry.log import event
from wsgiserver.telemetry.metrics import Metrics
from wsgiserver.telemetry.scoreboard import Phase, Slot

OBEYED: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT),
    *(signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1),
)
REPORT_INTERVAL: Final = 1.0  # seconds between a busy worker's reports, and checks whether it has served enough


class ParentLink(NamedTuple):
    """What ties a worker to its supervisor."""

    parent: int  # descriptor: reads as ended when the supervisor is gone
    reports: int  # descriptor: a byte written to it makes the supervisor look at the scoreboard
    slot: Slot


class WorkerStatus:
    """What the supervisor gets to see of a worker, through its slot. What begins with `on_` is a hook of the loop."""

    def __init__(self, link: ParentLink, context: ServerContext, settings: Settings) -> None:
        self._slot = link.slot
        self._heartbeats = link.slot.heartbeats
        self._reports = link.reports
        self._context = context
        self._next_report = 0.0
        self._is_time = False  # to check whether it has served enough
        jitter = randint(0, settings.max_requests_jitter)  # noqa: S311 - so that workers do not all retire at once
        self._max_requests = settings.max_requests and settings.max_requests + jitter
        self._max_memory = settings.max_memory
        if self._max_memory and resources.resident() >= self._max_memory:  # each would be replaced at once, for ever
            event("max-memory-ignored", resident_bytes=resources.resident(), max_memory_bytes=self._max_memory)
            self._max_memory = 0

    def hooks(self) -> Hooks:
        return Hooks(
            on_idle=self.on_idle,
            on_wakeup=self.on_wakeup,
            on_too_many_stuck=partial(self.retire, "too many threads are stuck in the application"),
            on_blocked=self.on_blocked,
        )

    def on_idle(self, loop: Loop) -> None:
        """The loop is about to wait."""
        self._context.log.flush()
        if self._context.metrics is not None:
            self._publish(self._context.metrics, loop)
        if self._is_time:
            self._is_time = False
            self._consider(loop.team.calls)
        self._heartbeats[0] = 0.0

    def _publish(self, metrics: Metrics, loop: Loop) -> None:
        team = loop.team
        metrics.gauges(
            connections=len(loop.connections),
            queued=len(loop.postponed),
            busy=team.busy,
            stuck=team.stuck,
        )
        metrics.totals(accepted=loop.accepted, handoffs=team.handoffs, dropped=self._context.log.lost)
        self._slot.publish()

    def on_wakeup(self, now: float) -> None:
        """The loop waits no more. Now and then the supervisor is told, which sleeps while all workers do."""
        self._heartbeats[0] = now
        if now >= self._next_report:
            self._next_report = now + REPORT_INTERVAL
            self._is_time = True
            self._report()

    def on_blocked(self, now: float) -> None:
        """The loop has to wait for the application; called from the watchdog's thread."""
        self._heartbeats[1] = now

    def become(self, phase: Phase) -> None:
        """Go on to `phase`, and let the supervisor know. From any thread."""
        if self._slot.advance(phase):
            self._report()

    def _consider(self, requests: int) -> None:
        if self._max_requests and requests >= self._max_requests:
            self.retire(f"it has served {requests} requests")
        elif self._max_memory and (memory := resources.resident()) >= self._max_memory:
            self.retire(f"it takes {memory} bytes of memory")

    def retire(self, reason: str) -> None:
        """Ask to be replaced."""
        if self._slot.phase is Phase.READY:
            event("worker-retires", reason=reason)
            self.become(Phase.RETIRING)

    def _report(self) -> None:
        with contextlib.suppress(OSError):  # the pipe is full of reports already, or nobody is left to read them
            os.write(self._reports, b"\0")


def run(application: ApplicationOrSpec, settings: Settings, listeners: list[Listener], link: ParentLink) -> int:
    """Serve an application, or the one to be imported by that name, until told to stop; returns the exit code.

    It is the first in a new process to be called, with the signals it obeys blocked.
    """
    faulthandler.enable(file=2)  # SIGABRT, from a supervisor that has lost patience, shows the stack of every thread
    signals = _signals_as_bytes()
    reloader = Reloader() if settings.reload else None
    failure = None
    result = prepared(application, settings.worker_init)
    if isinstance(result, BaseException):
        if reloader is None:
            return CANNOT_IMPORT
        failure, result = result, import_error_app(result)
    freeze()
    context = context_for(result, settings, Metrics(link.slot) if settings.admin_bind else None)
    status = WorkerStatus(link, context, settings)
    loop = loop_for(context, within_open_descriptors(settings), listeners, status.hooks())
    loop.add_source(signals, lambda: _obey(os.read(signals, 64), context, loop, status))
    loop.add_source(link.parent, lambda: _orphaned(link.parent, context, loop, status, settings.graceful_timeout))
    try:
        loop.start()
    except RuntimeError as error:  # no more threads: with fewer than it should have it would look well, and be slow
        event("threads-not-started", threads=settings.threads, error=str(error), reason="pids.max, or no memory")
        return 1
    event("worker-ready")
    status.become(Phase.READY)
    if reloader is not None:
        reloader.start(partial(_renew, status), failure)
    loop.run()
    context.log.close()
    return 0


def _renew(status: WorkerStatus, file: str) -> None:
    """A file has changed: have another worker at once, which clients wait for, and end."""
    event("file-changed", file=file)
    status.become(Phase.DRAINING)
    os.kill(os.getpid(), signal.SIGTERM)


def _signals_as_bytes() -> int:
    """Have signals written to a pipe, and let them come; returns the end to read."""
    reading, writing = pipe()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in OBEYED:
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    block, unblock = (partial(signal.pthread_sigmask, how, OBEYED) for how in (signal.SIG_BLOCK, signal.SIG_UNBLOCK))
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=_forget_signals)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reading


def _forget_signals() -> None:
    """In a process that the application forks: its signals are its own, and nothing that this one should see."""
    signal.set_wakeup_fd(-1)
    for number in OBEYED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OBEYED)


def _obey(numbers: bytes, context: ServerContext, loop: Loop, status: WorkerStatus) -> None:
    if signal.SIGINT in numbers or signal.SIGQUIT in numbers:
        context.log.flush()
        os._exit(0)
    if signal.SIGUSR1 in numbers:
        context.log.reopen()
    if signal.SIGTERM in numbers:
        _drain(context, loop, status)


def _orphaned(parent: int, context: ServerContext, loop: Loop, status: WorkerStatus, patience: float) -> None:
    """The supervisor is gone, and nobody will ask this process to stop: it stops by itself."""
    os.read(parent, 1)
    loop.remove_source(parent)
    event("supervisor-gone")
    signal.setitimer(signal.ITIMER_REAL, patience)  # nobody else will cut off what takes too long
    _drain(context, loop, status)


def _drain(context: ServerContext, loop: Loop, status: WorkerStatus) -> None:
    status.become(Phase.DRAINING)
    context.drain()
    loop.drain()
