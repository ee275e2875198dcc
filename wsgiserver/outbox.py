"""What goes to the client: at once if the socket takes it, kept (memory, then a file) if not.

A slow reader so costs bytes, not a thread. Only an application that goes on producing far beyond what its client
takes has to wait. It knows a socket and a patience in seconds, and not HTTP.
"""

import select
import socket
from typing import Final

from wsgiserver.body import Spool
from wsgiserver.errors import ClientGone, Refusal

LIMIT: Final = 64 * 1024 * 1024  # bytes kept before the producer has to wait
MEMORY: Final = 256 * 1024
FLUSH: Final = 256 * 1024  # bytes offered to the socket at once


class Outbox:
    """Bytes on their way to one socket, in order."""

    __slots__ = ("_folder", "_gone", "_kept", "_patience", "_socket", "_taken")

    def __init__(self, sock: socket.socket, folder: str | None, patience: float) -> None:
        self._socket = sock
        self._folder = folder
        self._patience = patience
        self._kept: Spool | None = None
        self._taken = 0  # how many bytes of what is kept the socket has by now
        self._gone = False  # ClientGone was raised: with a gap in it, nothing more may be sent

    @property
    def is_empty(self) -> bool:
        return self._kept is None

    def send(self, data: bytes) -> None:
        """Send what the socket takes now, and keep the rest. Raises ClientGone."""
        sent = 0
        if self._kept is None:
            sent = self._offer(data)
            if sent == len(data):
                return
        rest = memoryview(data)[sent:]
        for start in range(0, len(rest), MEMORY):
            self._keep(rest[start : start + MEMORY])

    def flush(self) -> bool:
        """Send what is kept, as far as the socket takes it; True when nothing is left. Raises ClientGone."""
        while self._kept is not None:
            piece = self._kept.peek(self._taken, FLUSH)
            if not piece:
                self.drop()
                break
            sent = self._offer(piece)
            if not sent:
                return False
            self._taken += sent
        return True

    def drop(self) -> None:
        """Forget what is kept."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _keep(self, piece: memoryview) -> None:
        """Keep a piece that fits in memory: when nothing else is kept, there is room for it, disk or not."""
        if self._kept is None:
            self._kept = Spool(LIMIT, MEMORY, self._folder)
            self._taken = 0
        try:
            self._kept.write(piece)
        except Refusal:  # over the limit, or the disk is full
            self._wait_until_empty()
            self._keep(piece)

    def _offer(self, data: bytes) -> int:
        if self._gone:
            raise ClientGone
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._gone = True
            raise ClientGone from error

    def _wait_until_empty(self) -> None:
        """Back-pressure: the application's thread waits here for its client."""
        room = select.poll()  # not select.select, which takes no descriptor above 1023
        room.register(self._socket, select.POLLOUT)
        while not self.flush():
            if not room.poll(self._patience * 1000):
                self._gone = True
                raise ClientGone
