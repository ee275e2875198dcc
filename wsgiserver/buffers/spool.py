"""A body on its way through: in memory while it is small, then in an unlinked temporary file.

It holds what a client sends, and what a slow client has not read yet. It knows its limits and its file, and neither
sockets nor HTTP. The file has no name, so nothing is left behind however the process ends.
"""

import contextlib
import io
import os
import tempfile
from typing import BinaryIO, Final

from wsgiserver.buffers.budget import Budget
from wsgiserver.errors import Refusal

MAX_PIECES: Final = 64  # that stay as they came; more of them only if they are large enough on average
MIN_PIECE_SIZE: Final = 4 * 1024  # bytes


class Spool:
    """Bytes in at the end, and out from the start.

    `limit` and `memory` are in bytes. Beyond `limit` a write raises Refusal("body-too-large"). Beyond `memory`, or what
    is left of `budget`, the bytes go to a file in `folder`; if that fails, a write raises Refusal("spool-full"), with
    the OSError as its cause. A refused write changes nothing.
    """

    __slots__ = ("_budget", "_file", "_folder", "_limit", "_memory", "_pieces", "_reader", "_taken", "size")

    def __init__(self, limit: int, memory: int, folder: str | None, budget: Budget | None = None) -> None:
        self.size = 0  # bytes written
        self._pieces: list[bytes | memoryview] = []  # as they came: a buffer that grows copies itself ten times over
        self._file: io.FileIO | None = None  # unbuffered, so that a write has failed or is done
        self._reader: BinaryIO | None = None
        self._limit = limit
        self._memory = memory
        self._folder = folder
        self._budget = budget or Budget(memory)
        self._taken = 0  # bytes of the budget

    @property
    def in_memory(self) -> bool:
        return self._file is None

    def write(self, *pieces: bytes | memoryview) -> None:
        """Add pieces, which must not change any more: in memory they are stored as they are."""
        more = sum(map(len, pieces))
        size = self.size + more
        if size > self._limit:
            raise Refusal("body-too-large")
        try:
            if self._file is None and not self._fits(size, more):
                self._move_to_file()
            if self._file is None:
                self._keep(pieces)
            else:
                _write_all(self._file, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except OSError as error:
            if self._file is not None:
                self._file.truncate(self.size)
                self._file.seek(self.size)
            raise Refusal("spool-full") from error
        self.size = size

    def peek(self, offset: int, most: int) -> bytes:
        """Return up to `most` bytes from `offset` on, without moving the end."""
        if self._file is None:
            return self._joined()[offset : offset + most]
        self._file.seek(offset)
        data = self._file.read(most)
        self._file.seek(0, io.SEEK_END)
        return data

    def rewind(self) -> BinaryIO:
        """Return the whole body as a seekable file, at its start."""
        if self._reader is None:
            self._reader = io.BytesIO(self._joined()) if self._file is None else io.BufferedReader(self._file)
        self._reader.seek(0)
        return self._reader

    def close(self) -> None:
        self._give_back()
        self._pieces = []
        with contextlib.suppress(OSError):  # the data is not needed any more
            for file in (self._reader, self._file):
                if file is not None:
                    file.close()

    def _keep(self, pieces: tuple[bytes | memoryview, ...]) -> None:
        self._reader = None
        self._pieces.extend(pieces)
        # Many small pieces would take more memory than the bytes in them.
        if len(self._pieces) > MAX_PIECES and len(self._pieces) * MIN_PIECE_SIZE > self.size:
            self._joined()

    def _joined(self) -> bytes:
        whole = b"".join(self._pieces)  # the piece itself if there is but one, and it is bytes
        self._pieces = [whole]
        return whole

    def _fits(self, size: int, more: int) -> bool:
        if size > self._memory or not self._budget.reserve(more):
            return False
        self._taken += more
        return True

    def _give_back(self) -> None:
        self._budget.release(self._taken)
        self._taken = 0

    def _move_to_file(self) -> None:
        file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed here or by close()
        try:
            for piece in self._pieces:
                _write_all(file, piece)
        except OSError:
            file.close()
            raise
        self._file = file
        self._pieces = []
        self._give_back()


def _write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def check_folder(folder: str | None) -> str:
    """Return where bodies will be spooled; raises OSError if no file can be created there."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"\0")
    return os.path.realpath(folder or tempfile.gettempdir())
