"""The application of the tests' server processes. The path selects the action, as in /sleep-0.5 or /big-1000."""

import atexit
import ctypes
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Start = Callable[..., Callable[[bytes], None]]
Environ = dict[str, Any]

digests: list[str] = []  # of the bodies that this process received
retained: list[bytes] = []
calls = itertools.count()


def hello(_: Environ, __: str) -> Iterable[bytes]:
    return [b"hello"]


def upload(environ: Environ, _: str) -> Iterable[bytes]:
    """Read the body as Django does and report its size and digest."""
    digest, left, size = hashlib.sha256(), int(environ.get("CONTENT_LENGTH") or 0), 0
    while left and (block := environ["wsgi.input"].read(min(65536, left))):
        digest.update(block)
        size += len(block)
        left -= len(block)
    digests.append(digest.hexdigest())
    return [json.dumps({"size": size, "sha256": digests[-1], "rest": len(environ["wsgi.input"].read())}).encode()]


def uploads(_: Environ, __: str) -> Iterable[bytes]:
    return [json.dumps(digests).encode()]


def sleep(_: Environ, seconds: str) -> Iterable[bytes]:
    time.sleep(float(seconds))
    return [b"slept"]


def wait(_: Environ, __: str) -> Iterable[bytes]:
    """Block until the test opens the gate: a slow view whose duration the test controls."""
    gate = Path(os.environ["TEST_GATE"])
    (gate / f"waiting-{os.getpid()}-{next(calls)}").touch()
    while not (gate / "open").exists():
        time.sleep(0.01)
    return [b"waited"]


def files(environ: Environ, count: str) -> Iterable[bytes]:
    """Wait as above, then open the descriptors that a request needs: a database, its journal, an output file."""
    wait(environ, "")
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(count))]
    for fd in opened:
        os.close(fd)
    return [b"opened"]


def big(_: Environ, size: str) -> Iterable[bytes]:
    return [b"x" * int(size)]


def stream(_: Environ, size: str) -> Iterator[bytes]:
    for _block in range(int(size) // 65536):
        yield b"x" * 65536


def pid(_: Environ, __: str) -> Iterable[bytes]:
    return [str(os.getpid()).encode()]


def show(environ: Environ, _: str) -> Iterable[bytes]:
    return [json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()]


def fork(_: Environ, seconds: str) -> Iterable[bytes]:
    """Leave a child process that has copies of all descriptors, as multiprocessing does."""
    child = os.fork()
    if child == 0:
        time.sleep(float(seconds))
        os._exit(0)
    return [str(child).encode()]


def fail(_: Environ, __: str) -> Iterable[bytes]:
    raise ValueError("on purpose")


def keep(_: Environ, size: str) -> Iterable[bytes]:
    """Allocate memory and never free it."""
    retained.append(b"x" * int(size))
    return [b"kept"]


def hang(_: Environ, seconds: str) -> Iterable[bytes]:
    """Hold the GIL, as a C extension can: PyDLL does not release it."""
    ctypes.PyDLL(None).sleep(int(seconds))
    return [b"slept"]


def leave(_: Environ, __: str) -> Iterable[bytes]:
    sys.exit(5)


ROUTES: dict[str, Callable[[Environ, str], Iterable[bytes]]] = {
    "": hello,
    "upload": upload,
    "uploads": uploads,
    "sleep": sleep,
    "wait": wait,
    "files": files,
    "big": big,
    "stream": stream,
    "pid": pid,
    "environ": show,
    "fork": fork,
    "fail": fail,
    "leave": leave,
    "keep": keep,
    "hang": hang,
}


def application(environ: Environ, start_response: Start) -> Iterable[bytes]:
    name, _, argument = environ["PATH_INFO"].strip("/").partition("-")
    blocks = ROUTES[name](environ, argument)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return blocks


def echo(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Another application: return the request as JSON."""
    echoed = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "minor": int(environ["SERVER_PROTOCOL"][-1]),
        "body": environ["wsgi.input"].read().decode("latin-1"),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(echoed).encode()]


def record_exit(path: str) -> None:
    with open(path, "a") as file:  # noqa: PTH123 - one short appended write: lines of two processes do not mix
        file.write(f"{os.getpid()}\n")


if path := os.environ.get("TEST_EXIT_FILE"):
    atexit.register(record_exit, path)

if digits := os.environ.get("TEST_CRASH_WITH"):  # a worker that dies before its first request
    os._exit(int(digits))
