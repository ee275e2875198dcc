"""A program with an embedded server, run by test_embedded.py as a separate process.

`compare` reports whether the state of the process changes while it serves or afterwards; `serve` serves in the main
thread until TERM; `starve` starts more threads than fit.
"""

import atexit
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import wsgiserver


def application(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def state() -> dict[str, Any]:
    """State of the whole process."""
    umask = os.umask(0)
    os.umask(umask)
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    return {
        "handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "wakeup": wakeup,
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "umask": umask,
        "faulthandler": faulthandler.is_enabled(),
        "frozen": gc.get_freeze_count(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
        "exit handlers": atexit._ncallbacks(),  # noqa: SLF001 - no public function returns them
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "path": list(sys.path),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
    }


def compare() -> None:
    before = state()
    with wsgiserver.Server(application, bind="127.0.0.1:0,127.0.0.1:0", threads=3) as server:
        for bound in server.bound:
            with urllib.request.urlopen(f"http://{bound}/") as answer:
                assert answer.read() == b"hello"
        during = state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12, a warning about a fork beside threads
            pid = os.fork()  # fork handlers would have an effect here
            if pid == 0:
                os._exit(int(threading.active_count() != 1))
        assert os.waitpid(pid, 0)[1] == 0
    different = [name for name in before if not before[name] == during[name] == state()[name]]
    print(different or "the same")  # noqa: T201 - a program


def serve() -> None:
    server = wsgiserver.Server(application, bind="127.0.0.1:0")
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    print(server.bound[0])  # noqa: T201 - a program
    try:
        print(tuple(server.serve()))  # noqa: T201 - a program
    except KeyboardInterrupt:
        print("interrupted")  # noqa: T201 - a program
    while threading.active_count() > 1:  # a thread may have been starting at the interrupt
        time.sleep(0.01)


def starve() -> None:
    """Limit memory so that only some threads can start."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    server = wsgiserver.Server(application, bind="127.0.0.1:0", threads=200)
    threading.stack_size(8 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (200 << 20), resource.RLIM_INFINITY))
    try:
        server.serve()
    except RuntimeError as error:
        print(error)  # noqa: T201 - a program
    assert threading.active_count() == 1


if __name__ == "__main__":
    {"compare": compare, "serve": serve, "starve": starve}[sys.argv[1]]()
