"""One finished request as one line of JSON, and the server's own events likewise.

Lines are gathered and written in one piece when the loop has nothing else to do, so that a request costs no
system call of its own. Strings are escaped by json's own encoder: a client cannot forge a line or a field.
Writing never raises: a full disk or a closed pipe must not cost a request.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from time import gmtime, strftime, time
from typing import Final, NamedTuple

_AT_ONCE: Final = 64  # lines kept back at most


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


class AccessLog:
    """Gathers lines for the file descriptor `fd`; whoever finishes a request adds, whoever waits flushes."""

    wanted = True  # whether it is worth making a Record for

    def __init__(self, fd: int = 1, clock: Callable[[], float] = time) -> None:
        self._fd = fd
        self._clock = clock
        self._lines: list[str] = []

    def add(self, record: Record) -> None:
        (client, request_id, method, target, status, received, sent, framing, spool, *times, refused) = record
        receive, application, send = times
        self._lines.append(
            f'{{"time":"{_stamp(self._clock())}","event":"request","client":{quoted(client)},'
            f'"request_id":{quoted(request_id)},"method":{quoted(method)},"target":{quoted(target)},'
            f'"status":{status},"received":{received},"sent":{sent},"framing":"{framing}","spool":"{spool}",'
            f'"receive":{receive:.6f},"application":{application:.6f},"send":{send:.6f},"refused":"{refused}"}}\n'
        )
        if len(self._lines) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            _write(self._fd, "".join(lines))


class NoLog(AccessLog):
    """`--no-access-log`."""

    wanted = False

    def add(self, record: Record) -> None:
        pass


def event(name: str, **fields: str | float) -> None:
    """Log what happens to the server itself, on standard error, whatever an application has put in its place."""
    parts = [f'"time":"{_stamp(time())}"', f'"event":{quoted(name)}', f'"pid":{os.getpid()}']
    parts += [f"{quoted(key)}:{quoted(value) if isinstance(value, str) else value}" for key, value in fields.items()]
    _write(2, "{" + ",".join(parts) + "}\n")


def _stamp(now: float) -> str:
    return f"{_second(int(now))}.{int(now % 1 * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(now: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(now))


def _write(fd: int, text: str) -> None:
    data = text.encode("ascii", "backslashreplace")
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError:
        return  # nobody reads the log; the request matters more
