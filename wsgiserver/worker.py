"""One worker process: the application, its threads, and the way out.

It runs until its supervisor asks it to stop (TERM: drain; INT, QUIT: at once) or is gone. Signals arrive as bytes
in a pipe that the loop watches, so nothing happens inside a signal handler, and it does not matter which thread
the kernel chose.
"""

import contextlib
import faulthandler
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import traceback
from dataclasses import replace
from functools import partial
from random import randint
from typing import Any, Final, NamedTuple

from wsgiserver import resources
from wsgiserver.accesslog import AccessLog, NoLog, event
from wsgiserver.body import Budget
from wsgiserver.connection import Connection
from wsgiserver.environ import Trust, template
from wsgiserver.gateway import Application
from wsgiserver.loop import Capacity, Hooks, Loop
from wsgiserver.metrics import Metrics
from wsgiserver.outbox import SharedBudget
from wsgiserver.proxied import ProxiedConnection
from wsgiserver.receiver import Limits
from wsgiserver.reloader import Reloader, apology
from wsgiserver.scoreboard import Phase, Slot
from wsgiserver.service import Service
from wsgiserver.settings import Settings

OBEYED: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT),
    *(signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1),
)
CANNOT_IMPORT: Final = 3  # the exit code that tells the supervisor not to try again
What = str | Application  # to serve: the name of what is to be imported, or the callable itself
LOOK: Final = 1.0  # seconds between a busy worker's signs of life, and looks at whether it has served enough


class Lifeline(NamedTuple):
    """What ties a worker to its supervisor."""

    parent: int  # descriptor: reads as ended when the supervisor is gone
    reports: int  # descriptor: a byte written to it makes the supervisor look at the scoreboard
    slot: Slot


class Pulse:
    """What the supervisor gets to see of a worker, through its slot. `idle` and `woke` are hooks of `loop`."""

    loop: Loop  # to be set before it runs

    def __init__(self, lifeline: Lifeline, service: Service, settings: Settings) -> None:
        self._slot = lifeline.slot
        self._signs = lifeline.slot.signs
        self._reports = lifeline.reports
        self._service = service
        self._next_look = 0.0
        self._is_time = False  # to look whether it has served enough
        jitter = randint(0, settings.max_requests_jitter)  # noqa: S311 - so that workers do not all retire at once
        self._max_requests = settings.max_requests and settings.max_requests + jitter
        self._max_memory = settings.max_memory
        if self._max_memory and resources.resident() >= self._max_memory:  # each would be replaced at once, for ever
            event("max-memory-ignored", resident=resources.resident(), max_memory=self._max_memory)
            self._max_memory = 0

    def idle(self) -> None:
        """The loop is about to wait."""
        self._service.log.flush()
        if self._service.metrics is not None:
            self._publish(self._service.metrics, self.loop)
        if self._is_time:
            self._is_time = False
            self._consider(self.loop.baton.calls)
        self._signs[0] = 0.0

    def _publish(self, metrics: Metrics, loop: Loop) -> None:
        baton = loop.baton
        metrics.gauges(
            connections=len(loop.connections),
            queued=len(loop.postponed),
            busy=baton.busy,
            stuck=baton.stuck,
        )
        metrics.totals(accepted=loop.accepted, passes=baton.passes, dropped=self._service.log.lost)
        self._slot.publish()

    def woke(self, now: float) -> None:
        """The loop waits no more. Now and then the supervisor is told, which sleeps while all workers do."""
        self._signs[0] = now
        if now >= self._next_look:
            self._next_look = now + LOOK
            self._is_time = True
            self._report()

    def held(self, now: float) -> None:
        """The loop has to wait for the application; called from the watchdog's thread."""
        self._signs[1] = now

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


def load(spec: str) -> Application:
    """Import `package.module:name` (`application` if no name is given). Raises whatever that raises."""
    here = os.getcwd()  # noqa: PTH109 - a string, as sys.path has them
    if "" not in sys.path and here not in sys.path:  # as `python -m` would have it
        sys.path.insert(0, here)
    module_name, _, attribute = spec.partition(":")
    target: Any = importlib.import_module(module_name)
    for part in (attribute or "application").split("."):
        target = getattr(target, part)
    if not callable(target):
        raise TypeError(f"{spec} is not callable")
    application: Application = target
    return application


def loaded(spec: str) -> Application | BaseException:
    """As `load`, but what goes wrong is logged, and returned."""
    try:
        return load(spec)
    except BaseException as error:  # noqa: BLE001 - the boundary of importing, whatever it is that fails
        event("application-not-loaded", application=spec, error=traceback.format_exc())
        return error


def preload(spec: str) -> Application | None:
    """Load the application in the process that will be the parent of all workers; None where that fails."""
    application = loaded(spec)
    if isinstance(application, BaseException):
        return None
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        event("preload-threads", threads=", ".join(threads), because="workers are made without them")
    gc.collect()
    gc.freeze()
    return application


