"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a file as the body of a response.

It can be read in blocks, as any iterable. If reading it gives the bytes of a regular file as they are on disk, it also
returns which part of which descriptor that is, so that the kernel can send it. It knows files, and neither sockets nor
HTTP.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

_FILE_TYPES: Final = (io.BufferedReader, io.BufferedRandom, io.FileIO)
_DELEGATED_METHODS: Final = ("close", "seek", "seekable", "tell")  # with the last three Werkzeug sends ranges


class Segment(NamedTuple):
    """The part of a regular file from `offset` on, `size` bytes long."""

    descriptor: int
    offset: int
    size: int


class FileWrapper:
    """Iterates a file-like object in blocks of `blksize` bytes. It has `close`, `seek`, `seekable` and `tell` if the
    file has them.
    """

    close: Callable[[], None]
    seek: Callable[..., int]
    seekable: Callable[[], bool]
    tell: Callable[[], int]

    def __init__(self, filelike: Any, blksize: int = 64 * 1024) -> None:
        self.filelike = filelike
        self.blksize = blksize
        for name in _DELEGATED_METHODS:
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
        """Yield `size` bytes in blocks, or all of them. No more is read: an empty pipe would block."""
        while size is None or size > 0:
            block: bytes = self.filelike.read(self.blksize if size is None else min(self.blksize, size))
            if not block:
                return
            if size is not None:
                block = block[:size]  # `read` may return more than requested
                size -= len(block)
            yield block

    def segment(self) -> Segment | None:
        """Return the part of a file that reading to the end would give; None if only reading shows that.

        A descriptor proves nothing: gzip, text and decrypting files have that of the file below them. So the object
        that owns `read` decides, which also finds the file within a wrapper such as Django's `File`.
        """
        file: Any = getattr(self.filelike.read, "__self__", None)
        if type(file) not in _FILE_TYPES or type(getattr(file, "raw", file)) is not io.FileIO:
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
