"""What goes to the client: at once if the socket takes it, kept (memory, then a file) if not.

A slow reader so costs bytes, not a thread. Only an application that goes on producing far beyond what its client
takes has to wait. What is a file already is kept as a descriptor, and sent by the kernel: it costs not even bytes.
It knows a socket and a patience in seconds, and not HTTP.
"""

import os
import select
import socket
from typing import Final

from wsgiserver.buffers.budget import Budget
from wsgiserver.buffers.spool import Spool
from wsgiserver.errors import ApplicationError, ClientGone, Refusal

LIMIT: Final = 64 * 1024 * 1024  # bytes kept before the producer has to wait
MEMORY: Final = 256 * 1024
HEAD: Final = 4 * 1024  # bytes before a file that are in memory, however little the budget has left
MOMENT: Final = 0.005  # seconds for a client to take something, before it counts as slow
MOMENTS: Final = 8
FLUSH: Final = 256 * 1024  # bytes offered to the socket at once
FILE_FLUSH: Final = 1024 * 1024  # bytes of a file: then others have their turn, however fast this client is


class _File:
    """What is left to send of a file; the descriptor is its own."""

    __slots__ = ("descriptor", "offset", "size")

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self.descriptor = os.dup(descriptor)
        self.offset = offset
        self.size = size

    def advance(self, sent: int) -> None:
        self.offset += sent
        self.size -= sent


class Outbox:
    """Bytes on their way to one socket, in order: what is kept, then a file. `budget` is what all outboxes of a process
    may keep in memory; beyond, it goes to a file, or the producer waits.
    """

    __slots__ = ("_budget", "_file", "_folder", "_gone", "_kept", "_patience", "_socket", "_taken", "is_full")

    def __init__(self, sock: socket.socket, folder: str | None, patience: float, budget: Budget | None = None) -> None:
        self._socket = sock
        self._budget = budget
        self._folder = folder
        self._patience = patience
        self._kept: Spool | None = None
        self._file: _File | None = None
        self._taken = 0  # how many bytes of what is kept the socket has by now
        self.is_full = False  # the producer is waiting for its client
        self._gone = False  # ClientGone was raised: with a gap in it, nothing more may be sent

    @property
    def is_empty(self) -> bool:
        return self._kept is None and self._file is None

    @property
    def kept(self) -> int:
        """Bytes that were kept since it was last empty. Other threads may ask."""
        kept = self._kept
        return kept.size if kept is not None else 0

    def send(self, data: bytes) -> None:
        """Send what the socket takes now, and keep the rest. Raises ClientGone."""
        if self._file is not None:  # nothing is kept behind a file, since nothing follows one in an answer
            self._wait_until_empty()
        sent = self._offer(data) if self._kept is None else 0
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            piece = rest[:MEMORY]
            if self._is_memory_full(len(piece)) and self._catches_up():
                rest = rest[self._offer(rest) :]
            else:
                self._keep(piece)
                rest = rest[MEMORY:]

    def send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send a part of a regular file, which may be closed when this returns. Raises as `flush` does."""
        if self._file is not None:
            self._wait_until_empty()
        if self._gone:
            raise ClientGone
        if self._kept is not None and not self._kept.in_memory:
            self._bring_back(self._kept)
        self._file = _File(descriptor, offset, size)
        self.flush()

    def _bring_back(self, kept: Spool) -> None:
        """The head of an answer, the rest of which is a file: one descriptor is enough for a connection."""
        if kept.size - self._taken <= HEAD:
            head = kept.peek(self._taken, HEAD)
            kept.close()
            self._kept, self._taken = Spool(LIMIT, MEMORY, self._folder), 0
            self._kept.write(head)

    def flush(self) -> bool:
        """Send what the socket takes of what is kept; True when nothing is left.

        Raises ClientGone, and ApplicationError for a file that has become shorter or cannot be read.
        """
        while self._kept is not None:
            piece = self._kept.peek(self._taken, FLUSH)
            if not piece:
                self._kept.close()
                self._kept = None
                break
            sent = self._offer(piece)
            if not sent:
                return False
            self._taken += sent
        return self._file is None or self._flush_file(self._file)

    def drop(self) -> int:
        """Forget what is kept; returns how many bytes that was."""
        dropped = 0
        if self._file is not None:
            dropped += self._file.size
            os.close(self._file.descriptor)
            self._file = None
        if self._kept is not None:
            dropped += self._kept.size - self._taken
            self._kept.close()
            self._kept = None
        return dropped

    def _is_memory_full(self, more: int) -> bool:
        return self._kept is not None and self._kept.in_memory and self._kept.size + more > MEMORY

    def _catches_up(self) -> bool:
        """Before anything goes to a file: is it that the client has just not had time to read what there is?"""
        room = self._room()
        for _ in range(MOMENTS):
            if not room.poll(MOMENT * 1000):
                return False
            if self.flush():
                return True
        return False

    def _room(self) -> select.poll:
        """Return what waits until the socket takes something."""
        room = select.poll()  # not select.select, which takes no descriptor above 1023
        room.register(self._socket, select.POLLOUT)
        return room

    def _keep(self, piece: memoryview) -> None:
        """Keep a piece; where that cannot be, wait until what is kept has gone, and if need be until this has."""
        if self._is_kept(piece):
            return
        self._wait_until_empty()  # over the limit, or the disk is full
        if not self._is_kept(piece):
            self._push(piece)  # others have all the memory there is for answers

    def _is_kept(self, piece: memoryview) -> bool:
        if self._kept is None:
            self._kept = Spool(LIMIT, MEMORY, self._folder, self._budget)
            self._taken = 0
        try:
            self._kept.write(bytes(piece))  # a view would keep all of the application's block
        except Refusal:
            return False
        return True

    def _push(self, piece: memoryview) -> None:
        """Send a piece to the end, with nothing kept before it."""
        room = self._room()
        self.is_full = True
        while piece := piece[self._offer(piece) :]:
            self._wait_for(room)
        self.is_full = False

    def _offer(self, data: bytes | memoryview) -> int:
        if self._gone:
            raise ClientGone
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._gone = True
            raise ClientGone from error

    def _flush_file(self, file: _File) -> bool:
        if self._gone:
            raise ClientGone
        try:
            sent = os.sendfile(self._socket.fileno(), file.descriptor, file.offset, min(file.size, FILE_FLUSH))
        except BlockingIOError:
            return False
        except OSError as error:
            self._gone = True
            if isinstance(error, ConnectionError | TimeoutError):
                raise ClientGone from error
            raise ApplicationError(f"a file cannot be sent: {error}") from error
        if not sent:
            self._gone = True
            raise ApplicationError(f"a file has become {file.size} bytes shorter while it was sent")
        file.advance(sent)
        if not file.size:
            self.drop()
        return not file.size

    def _wait_until_empty(self) -> None:
        """Back-pressure: the application's thread waits here for its client."""
        room = self._room()
        self.is_full = True
        while not self.flush():
            self._wait_for(room)
        self.is_full = False

    def _wait_for(self, room: select.poll) -> None:
        if not room.poll(self._patience * 1000):
            self._gone = True
            raise ClientGone
