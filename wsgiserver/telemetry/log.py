"""Lines of JSON, written without ever waiting: the server's own events, and the sink that every log is written to.

Strings are escaped by json's own encoder, so that no client can forge a line or a field. Writing neither raises nor
waits: a full disk, a closed pipe or a stalled reader must not cost a request. What cannot be written now is pending.
Beyond a limit lines are lost, counted, and reported as soon as there is room again. Nothing here knows what a request
is.
"""

import contextlib
import os
import select
import stat
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from threading import RLock
from time import gmtime, strftime, time
from typing import Final

MAX_PENDING: Final = 1 << 20  # bytes of lines that wait for a reader
MAX_CACHED_SECONDS: Final = 2  # that timestamps are formatted for (docs/adr/0007)
_OURS: Final = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Sink:
    """A descriptor that lines are written to without ever waiting for it.

    Lines are written in pieces of at most PIPE_BUF bytes, which the kernel takes as a whole, so that lines of several
    processes do not mix. What does not fit is pending; beyond `MAX_PENDING` bytes it is lost and counted. With
    `never_blocks` there is no check for room: it is a regular file, or no other process shares its flags.
    """

    def __init__(self, name: str, fd: int, *, never_blocks: bool = False) -> None:
        self.lost = 0  # lines, in total
        self._reported = 0  # of these, how many an event has reported
        self._name = name
        self._fd = fd
        self._never_blocks = never_blocks
        self._pending: deque[bytes] = deque()
        self._pending_size = 0  # bytes pending
        self._lock = RLock()  # any thread may have an event; and reporting lost ones is one

    def write(self, lines: list[str]) -> None:
        """Write ASCII lines now or later, or lose them. May be called from any thread."""
        with self._lock:
            if self._pending:
                self.push()
            if self._pending_size > MAX_PENDING:
                self.lost += len(lines)
                return
            for piece in _pieces("".join(lines).encode("ascii")):
                self._pending.append(piece)
                self._pending_size += len(piece)
            self.push()

    def push(self, patience: float = 0.0) -> None:
        """Write what is pending, waiting at most `patience` seconds before each piece."""
        with self._lock:
            while self._pending:
                if (patience or not self._never_blocks) and not _has_room(self._fd, patience):
                    return
                try:
                    written = os.write(self._fd, self._pending[0])
                except BlockingIOError:
                    return
                except OSError:  # its reader is gone, or the disk is full
                    self.lost += sum(piece.count(b"\n") for piece in self._pending)
                    self._drop()
                    return
                self._pending_size -= written
                rest = self._pending.popleft()[written:]
                if rest:
                    self._pending.appendleft(rest)
            self._report_lost()

    def forked(self) -> None:
        """Reset in a child process: the pending lines are the parent's, and no thread would release the lock."""
        self._lock = RLock()
        self.lost = self._reported = 0
        self._drop()

    def _drop(self) -> None:
        self._pending.clear()
        self._pending_size = 0

    def _report_lost(self) -> None:
        """Writing works again: report what was lost."""
        if self.lost != self._reported:
            lines, self._reported = self.lost - self._reported, self.lost
            event("log-lines-lost", log=self._name, lines=lines)


def check_file(path: str) -> None:
    """Raise OSError where `path` cannot be opened for logging."""
    if path != "-":
        os.close(open_log(path)[0])


def event(name: str, **fields: str | float) -> None:
    """Log an event of the server on descriptor 2, even if the application has replaced `sys.stderr`."""
    parts = [f'"time":"{stamp(int(time() * 1000))}"', f'"event":{quoted(name)}', f'"pid":{os.getpid()}']
    parts += [f"{quoted(key)}:{quoted(value) if isinstance(value, str) else value}" for key, value in fields.items()]
    EVENTS.write(["{" + ",".join(parts) + "}\n"])


def stamp(milliseconds: int) -> str:
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(MAX_CACHED_SECONDS)
def _second(now: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(now))


def open_log(file: str | int) -> tuple[int, bool]:
    """Return a descriptor to log to, and whether it never blocks.

    An inherited descriptor may be shared with other processes, and so are its flags. If possible it is opened once more
    as non-blocking: a pipe that had room a moment ago may have been filled by another worker.
    """
    if isinstance(file, str):
        return os.open(file, _OURS | os.O_CREAT, 0o666), True
    with contextlib.suppress(OSError):  # closed; or not Linux, or a socket, or the terminal of another user
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file, True
        return os.open(f"/proc/self/fd/{file}", _OURS), True
    return file, False


def _has_room(fd: int, patience: float) -> bool:
    """Return whether PIPE_BUF bytes can be written now, or within `patience` seconds."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


def _pieces(data: bytes) -> Iterator[bytes]:
    """Split lines into pieces of at most PIPE_BUF bytes, at the ends of lines where possible."""
    while len(data) > select.PIPE_BUF:
        end = data.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
        yield data[:end]
        data = data[end:]
    yield data


EVENTS: Final = Sink("events", 2)
os.register_at_fork(after_in_child=EVENTS.forked)
