"""One finished request as one line of JSON, and the server's own events likewise.

Records are gathered, and made into lines and written when the loop has nothing else to do, so that a request costs no
system call of its own. Strings are escaped by json's own encoder: a client cannot forge a line or a field.
Writing neither raises nor waits (`Sink`): a full disk, a closed pipe or a reader that stalls must not cost a request.
"""

import contextlib
import os
import select
import stat
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from threading import RLock
from time import gmtime, strftime, time
from typing import Final, NamedTuple

KEPT: Final = 1 << 20  # bytes of lines kept while nobody reads them
_AT_ONCE: Final = 64  # records kept back at most: made into lines one after the other, while the code is in the caches
_LAST_PATIENCE: Final = 1.0  # seconds for a slow reader to make room before the process ends
_OURS: Final = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Record(NamedTuple):
    """What is logged of one request. Times are seconds: receiving it, running the application, sending the answer."""

    client: str
    request_id: str
    method: str
    target: str
    status: int
    received: int  # bytes of body, chunk framing not counted
    sent: int  # bytes of body
    framing: str  # "none", "length" or "chunked"
    spool: str  # "none", "memory" or "file"
    receive: float
    application: float
    send: float
    refused: str  # name of the refusal, or ""


class Sink:
    """A descriptor that lines are written to without ever waiting for it.

    It gets what fits, in pieces of at most PIPE_BUF bytes, which the kernel takes whole: lines of several processes do
    not mix. What does not fit is kept, and beyond `KEPT` bytes lost, and counted. `never_blocks` says that room need
    not be looked for: it is a regular file, or nobody shares its flags with us.
    """

    def __init__(self, name: str, fd: int, *, never_blocks: bool = False) -> None:
        self.lost = 0  # lines, all in all
        self._told = 0  # of these, how many an event has told of
        self._name = name
        self._fd = fd
        self._never_blocks = never_blocks
        self._kept: deque[bytes] = deque()
        self._size = 0  # bytes kept
        self._lock = RLock()  # any thread may have an event; and telling of lost ones is one

    def write(self, lines: list[str]) -> None:
        """Write ASCII lines, or keep them, or lose them. From any thread."""
        with self._lock:
            if self._kept:
                self.push()
            if self._size > KEPT:
                self.lost += len(lines)
                return
            for piece in _pieces("".join(lines).encode("ascii")):
                self._kept.append(piece)
                self._size += len(piece)
            self.push()

    def push(self, patience: float = 0.0) -> None:
        """Write what is kept, waiting at most so many seconds before each piece."""
        with self._lock:
            while self._kept:
                if (patience or not self._never_blocks) and not _has_room(self._fd, patience):
                    return
                try:
                    written = os.write(self._fd, self._kept[0])
                except BlockingIOError:
                    return
                except OSError:  # its reader is gone, or the disk is full
                    self.lost += sum(piece.count(b"\n") for piece in self._kept)
                    self._drop()
                    return
                self._size -= written
                rest = self._kept.popleft()[written:]
                if rest:
                    self._kept.appendleft(rest)
            self._tell()

    def forked(self) -> None:
        """Be the sink of a child process: what is kept is not its own to write, and the lock nobody's to release."""
        self._lock = RLock()
        self.lost = self._told = 0
        self._drop()

    def _drop(self) -> None:
        self._kept.clear()
        self._size = 0

    def _tell(self) -> None:
        """Writing works again: say what was lost."""
        if self.lost != self._told:
            lines, self._told = self.lost - self._told, self.lost
            event("log-lines-lost", log=self._name, lines=lines)


