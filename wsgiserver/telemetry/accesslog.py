"""One finished request as one line of JSON.

Records are gathered, and made into lines and written when the loop has nothing else to do, so that a request costs no
system call of its own. How lines are written is `log.py`'s business.
"""

import os
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from time import time
from typing import Final, NamedTuple

from wsgiserver.telemetry.log import EVENTS, Sink, event, open_log, stamp

# Records that are gathered at most (docs/adr/0007): made into lines one after the other, while the code is in the
# caches of the processor.
MAX_PENDING_RECORDS: Final = 64
_LAST_PATIENCE: Final = 1.0  # seconds for a slow reader to make room before the process ends


class Record(NamedTuple):
    """What is logged of one request (docs/errors-and-logs.md).

    The log has these fields under the same names, but for `target`: it logs `path`, without the query.
    """

    client: str
    request_id: str
    method: str
    target: str
    status: int
    received_bytes: int  # of the body, chunk framing not counted
    sent_bytes: int  # of the body
    framing: str  # "none", "length" or "chunked"
    spool: str  # "none", "memory" or "file"
    receive_seconds: float
    application_seconds: float
    send_seconds: float
    error: str  # name of the error that was answered, or ""


def path_of(target: str) -> str:
    """Return a request target without its query: tokens and addresses have been seen in those."""
    return target.partition("?")[0]


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
        self._fd, never_blocks = open_log(self._file)
        self._sink = Sink("access", self._fd, never_blocks=never_blocks)

    @property
    def lost(self) -> int:
        """Lines that this process could not write, those of events included."""
        return self._sink.lost + EVENTS.lost

    def add(self, record: Record) -> None:
        self._records.append((self._clock(), record))
        if len(self._records) >= MAX_PENDING_RECORDS:
            self.flush()

    def _line(self, now: float, record: Record) -> str:
        client, name, method, target, status, received, sent, framing, spool, receive, application, send, error = record
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond, self._stamp = millisecond, stamp(millisecond)
        return (
            f'{{"time":"{self._stamp}","event":"request","client":{quoted(client)},'
            f'"request_id":{quoted(name)},"method":{quoted(method)},"path":{quoted(path_of(target))},'
            f'"status":{status},"received_bytes":{received},"sent_bytes":{sent},"framing":"{framing}","spool":"{spool}",'
            f'"receive_seconds":{receive:.6f},"application_seconds":{application:.6f},"send_seconds":{send:.6f},'
            f'"error":"{error}"}}\n'
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
            fd, _ = open_log(self._file)
        except OSError as error:
            event("log-not-reopened", path=self._file, error=str(error))
            return
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)

    def close(self) -> None:
        """Write what is left, with a little patience, and let go of what was opened; nothing may be added any more."""
        self.flush()
        self._sink.push(_LAST_PATIENCE)
        if self._fd != self._file:
            os.close(self._fd)


class NoAccessLog:
    """`--no-access-log`: has the methods of the other, and does nothing."""

    wanted = False

    @property
    def lost(self) -> int:
        return EVENTS.lost

    def add(self, record: Record) -> None:
        pass

    def flush(self) -> None:
        pass

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass
