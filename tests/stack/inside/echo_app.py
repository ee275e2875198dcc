"""The echo application: answers with the request that it got, and remembers it.

It runs in a container behind the real nginx (see echo.py), in one process of wsgiserver or gunicorn, because it
remembers in memory. `/_seen/KEY` returns the requests with a KEY, the first part of a path (after /api/ or /static/),
and forgets them; `/_so_far/KEY` does not forget. A request without `length` is still being read.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Start = Callable[[str, list[tuple[str, str]]], object]
BODY_SHOWN = 4096  # bytes of a body in the answer
KILLED = Path("/tmp/killed")
LATE = Path("/tmp/late")

_seen: dict[str, list[dict[str, Any]]] = {}
_lock = threading.Lock()


def application(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    path = environ["PATH_INFO"].removeprefix("/api").removeprefix("/static")
    key, _, rest = path.removeprefix("/").partition("/")
    special = SPECIAL.get(key)
    if special:
        return special(rest, start_response)
    strings = {name: value for name, value in environ.items() if isinstance(value, str)}
    request = {"target": environ["RAW_URI"], "method": environ["REQUEST_METHOD"], "environ": strings}
    with _lock:
        _seen.setdefault(key, []).append(request)
    body = receive(environ)
    with _lock:
        request |= body
    return answer(request, start_response)


def seen(key: str, start_response: Start) -> Iterable[bytes]:
    with _lock:
        return answer(_seen.pop(key, []), start_response)


def so_far(key: str, start_response: Start) -> Iterable[bytes]:
    with _lock:
        return answer(_seen.get(key, []), start_response)


def original(name: str, start_response: Start) -> Iterable[bytes]:
    """Answers as Django does for a photo."""
    fields = [("X-Accel-Redirect", f"/_originals/{name}"), ("Content-Type", "image/jpeg")]
    start_response("200 OK", [*fields, ("Content-Security-Policy", "sandbox"), ("X-Content-Type-Options", "nosniff")])
    return []


def private(name: str, start_response: Start) -> Iterable[bytes]:
    """Answers as a view of another project does for a private file: X-Accel-Redirect only."""
    start_response("200 OK", [("X-Accel-Redirect", f"/_private/{name}")])
    return []


def late(seconds: str, start_response: Start) -> Iterable[bytes]:
    """Answers late. LATE exists from the first such request on."""
    LATE.touch()
    time.sleep(float(seconds))
    return answer({}, start_response)


def kill(key: str, _: Start) -> Iterable[bytes]:
    """Kills the process, as a picture that takes all memory does, and adds a line to KILLED."""
    with KILLED.open("a") as file:
        file.write(f"{key}\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def kill_once(key: str, start_response: Start) -> Iterable[bytes]:
    """The same, unless this key has killed a process already."""
    is_known = KILLED.exists() and key in KILLED.read_text()
    return answer({"killed": key}, start_response) if is_known else kill(key, start_response)


SPECIAL: dict[str, Callable[[str, Start], Iterable[bytes]]] = {
    "_seen": seen,
    "_so_far": so_far,
    "_original": original,
    "_private": private,
    "_late": late,
    "_kill": kill,
    "_kill_once": kill_once,
}


def receive(environ: dict[str, Any]) -> dict[str, Any]:
    """Read the body to its end, whatever its length field says. A server may raise if the body is malformed."""
    try:
        body = environ["wsgi.input"].read()
    except Exception as error:  # noqa: BLE001 - each server has its own, and the name is the answer
        return {"length": -1, "body": type(error).__name__}
    return {"length": len(body), "body": body[:BODY_SHOWN].decode("latin-1")}


def answer(value: object, start_response: Start) -> list[bytes]:
    text = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]