class AccessLog:
    """Gathers lines for `file`: a descriptor, a path, or "-" for standard output. Whoever finishes a request adds,
    whoever waits flushes.

    Raises OSError where the file cannot be opened.
    """

    wanted = True  # whether it is worth making a Record for

    def __init__(self, file: str | int = "-", clock: Callable[[], float] = time) -> None:
        self._file = 1 if file == "-" else file
        self._clock = clock
        self._records: list[tuple[float, Record]] = []
        self._millisecond = -1  # the one that `_stamp` is for
        self._stamp = ""
        self._fd, never_blocks = _open(self._file)
        self._sink = Sink("access", self._fd, never_blocks=never_blocks)

    @property
    def lost(self) -> int:
        """Lines that this process could not write, those of events included."""
        return self._sink.lost + _EVENTS.lost

    def add(self, record: Record) -> None:
        self._records.append((self._clock(), record))
        if len(self._records) >= _AT_ONCE:
            self.flush()

    def _line(self, now: float, record: Record) -> str:
        client, name, method, target, status, received, sent, framing, spool, receive, application, send, refused = (
            record
        )
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond, self._stamp = millisecond, _stamp(millisecond)
        return (
            f'{{"time":"{self._stamp}","event":"request","client":{quoted(client)},'
            f'"request_id":{quoted(name)},"method":{quoted(method)},"target":{quoted(target)},'
            f'"status":{status},"received":{received},"sent":{sent},"framing":"{framing}","spool":"{spool}",'
            f'"receive":{receive:.6f},"application":{application:.6f},"send":{send:.6f},"refused":"{refused}"}}\n'
        )

    def flush(self) -> None:
        if self._records:
            records, self._records = self._records, []
            self._sink.write([self._line(now, record) for now, record in records])
        else:
            self._sink.push()

    def reopen(self) -> None:
        """Go on in a new file of the same name: the old one has been renamed (`logrotate`). Raises nothing."""
        if isinstance(self._file, int):
            return
        self.flush()
        try:
            fd, _ = _open(self._file)
        except OSError as error:
            event("log-not-reopened", path=self._file, error=str(error))
            return
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    def close(self) -> None:
        """Write what is left, with a little patience; the process is about to end."""
        self.flush()
        self._sink.push(_LAST_PATIENCE)


class NoLog(AccessLog):
    """`--no-access-log`."""

    wanted = False

    def add(self, record: Record) -> None:
        pass


def check_file(path: str) -> None:
    """Raise OSError where `path` cannot be opened for logging."""
    if path != "-":
        os.close(_open(path)[0])


def event(name: str, **fields: str | float) -> None:
    """Log what happens to the server itself, on standard error, whatever an application has put in its place."""
    parts = [f'"time":"{_stamp(int(time() * 1000))}"', f'"event":{quoted(name)}', f'"pid":{os.getpid()}']
    parts += [f"{quoted(key)}:{quoted(value) if isinstance(value, str) else value}" for key, value in fields.items()]
    _EVENTS.write(["{" + ",".join(parts) + "}\n"])


def _stamp(milliseconds: int) -> str:
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=2)
def _second(now: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(now))


def _open(file: str | int) -> tuple[int, bool]:
    """Return a descriptor to log to, and whether it never blocks.

    One that we were given may be shared with others, to whom its flags belong, too: where that matters, and can be
    done, it is opened once more, for a pipe that has room when it is looked at may be filled by a sibling right after.
    """
    if isinstance(file, str):
        return os.open(file, _OURS | os.O_CREAT, 0o666), True
    with contextlib.suppress(OSError):  # closed; or not Linux, or a socket, or somebody else's terminal
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file, True
        return os.open(f"/proc/self/fd/{file}", _OURS), True
    return file, False


def _has_room(fd: int, patience: float) -> bool:
    """Whether PIPE_BUF bytes can be written at once, or become possible within so many seconds."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(patience * 1000))


def _pieces(data: bytes) -> Iterator[bytes]:
    """Take lines apart into pieces of at most PIPE_BUF bytes: whole lines, but for those that are longer."""
    while len(data) > select.PIPE_BUF:
        end = data.rfind(b"\n", 0, select.PIPE_BUF) + 1 or select.PIPE_BUF
        yield data[:end]
        data = data[end:]
    yield data


_EVENTS: Final = Sink("events", 2)
os.register_at_fork(after_in_child=_EVENTS.forked)
