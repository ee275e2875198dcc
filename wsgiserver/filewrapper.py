"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a file as the body of an answer.

It can be read in blocks, as any iterable. If reading it gives the bytes of a regular file as they are on disk, it
also tells which part of which descriptor that is, so that the kernel can send it. It knows files, and neither
sockets nor HTTP.
"""

import io
import os
import stat
from typing import Any, Final, NamedTuple

_FILES: Final = (io.BufferedReader, io.BufferedRandom, io.FileIO)


class Segment(NamedTuple):
    """The part of a regular file from `offset` on, `size` bytes long."""

    descriptor: int
    offset: int
    size: int


class FileWrapper:
    """Iterates a file-like object in blocks of `blksize` bytes; its `close` is the file's, if that has one."""

    def __init__(self, filelike: Any, blksize: int = 64 * 1024) -> None:
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.blksize)
        if not data:
            raise StopIteration
        return data

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
