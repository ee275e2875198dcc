"""One worker process: the application, its threads, and the way out.

It runs until its supervisor asks it to stop (TERM: drain; INT, QUIT: at once) or is gone. Signals arrive as bytes
in a pipe that the loop watches, so nothing happens inside a signal handler, and it does not matter which thread
the kernel chose.
"""

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from typing import Any, Final

from wsgiserver.accesslog import AccessLog, NoLog, event
from wsgiserver.connection import Connection, Service
from wsgiserver.environ import Trust, template
from wsgiserver.gateway import Application
from wsgiserver.loop import Loop
from wsgiserver.receiver import Limits
from wsgiserver.settings import Settings

CANNOT_IMPORT: Final = 3  # the exit code that tells the supervisor not to try again


def load(spec: str) -> Application:
    """Import `package.module:name` (`application` if no name is given). Raises whatever that raises."""
    module_name, _, attribute = spec.partition(":")
    target: Any = importlib.import_module(module_name)
    for part in (attribute or "application").split("."):
        target = getattr(target, part)
    if not callable(target):
        raise TypeError(f"{spec} is not callable")
    application: Application = target
    return application


def run(spec: str, settings: Settings, listeners: list[socket.socket], parent: int, ready: int) -> int:
    """Serve until told to stop; returns the exit code.

    `parent` is a descriptor that reads as ended when the supervisor is gone; a byte is written to the descriptor
    `ready` once the application is loaded.
    """
    signals = _signals_as_bytes()
    try:
        if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 - as `python -m` would have it
            sys.path.insert(0, os.getcwd())  # noqa: PTH109
        application = load(spec)
    except BaseException:  # noqa: BLE001 - the boundary of importing: whatever it is, it is told and ends the worker
        event("application-not-loaded", application=spec, error=traceback.format_exc())
        return CANNOT_IMPORT
    gc.collect()
    gc.freeze()  # what is loaded stays: later collections need not look at it, and its pages stay shared
    service = _service(application, settings)
    loop = _loop(service, settings, listeners)
    loop.watch(signals, lambda: _obey(os.read(signals, 64), service, loop))
    loop.watch(parent, lambda: _orphaned(parent, service, loop, settings.graceful_timeout))
    os.write(ready, b"\0")
    loop.run()
    service.log.flush()
    return 0


def _service(application: Application, settings: Settings) -> Service:
    return Service(
        application=application,
        log=AccessLog() if settings.access_log else NoLog(),
        trust=Trust(settings.forwarded_allow_ips),
        limits=Limits(settings.max_body, settings.spool_memory, settings.spool_dir),
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        keep_alive=settings.keep_alive,
        send_timeout=settings.send_timeout,
    )


def _loop(service: Service, settings: Settings, listeners: list[socket.socket]) -> Loop:
    environs = {
        listener.fileno(): template(
            *_server_name(listener), sys.stderr, threads=settings.threads > 1, processes=settings.workers > 1
        )
        for listener in listeners
    }

    def accept(sock: socket.socket, address: Any, listener: socket.socket, now: float) -> Connection:
        return Connection(sock, address, environs[listener.fileno()], service, now)

    return Loop(listeners, accept, threads=settings.threads, handoff=settings.handoff, idle=service.log.flush)


def _server_name(listener: socket.socket) -> tuple[str, int]:
    name = listener.getsockname()
    return (name[0], name[1]) if isinstance(name, tuple) else ("localhost", 80)


def _signals_as_bytes() -> int:
    """Have TERM, INT and QUIT written to a pipe; returns the end to read."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's business
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return reading


def _obey(numbers: bytes, service: Service, loop: Loop) -> None:
    if signal.SIGINT in numbers or signal.SIGQUIT in numbers:
        service.log.flush()
        os._exit(0)
    if signal.SIGTERM in numbers:
        _drain(service, loop)


def _orphaned(parent: int, service: Service, loop: Loop, patience: float) -> None:
    """The supervisor is gone, and nobody will ask this process to stop: it stops by itself."""
    os.read(parent, 1)
    loop.unwatch(parent)
    event("supervisor-gone")
    signal.setitimer(signal.ITIMER_REAL, patience)  # nobody else will cut off what takes too long
    _drain(service, loop)


def _drain(service: Service, loop: Loop) -> None:
    service.draining = True
    loop.drain()
