"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a file as the body of an answer.

It can be read in blocks, as any iterable. If reading it gives the bytes of a regular file as they are on disk, it
also tells which part of which descriptor that is, so that the kernel can send it. It knows files, and neither
sockets nor HTTP.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

_FILES: Final = (io.BufferedReader, io.BufferedRandom, io.FileIO)
_PASSED_ON: Final = ("close", "seek", "seekable", "tell")  # by the last three werkzeug finds the start of a range


class Segment(NamedTuple):
    """The part of a regular file from `offset` on, `size` bytes long."""

    descriptor: int
    offset: int
    size: int


class FileWrapper:
    """Iterates a file-like object in blocks of `blksize` bytes; `close`, `seek`, `seekable` and `tell` are the file's,
    as far as it has them.
    """

    close: Callable[[], None]
    seek: Callable[..., int]
    seekable: Callable[[], bool]
    tell: Callable[[], int]

    def __init__(self, filelike: Any, blksize: int = 64 * 1024) -> None:
        self.filelike = filelike
        self.blksize = blksize
        for name in _PASSED_ON:
            if hasattr(filelike, name):
                setattr(self, name, getattr(filelike, name))

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.blksize)
        if not data:
            raise StopIteration
        return data

    def up_to(self, size: int | None) -> Iterator[bytes]:
        """Yield `size` bytes in blocks, or all there are. No more is read: a pipe that has no more to give would keep
        its reader waiting.
        """
        while size is None or size > 0:
            block: bytes = self.filelike.read(self.blksize if size is None else min(self.blksize, size))
            if not block:
                return
            if size is not None:
                block = block[:size]  # where `read` gives more than it was asked for
                size -= len(block)
            yield block

    def segment(self) -> Segment | None:
        """Say what reading to the end would give, from the logical position on; None where only reading can tell.

        A descriptor proves nothing: gzip, text and decrypting files have one, of what they are made from. So it
        is asked who does the reading, which also finds the file within a proxy such as Django's `File`.
        """
        file: Any = getattr(self.filelike.read, "__self__", None)
        if type(file) not in _FILES or type(getattr(file, "raw", file)) is not io.FileIO:
            return None
        try:
            file.flush()  # what was written to it and is still in its buffer
            offset = file.tell()
            status = os.fstat(file.fileno())
        except (OSError, ValueError):  # not seekable; closed
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_size <= offset:  # those in /proc have no size
            return None
        return Segment(file.fileno(), offset, status.st_size - offset)
