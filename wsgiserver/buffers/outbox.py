"""What goes to the client: sent at once if the socket takes it, or else pending in memory, and then in a file.

It exists so that a slow client costs bytes and not a thread. `send` never waits as long as the rest can be stored: the
application returns, its thread is free, and the loop sends the rest with `flush` whenever the socket is writable.

The rules. Bytes leave in the order in which they came: pending bytes first, then a file. A part of a regular file
(`send_file`) is never copied; a duplicate of its descriptor is pending, and the kernel sends it. Up to
`MAX_PENDING_IN_MEMORY` bytes wait in memory, within the budget that all outboxes of a process share, and then in an
unlinked temporary file. Before bytes go to a file, `send` waits a few milliseconds, because many clients only need a
moment. Beyond `MAX_PENDING` bytes, or where there is no room on disk, the application's thread has to wait for its
client. This is back-pressure, and the only long wait; it ends after `patience` seconds without progress.

Once ClientGone was raised, nothing is sent any more: bytes after a gap would be a corrupt response.

It knows a socket and a patience in seconds. It must not know HTTP, nor who owns the connection.
"""

import os
import select
import socket
from typing import Final

from wsgiserver.buffers.budget import Budget
from wsgiserver.buffers.spool import Spool
from wsgiserver.errors import ApplicationError, ClientGone, Refusal

MAX_PENDING: Final = 64 * 1024 * 1024  # bytes; beyond them the producer has to wait
MAX_PENDING_IN_MEMORY: Final = 256 * 1024  # bytes; beyond them a file is used
MAX_HEAD_IN_MEMORY: Final = 4 * 1024  # bytes before a file, which stay in memory whatever the budget
CATCH_UP_WAIT: Final = 0.005  # seconds for a client to take something before it counts as slow
CATCH_UP_TRIES: Final = 8  # waits of that length
FLUSH_SIZE: Final = 256 * 1024  # bytes offered to the socket at once
FILE_FLUSH_SIZE: Final = 1024 * 1024  # bytes of a file at once; then other connections get their turn


class _File:
    """The part of a file that is still to be sent, with a descriptor of its own."""

    __slots__ = ("descriptor", "offset", "size")

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self.descriptor = os.dup(descriptor)
        self.offset = offset
        self.size = size

    def advance(self, sent: int) -> None:
        self.offset += sent
        self.size -= sent


class Outbox:
    """See above. `budget` is the memory that all outboxes of a process share; `patience` is in seconds."""

    __slots__ = ("_budget", "_file", "_folder", "_gone", "_patience", "_pending", "_socket", "_taken", "is_full")

    def __init__(self, sock: socket.socket, folder: str | None, patience: float, budget: Budget | None = None) -> None:
        self._socket = sock
        self._budget = budget
        self._folder = folder
        self._patience = patience
        self._pending: Spool | None = None
        self._file: _File | None = None
        self._taken = 0  # bytes of the pending ones that the socket has taken
        self.is_full = False  # the producer waits for its client
        self._gone = False  # ClientGone was raised: after a gap nothing may be sent

    @property
    def is_empty(self) -> bool:
        return self._pending is None and self._file is None

    @property
    def pending(self) -> int:
        """The bytes that have become pending since it was last empty. Other threads may read this."""
        pending = self._pending
        return pending.size if pending is not None else 0

    def send(self, data: bytes) -> None:
        """Send what the socket takes now, and store the rest. Raises ClientGone."""
        if self._file is not None:  # nothing is stored behind a file, since nothing follows one in a response
            self._wait_until_empty()
        sent = self._offer(data) if self._pending is None else 0
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        while rest:
            piece = rest[:MAX_PENDING_IN_MEMORY]
            if self._is_memory_full(len(piece)) and self._catches_up():
                rest = rest[self._offer(rest) :]
            else:
                self._store(piece)
                rest = rest[MAX_PENDING_IN_MEMORY:]

    def send_file(self, descriptor: int, offset: int, size: int) -> None:
        """Send a part of a regular file, which may be closed when this returns. Raises as `flush` does."""
        if self._file is not None:
            self._wait_until_empty()
        if self._gone:
            raise ClientGone
        if self._pending is not None and not self._pending.in_memory:
            self._bring_back(self._pending)
        self._file = _File(descriptor, offset, size)
        self.flush()

    def _bring_back(self, pending: Spool) -> None:
        """Move the head of a response back into memory: with a file behind it, one descriptor is enough."""
        if pending.size - self._taken <= MAX_HEAD_IN_MEMORY:
            head = pending.peek(self._taken, MAX_HEAD_IN_MEMORY)
            pending.close()
            self._pending, self._taken = Spool(MAX_PENDING, MAX_PENDING_IN_MEMORY, self._folder), 0
            self._pending.write(head)

    def flush(self) -> bool:
        """Send what the socket takes of the pending bytes; True when nothing is left.

        Raises ClientGone, and ApplicationError for a file that has become shorter or cannot be read.
        """
        while self._pending is not None:
            piece = self._pending.peek(self._taken, FLUSH_SIZE)
            if not piece:
                self._pending.close()
                self._pending = None
                break
            sent = self._offer(piece)
            if not sent:
                return False
            self._taken += sent
        return self._file is None or self._flush_file(self._file)

    def drop(self) -> int:
        """Drop the pending bytes; returns how many they were."""
        dropped = 0
        if self._file is not None:
            dropped += self._file.size
            os.close(self._file.descriptor)
            self._file = None
        if self._pending is not None:
            dropped += self._pending.size - self._taken
            self._pending.close()
            self._pending = None
        return dropped

    def _is_memory_full(self, more: int) -> bool:
        return (
            self._pending is not None and self._pending.in_memory and self._pending.size + more > MAX_PENDING_IN_MEMORY
        )

    def _catches_up(self) -> bool:
        """Give the client a moment before bytes go to a file; returns whether it has taken all that was pending."""
        room = self._room()
        for _ in range(CATCH_UP_TRIES):
            if not room.poll(CATCH_UP_WAIT * 1000):
                return False
            if self.flush():
                return True
        return False

    def _room(self) -> select.poll:
        """Return a poll object that waits until the socket is writable."""
        room = select.poll()  # not select.select, which takes no descriptor above 1023
        room.register(self._socket, select.POLLOUT)
        return room

    def _store(self, piece: memoryview) -> None:
        """Store a piece. If there is no room, wait until the pending bytes are sent, and then this piece too."""
        if self._is_stored(piece):
            return
        self._wait_until_empty()  # over the limit, or the disk is full
        if not self._is_stored(piece):
            self._push(piece)  # other connections have all the memory

    def _is_stored(self, piece: memoryview) -> bool:
        if self._pending is None:
            self._pending = Spool(MAX_PENDING, MAX_PENDING_IN_MEMORY, self._folder, self._budget)
            self._taken = 0
        try:
            self._pending.write(bytes(piece))  # a view would keep all of the application's block
        except Refusal:
            return False
        return True

    def _push(self, piece: memoryview) -> None:
        """Send a whole piece, waiting for the client, with nothing pending before it."""
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
            sent = os.sendfile(self._socket.fileno(), file.descriptor, file.offset, min(file.size, FILE_FLUSH_SIZE))
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
