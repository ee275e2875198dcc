"""The decoding process: it forks a child with separate limits for each picture, so that no picture affects others.

    web process    --- picture's descriptor, terms --->  this process  --- fork --->  a child: decodes, answers, exits
          ^---------------------- answer: one frame, over a separate socket for the picture ------------------'

If a picture makes its child use too much memory or time, or crashes a C library, the kernel ends only that child. This
process, which reads nothing of the picture, reports how the child ended. The child's memory returns to the system.
Forking a small process with one thread takes two milliseconds; starting a new interpreter takes 100.

It imports the standard library, Pillow and the pure modules of this package, never Django, and gets no settings and no
secrets. decoding.py starts it. It ends, with its children, when the last web process closes its end of the socket.

A container decodes at most one large picture at a time, and a few small ones. File locks on modules of this package
enforce this: all processes of a container share these files, no process can write to them, and the kernel releases a
lock when its holder ends.
"""

import ctypes
import fcntl
import gc
import io
import json
import os
import resource
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, NoReturn

from photos import estimate, patches, pixels, position
from photos.errors import DecoderBusy, ImageTooComplex, Problem
from photos.kinds import BY_NAME, Kind
from photos.limits import CPU_MAX, FRAME, MEMORY_MAX, SMALL

# Bytes of address space beyond the estimate: thumbnail, libraries, waste of the heap.
_MEMORY_MARGIN: Final = 48 * 1024**2
_DESCRIPTORS: Final = 16  # a child needs five
_FOLDER: Final = Path(__file__).parent
LARGE_LOCK: Final = _FOLDER / "images.py"
_SMALL_LOCKS: Final = tuple(_FOLDER / name for name in ("estimate.py", "pixels.py"))
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_M_ARENA_MAX: Final = -8  # mallopt(3)
_TIMER_MIN: Final = 0.001  # seconds
_STATM: Final = Path("/proc/self/statm")
_ASSUMED_ADDRESS_SPACE: Final = 128 * 1024**2  # bytes, if there is no /proc; on amd64 it is about 70 MiB
_libc = ctypes.CDLL(None)


@dataclass
class _Child:
    process: int
    client: socket.socket
    alive: int  # one end of a pipe, which closes when the child ends


# --- the process that forks -------------------------------------------------------------------------------------------


def serve() -> NoReturn:
    """Read pictures from the socket on standard input, until the other end closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # the web process first finishes its requests, then closes the socket
    pixels.prepare()
    with suppress(AttributeError):  # not glibc
        _libc.mallopt(_M_ARENA_MAX, 1)  # a thread's heap would count 128 MiB of the memory limit
    requests = socket.socket(fileno=os.dup(0))
    _silence()
    gc.freeze()  # loaded modules stay shared with the children
    children: list[_Child] = []
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is requests:
                    _next_picture(requests, children, selector)
                else:
                    _ended(key.data, children, selector)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _next_picture(requests: socket.socket, children: list[_Child], selector: selectors.BaseSelector) -> None:
    try:
        terms, descriptors, _, _ = socket.recv_fds(requests, 4096, 2)
    except OSError:
        terms, descriptors = b"", []
    if not terms:
        _exit(children)
    picture, reply = descriptors
    client = socket.socket(fileno=reply)
    try:
        child = _forked(json.loads(terms), picture, client, [requests, *(child.client for child in children)])
    except OSError:  # no more processes, or no memory for one
        _send(
            client,
            *_problem(
                DecoderBusy(
                    "The server cannot decode another picture at the moment. Nothing was stored. Try again in a moment."
                )
            ),
        )
        client.close()
    else:
        children.append(child)
        selector.register(child.alive, selectors.EVENT_READ, child)
    finally:
        os.close(picture)


def _exit(children: list[_Child]) -> NoReturn:
    for child in children:
        os.kill(child.process, signal.SIGKILL)
    os._exit(0)


def _forked(terms: dict[str, Any], picture: int, client: socket.socket, others: list[socket.socket]) -> _Child:
    alive, end = os.pipe()
    server = os.getpid()
    try:
        process = os.fork()
    except OSError:
        os.close(alive)
        os.close(end)
        raise
    if process == 0:
        _run_child(server, terms, picture, client, others)
    os.close(end)
    return _Child(process, client, alive)


def _ended(child: _Child, children: list[_Child], selector: selectors.BaseSelector) -> None:
    """Report how the child ended, if it failed."""
    selector.unregister(child.alive)
    os.close(child.alive)
    children.remove(child)
    status = os.waitstatus_to_exitcode(os.waitpid(child.process, 0)[1])
    if status:
        _send(child.client, {"ended": status})
    child.client.close()


def _send(client: socket.socket, head: dict[str, Any], data: bytes = b"") -> None:
    encoded = json.dumps(head).encode()
    with suppress(OSError):  # the other end has closed the socket
        client.sendall(FRAME.pack(len(encoded), len(data)) + encoded + data)


def _problem(problem: Problem) -> tuple[dict[str, Any]]:
    return ({"problem": problem.code, "detail": str(problem)},)


# --- a child: one picture ---------------------------------------------------------------------------------------------


class _PositionedFile(io.RawIOBase):
    """A file with a separate position, because the descriptor shares its position with the process that sent it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position