def run(application: What, settings: Settings, listeners: list[socket.socket], lifeline: Lifeline) -> int:
    """Serve an application, or the one to be imported by that name, until told to stop; returns the exit code.

    It is the first in a new process to be called, with the signals it obeys blocked.
    """
    faulthandler.enable(file=2)  # SIGABRT, from a supervisor that has lost patience, shows the stack of every thread
    signals = _signals_as_bytes()
    reloader = Reloader() if settings.reload else None
    failure = None
    if isinstance(application, str):
        result = loaded(application)
        if isinstance(result, BaseException):
            if reloader is None:
                return CANNOT_IMPORT
            failure, result = result, apology(result)
        application = result
    gc.collect()
    gc.freeze()  # what is loaded stays: later collections need not look at it, and its pages stay shared
    service = _service(application, settings, Metrics(lifeline.slot) if settings.admin_bind else None)
    pulse = Pulse(lifeline, service, settings)
    loop = _loop(service, _within_descriptors(settings), listeners, pulse)
    loop.watch(signals, lambda: _obey(os.read(signals, 64), service, loop, pulse))
    loop.watch(lifeline.parent, lambda: _orphaned(lifeline.parent, service, loop, pulse, settings.graceful_timeout))
    try:
        loop.start()
    except RuntimeError as error:  # no more threads: with fewer than it should have it would look well, and be slow
        event("threads-not-started", threads=settings.threads, error=str(error), because="pids.max, or no memory")
        return 1
    event("worker-ready")
    pulse.become(Phase.READY)
    if reloader is not None:
        reloader.start(partial(_renew, pulse), failure)
    loop.run()
    service.log.close()
    return 0


def _within_descriptors(settings: Settings) -> Settings:
    """Now that it is loaded, look what the application keeps open: it may be more than was reckoned with."""
    limit, rest = resources.descriptor_limit(), resources.descriptors_open() + resources.THREAD
    fits = max(1, resources.connections_within(limit, settings.threads, max(rest, resources.REST)))
    if fits >= settings.max_connections:
        return settings
    event("max-connections-lowered", wanted=settings.max_connections, fits=fits, descriptors=limit, open=rest)
    return replace(settings, max_connections=fits)


def _renew(pulse: Pulse, file: str) -> None:
    """A file has changed: have another worker at once, which clients wait for, and end."""
    event("file-changed", file=file)
    pulse.become(Phase.DRAINING)
    os.kill(os.getpid(), signal.SIGTERM)


def _service(application: Application, settings: Settings, metrics: Metrics | None) -> Service:
    return Service(
        application=application,
        log=AccessLog(settings.access_logfile) if settings.access_log else NoLog(),
        trust=Trust(settings.forwarded_allow_ips),
        limits=Limits(settings.max_body, settings.spool_memory, settings.spool_dir, Budget(settings.spool_budget)),
        head_timeout=settings.head_timeout,
        body_idle_timeout=settings.body_idle_timeout,
        body_timeout=settings.body_timeout,
        body_rate=settings.body_rate,
        keep_alive=settings.keep_alive,
        send_timeout=settings.send_timeout,
        answers=SharedBudget(settings.send_budget),
        heads=Budget(settings.head_budget),
        metrics=metrics,
    )


def _loop(service: Service, settings: Settings, listeners: list[socket.socket], pulse: Pulse) -> Loop:
    environs = {
        listener.fileno(): template(
            *_server_name(listener), sys.stderr, threads=settings.threads > 1, processes=settings.workers > 1
        )
        for listener in listeners
    }

    kind = ProxiedConnection if settings.proxy_protocol else Connection

    def accept(sock: socket.socket, address: Any, listener: socket.socket, now: float) -> Connection:
        return kind(sock, address, environs[listener.fileno()], service, now)

    capacity = Capacity(
        settings.threads,
        settings.handoff,
        settings.timeout,
        settings.max_connections,
        settings.max_connections_per_address,
    )
    overwhelmed = partial(pulse.retire, "too many threads are stuck in the application")
    full = partial(setattr, service, "is_full")
    hooks = Hooks(pulse.idle, pulse.woke, overwhelmed, pulse.held, lambda: service.heads.left < 0, full)
    pulse.loop = Loop(listeners, accept, capacity, hooks)
    return pulse.loop


def _server_name(listener: socket.socket) -> tuple[str, int]:
    name = listener.getsockname()
    return (name[0], name[1]) if isinstance(name, tuple) else ("localhost", 80)


def pipe() -> tuple[int, int]:
    """Make a pipe neither end of which blocks (`os.pipe2` is not everywhere)."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


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


def _obey(numbers: bytes, service: Service, loop: Loop, pulse: Pulse) -> None:
    if signal.SIGINT in numbers or signal.SIGQUIT in numbers:
        service.log.flush()
        os._exit(0)
    if signal.SIGUSR1 in numbers:
        service.log.reopen()
    if signal.SIGTERM in numbers:
        _drain(service, loop, pulse)


def _orphaned(parent: int, service: Service, loop: Loop, pulse: Pulse, patience: float) -> None:
    """The supervisor is gone, and nobody will ask this process to stop: it stops by itself."""
    os.read(parent, 1)
    loop.unwatch(parent)
    event("supervisor-gone")
    signal.setitimer(signal.ITIMER_REAL, patience)  # nobody else will cut off what takes too long
    _drain(service, loop, pulse)


def _drain(service: Service, loop: Loop, pulse: Pulse) -> None:
    pulse.become(Phase.DRAINING)
    service.draining = True
    loop.drain()
