"""Which descriptors are ready: epoll where there is one, poll elsewhere (macOS, for development).

Both have the same interface: `register`, `modify`, `unregister`, `poll(seconds, most)`, `close`. `Bell` is a pipe that
wakes either of them from another thread or a signal handler.
"""

import contextlib
import os
import select
import threading
from typing import Final

READABLE: Final = select.POLLIN  # the same numbers as epoll's
WRITABLE: Final = select.POLLOUT


class Poll:
    """`select.poll` with the interface of `select.epoll`."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout: float | None, maxevents: int) -> list[tuple[int, int]]:
        return self._poll.poll(None if timeout is None else timeout * 1000)[:maxevents]

    def close(self) -> None:
        """Do nothing: there is no descriptor to close."""


Poller = getattr(select, "epoll", Poll)
EXCLUSIVE: Final = 0 if Poller is Poll else select.EPOLLEXCLUSIVE  # wake only some of the processes that wait


def pipe() -> tuple[int, int]:
    """Make a pipe neither end of which blocks (`os.pipe2` is not everywhere)."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


class Bell:
    """A pipe that becomes readable when it is rung. Ringing it after it was closed does nothing."""

    def __init__(self) -> None:
        self.reader, self._writer = pipe()
        self._lock = threading.RLock()  # a signal handler may ring while its own thread does so, or closes it

    def ring(self) -> None:
        """Wake the poll. May be called from any thread or signal handler."""
        with self._lock:
            if self._writer >= 0:
                with contextlib.suppress(BlockingIOError):  # the pipe is full, and so readable
                    os.write(self._writer, b"\0")

    def silence(self) -> None:
        """Empty the pipe: it is readable again at the next ring."""
        os.read(self.reader, 4096)

    def close(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, -1
            if writer >= 0:
                os.close(writer)
                os.close(self.reader)