def _run_child(
    server: int, terms: dict[str, Any], picture: int, client: socket.socket, others: list[socket.socket]
) -> NoReturn:
    status = 1
    try:
        for other in others:
            other.close()
        _bind_to(server)
        if is_limited(terms):
            _send(client, *_answer(io.BufferedReader(_PositionedFile(picture)), terms))
        else:
            _send(
                client,
                *_problem(
                    DecoderBusy("The server cannot set limits for decoding, so it decodes nothing. Nothing was stored.")
                ),
            )
        status = 0
    finally:
        os._exit(status)


def _bind_to(server: int) -> None:
    """End when the parent ends; and let the kernel choose this process first if the machine runs out of memory."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:  # the parent has already ended
        os._exit(1)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def is_limited(terms: dict[str, Any]) -> bool:
    """Set the limits; return whether it worked. Without limits nothing is decoded, and the picture is not the cause."""
    try:
        limit(terms)
    except (OSError, ValueError):
        return False
    return True


def limit(terms: dict[str, Any]) -> None:
    # SIGALRM ends the process, even inside C code. Zero would disable the timer.
    signal.setitimer(signal.ITIMER_REAL, max(_TIMER_MIN, terms["wall"]))
    _lower(resource.RLIMIT_CPU, CPU_MAX, CPU_MAX + 1)  # SIGXCPU
    _lower(resource.RLIMIT_CORE, 0, 0)
    _lower(resource.RLIMIT_NOFILE, _DESCRIPTORS, _DESCRIPTORS)
    kind = BY_NAME.get(terms.get("kind", ""))
    if not (kind and kind.has_thread):
        _lower(resource.RLIMIT_NPROC, 0, 0)  # no more processes or threads
    _lower(resource.RLIMIT_FSIZE, 0, 0)  # no writing to files, including the picture
    now = _address_space()
    _lower(resource.RLIMIT_AS, now + SMALL + _MEMORY_MARGIN, now + MEMORY_MAX + _MEMORY_MARGIN)


def _lower(what: int, soft: int, hard: int) -> None:
    """Lower a limit. A process cannot raise its limits, so a lower limit of the server stays."""
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))


def _address_space() -> int:
    try:
        pages = int(_STATM.read_text().split()[0])
    except OSError:
        return _ASSUMED_ADDRESS_SPACE
    return pages * resource.getpagesize()


def _answer(file: IO[bytes], terms: dict[str, Any]) -> tuple[Any, ...]:
    """Return the content of the frame: the result, a problem with the picture, or an error of the disk."""
    try:
        found = _decoded(file, terms)
    except Problem as problem:
        return _problem(problem)
    except MemoryError:
        return _problem(
            ImageTooComplex("Decoding this picture takes more memory than one picture may have. Send it smaller.")
        )
    except OSError as error:
        return ({"errno": error.errno, "detail": str(error.strerror)},)
    return found


def _decoded(file: IO[bytes], terms: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Decode the picture. With `is_position_only`, it was already decoded when it was stored."""
    kind = BY_NAME[terms["kind"]]
    if terms.get("is_position_only"):
        return _with_lock(lambda: _position(file, kind), 0, terms)
    with pixels.errors_as_problems():
        estimated = estimate.from_header(file, kind)

    def decode() -> tuple[dict[str, Any], bytes]:
        found = pixels.decode(file, kind, estimated)
        head, packed = _position(file, kind)
        sizes = [len(rendition) for rendition in found.renditions]
        head |= {"width": found.width, "height": found.height, "sizes": sizes}
        return head, b"".join((*found.renditions, packed))

    return _with_lock(decode, estimated.memory, terms)


def _position(file: IO[bytes], kind: Kind) -> tuple[dict[str, Any], bytes]:
    """Return how many of the last bytes of the answer are patches, and these bytes."""
    with pixels.errors_as_problems():
        packed = patches.pack(position.find(file, kind.pillow))
    return {"patches": len(packed)}, packed


def _with_lock(
    decode: Callable[[], tuple[dict[str, Any], bytes]], memory: int, terms: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    if memory <= SMALL:
        with suppress(MemoryError), _machine_wide_lock(_SMALL_LOCKS, terms):  # it needs more than its header says
            return decode()
    with _machine_wide_lock((LARGE_LOCK,), terms):
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return decode()


@contextmanager
def _machine_wide_lock(lock_files: tuple[Path, ...], terms: dict[str, Any]) -> Iterator[None]:
    """Hold the first of these locks that is free. All processes of the machine, or of the container, share them."""
    first = os.getpid() % len(lock_files)
    files = [path.open("rb") for path in (*lock_files[first:], *lock_files[:first])]
    if not any(_is_locked(file) for file in files):
        _wait(lambda: fcntl.flock(files[0], fcntl.LOCK_EX), terms)
    try:
        yield
    finally:
        for file in files:
            file.close()


def _is_locked(file: IO[bytes]) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(lock: Callable[[], None], terms: dict[str, Any]) -> None:
    """Wait for the lock; this time does not count as decoding time."""

    def give_up(*_: object) -> NoReturn:
        raise DecoderBusy("The server is busy with other pictures. Nothing was stored. Try again in a moment.")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, max(_TIMER_MIN, terms["wait"]))
    lock()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(_TIMER_MIN, terms["wall"]))
