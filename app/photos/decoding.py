"""The client of the decoding process (decoder.py): starts it, sends it pictures, and checks what it answers.

Each web process has one decoding process, which is started for the first picture: not when the module is imported, and
not before a server forks its workers. Several threads may use it at once. Each picture has a separate socket for the
answer; only the socket on which pictures are sent is shared, and it transfers whole messages. A fork of the web process
can continue to use it.

If the decoding process ends, the next picture starts a new one; its current picture is tried once more.
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
# Bytes of renditions and patches. A rendition of 2048 x 2048 pixels takes less than 3 MiB, whatever it shows.
_DATA_MAX: Final = 16 * 1024**2 + PACKED_MAX
_RECV_SIZE: Final = 256 * 1024
_BOOT: Final = "import sys; sys.path += sys.argv[1:]; from photos import decoder; decoder.serve()"
_EXIT_SECONDS: Final = 2  # seconds that the process may take to exit, or to accept a picture
_lock = threading.Lock()


class Unavailable(Exception):
    """No answer arrived, and the picture is not the cause."""


class TimedOut(Exception):
    """No answer has arrived yet."""


@dataclass(frozen=True)
class Answer:
    head: dict[str, Any]
    data: bytes


class _Vanished(Exception):
    """The decoding process ended without an answer."""


class _Process:
    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # No environment, because it has secrets. No site or user folders, only the given paths. A separate
            # session, so that Ctrl-C in a terminal reaches only the web process, which finishes its requests.
            self._process = subprocess.Popen(
                [interpreter(), "-I", "-S", "-B", "-c", _BOOT, *paths()],
                stdin=theirs.fileno(),
                cwd="/",
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                start_new_session=True,
            )
        self._parent = os.getpid()
        self.socket.settimeout(_EXIT_SECONDS)  # it accepts pictures immediately; otherwise it counts as ended

    @property
    def number(self) -> int:
        return int(self._process.pid)

    def send(self, terms: bytes, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self.socket, [terms], descriptors)
        except OSError as error:
            raise _Vanished from error

    def end(self) -> None:
        """End the process; its children end with it."""
        self.socket.close()
        if os.getpid() != self._parent:
            self._process.returncode = 0  # the child of another process, which cannot be waited for
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
            return
        self._process.kill()
        self._process.wait()


@cache
def paths() -> tuple[str, ...]:
    """Return the folders of this package, of Pillow, and of pillow-heif if installed."""
    found = [find_spec(name) for name in ("PIL", "pillow_heif")]
    libraries = [str(Path(spec.origin).parent.parent) for spec in found if spec and spec.origin]
    return str(Path(__file__).parent.parent), *dict.fromkeys(libraries)


@cache
def interpreter() -> str:
    """Return the interpreter. If a server embeds Python (uWSGI, mod_wsgi), sys.executable may be that server."""
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
    """Have the file with the descriptor `picture` decoded. Raises TimedOut after `seconds`, and Unavailable."""
    deadline = monotonic() + seconds
    for _ in range(_ATTEMPTS):
        process = _running()
        try:
            return _asked(process, picture, json.dumps(terms).encode(), deadline)
        except _Vanished:
            _forget(process)
    raise Unavailable(f"the decoding process ended twice: {interpreter()} with the paths {paths()}")


def number() -> int | None:
    """Return the process id; None if no process was started."""
    return _process.number if _process else None


def _running() -> _Process:
    global _process  # noqa: PLW0603 - one for the whole process is intended
    with _lock:
        try:
            _process = _process or _Process()
        except OSError as error:  # no more processes, descriptors or memory
            raise Unavailable(f"the decoding process cannot be started: {error}") from error
        return _process


def _forget(process: _Process) -> None:
    """End the process, unless another thread was faster."""
    global _process  # noqa: PLW0603
    with _lock:
        if _process is process:
            _process = None
            process.end()


def _asked(process: _Process, picture: int, terms: bytes, deadline: float) -> Answer:
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:  # no more descriptors
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
    """Replace the lock: if another thread held it during the fork, it would stay locked forever."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


def end() -> None:
    if _process:
        _process.end()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(end)
