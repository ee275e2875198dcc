"""Web's end of the decoding process (decoder.py): starts it, asks it, and believes nothing it says without looking.

One decoding process for each process that asks, started with the first picture and not before: never while the module
is imported, never before a server forks its workers. Several threads may ask at once. Each picture has a socket of its
own for the answer; nothing is shared but the socket that pictures are sent on, which takes whole messages. A fork of
the asking process may go on using it.

A decoding process that has vanished is replaced by the next picture; the picture that it had is tried once more.
"""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Final

from photos.limits import FRAME
from photos.patches import PACKED_MAX

_ATTEMPTS: Final = 2
_HEAD_MAX: Final = 4096  # bytes of JSON
# Bytes of renditions, of which 2048 x 2048 pixels take less than 3 MiB each, whatever they show; and of patches.
_DATA_MAX: Final = 16 * 1024**2 + PACKED_MAX
_RECV_SIZE: Final = 256 * 1024
_BOOT: Final = "import sys; sys.path += sys.argv[1:]; from photos import decoder; decoder.serve()"
_EXIT_SECONDS: Final = 2  # seconds that it may take to end
_lock = threading.Lock()


class Unavailable(Exception):
    """There is no answer, and the picture is not to blame."""


class TimedOut(Exception):
    """There is no answer yet."""


@dataclass(frozen=True)
class Answer:
    head: dict[str, Any]
    data: bytes


class _Vanished(Exception):
    """The decoding process ended without a word."""


class _Process:
    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # No environment: it holds secrets. No site, no user's folders: only what the paths name. A session of its
            # own: a terminal's Ctrl-C is for web, which finishes what it has begun.
            self._process = subprocess.Popen(
                [interpreter(), "-I", "-S", "-B", "-c", _BOOT, *paths()],
                stdin=theirs.fileno(),
                cwd="/",
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                start_new_session=True,
            )
        self._parent = os.getpid()
        self.socket.settimeout(_EXIT_SECONDS)  # it takes pictures at once; one that does not is as good as gone

    @property
    def number(self) -> int:
        return int(self._process.pid)

    def send(self, terms: bytes, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self.socket, [terms], descriptors)
        except OSError as error:
            raise _Vanished from error

    def end(self) -> None:
        """Its children end with it."""
        self.socket.close()
        if os.getpid() != self._parent:
            self._process.returncode = 0  # another's child: not ours to wait for
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
            return
        self._process.kill()
        self._process.wait()


@cache
def paths() -> tuple[str, ...]:
    """Where this package is, and Pillow, and pillow-heif if there is one."""
    found = [find_spec(name) for name in ("PIL", "pillow_heif")]
    libraries = [str(Path(spec.origin).parent.parent) for spec in found if spec and spec.origin]
    return str(Path(__file__).parent.parent), *dict.fromkeys(libraries)


@cache
def interpreter() -> str:
    """Where a server embeds Python (uWSGI, mod_wsgi), sys.executable is that server; then the one of its folder."""
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (Path(prefix, "bin", name) for prefix in (sys.prefix, sys.base_prefix))
    found = next((str(path) for path in candidates if path.exists()), shutil.which(name))
    if not found:
        raise Unavailable(
            f"found no {name} for the decoding process, beside {sys.executable or 'this program'} or on the PATH"
        )
    return found


_process: _Process | None = None


def ask(picture: int, terms: dict[str, Any], seconds: float) -> Answer:
    """Have the file behind the descriptor `picture` decoded. Raises TimedOut after so many seconds, and Unavailable."""
    deadline = monotonic() + seconds
    for _ in range(_ATTEMPTS):
        process = _running()
        try:
            return _asked(process, picture, json.dumps(terms).encode(), deadline)
        except _Vanished:
            _forget(process)
    raise Unavailable(f"the decoding process ended twice: {interpreter()} with the paths {paths()}")


def number() -> int | None:
    """The process id; None when there is none yet."""
    return _process.number if _process else None


def _running() -> _Process:
    global _process  # noqa: PLW0603 - one for each process is the point
    with _lock:
        try:
            _process = _process or _Process()
        except OSError as error:  # no process left, no descriptor, no memory
            raise Unavailable(f"the decoding process cannot be started: {error}") from error
        return _process


def _forget(process: _Process) -> None:
    """Take it away, unless another thread was faster."""
    global _process  # noqa: PLW0603
    with _lock:
        if _process is process:
            _process = None
            process.end()


def _asked(process: _Process, picture: int, terms: bytes, deadline: float) -> Answer:
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:  # no descriptor left
        raise Unavailable("cannot create a socket for the answer") from error
    with ours:
        with theirs:
            process.send(terms, [picture, theirs.fileno()])
        return received(ours, deadline)


def received(ours: socket.socket, deadline: float) -> Answer:
    head, data = FRAME.unpack(_exactly(ours, FRAME.size, deadline))
    if head > _HEAD_MAX or data > _DATA_MAX:
        raise Unavailable("the decoding process sent an answer that is too large")
    try:
        found = json.loads(_exactly(ours, head, deadline))
    except ValueError as error:
        raise Unavailable("the decoding process sent an answer that is not JSON") from error
    return Answer(found if isinstance(found, dict) else {}, _exactly(ours, data, deadline))


def _exactly(ours: socket.socket, count: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        try:
            ours.settimeout(max(0.001, deadline - monotonic()))
            part = ours.recv(min(_RECV_SIZE, count - len(parts)))
        except TimeoutError as error:
            raise TimedOut from error
        except OSError as error:
            raise _Vanished from error
        if not part:
            raise _Vanished
        parts += part
    return bytes(parts)


def _after_fork() -> None:
    """A lock that another thread held at that moment would stay locked for ever."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


def end() -> None:
    if _process:
        _process.end()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(end)
