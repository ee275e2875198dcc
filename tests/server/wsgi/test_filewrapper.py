"""The file part that the kernel may send instead of the server: always the bytes that a read returns."""

import gzip
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from django.core.files import File as DjangoFile

from wsgiserver.wsgi.filewrapper import FileWrapper

DATA = bytes(range(256)) * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    return file


def check(file: Any, expected: bytes | None) -> None:
    """`expected` is the data that the kernel sends, or None for a file that must be read. A read returns the same."""
    segment = FileWrapper(file).segment()
    if expected is None:
        assert segment is None
        return
    assert segment is not None
    assert os.pread(segment.descriptor, segment.size, segment.offset) == expected
    assert b"".join(FileWrapper(file, 100)) == expected


def positioned(file: IO[bytes], position: int) -> IO[bytes]:
    file.seek(position)
    return file


def read_ahead(path: Path) -> IO[bytes]:
    """Move the descriptor's position to the end, while the logical position is 10."""
    file = path.open("rb")
    assert file.read(10) == DATA[:10]
    assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == len(DATA)
    return file


def written(path: Path) -> IO[bytes]:
    """Leave bytes in the buffer that are not in the file yet."""
    file = path.open("r+b")
    file.seek(0, os.SEEK_END)
    file.write(b"more")
    assert path.stat().st_size == len(DATA)
    file.seek(-2, os.SEEK_CUR)
    return file


def appended(path: Path) -> IO[bytes]:
    file = path.open("r+b")
    file.write(b"x")
    return file


REGULAR: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "buffered": (lambda path: path.open("rb"), DATA),
    "unbuffered": (lambda path: path.open("rb", buffering=0), DATA),
    "to write as well": (lambda path: path.open("r+b"), DATA),
    "somewhere in it": (lambda path: positioned(path.open("rb"), 1000), DATA[1000:]),
    "read ahead of its position": (read_ahead, DATA[10:]),
    "not yet written": (written, b"re"),
    "written, and then read on": (appended, DATA[1:]),
    "within Django's File": (lambda path: DjangoFile(path.open("rb"), "x"), DATA),
}


@pytest.mark.parametrize("name", REGULAR)
def test_a_regular_file_is_sent_from_its_position(path: Path, name: str) -> None:
    make, expected = REGULAR[name]
    with make(path) as file:
        check(file, expected)


class Decrypting(DjangoFile):  # type: ignore[type-arg] # generic only to its stubs
    def read(self, size: int = -1) -> bytes:
        return bytes(byte ^ 1 for byte in super().read(size))


class DecryptingRaw(io.FileIO):
    def readinto(self, buffer: Any) -> int:
        raise NotImplementedError


class Readable:
    """The minimum that PEP 3333 requires."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def fileno(self) -> int:
        return self._file.fileno()

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._file.close()


def compressed(path: Path) -> gzip.GzipFile:
    path.write_bytes(gzip.compress(DATA))
    return gzip.open(path)


def piped(_: Path) -> IO[bytes]:
    reading, writing = os.pipe()
    os.close(writing)
    return os.fdopen(reading, "rb")


def opened(name: str) -> IO[bytes]:
    return Path(name).open("rb")


def spooled(_: Path) -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - the test closes it
    file.write(DATA)
    file.seek(0)
    return file


READ: dict[str, Callable[[Path], Any]] = {
    "in memory": lambda _: io.BytesIO(DATA),
    "compressed": compressed,
    "text": lambda path: path.open(encoding="latin-1"),
    "decrypted above the file": lambda path: Decrypting(path.open("rb")),
    "decrypted below the buffer": lambda path: io.BufferedReader(DecryptingRaw(path)),
    "nothing but read": Readable,
    "pipe": piped,
    "spooled": spooled,
    "of no size": lambda _: opened("/proc/self/stat"),
    "a device": lambda _: opened("/dev/zero"),
    "at its end": lambda path: positioned(path.open("rb"), len(DATA)),
    "beyond its end": lambda path: positioned(path.open("rb"), len(DATA) + 1),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_that_only_reading_can_measure_has_no_segment(path: Path, name: str) -> None:
    file = READ[name](path)
    with file:
        check(file, None)


def test_a_closed_file_has_no_segment(path: Path) -> None:
    file = path.open("rb")
    file.close()
    check(file, None)


class Unclosable:
    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read


def test_a_wrapper_yields_blocks_and_closes_its_file() -> None:
    file = io.BytesIO(b"0123456789")
    wrapper = FileWrapper(file, 4)
    assert list(wrapper) == [b"0123", b"4567", b"89"]
    wrapper.close()
    assert file.closed
    bare = FileWrapper(Unclosable(b"x" * 100_000))
    assert [len(block) for block in bare] == [65536, 34464]
    assert not hasattr(bare, "close")


def test_close_calls_the_replaced_close_of_the_file() -> None:
    """Django replaces it with the response's close(), which closes more than the file."""
    closed: list[str] = []

    class Patched(io.BytesIO):
        pass

    file = Patched()
    file.close = lambda: closed.append("response")  # type: ignore[method-assign] # what Django does
    FileWrapper(file).close()
    assert closed == ["response"]


@pytest.mark.parametrize(("start", "expected"), [(0, DATA), (1000, DATA[1000:]), (len(DATA), b"")])
def test_seek_and_tell_are_those_of_the_file(path: Path, start: int, expected: bytes) -> None:
    """Frameworks use them to find the start of a range."""
    for file in (path.open("rb"), io.BytesIO(DATA)):
        wrapper = FileWrapper(file)
        assert wrapper.seekable()
        wrapper.seek(start)
        assert wrapper.tell() == start
        assert b"".join(wrapper) == expected
        wrapper.close()


def test_a_wrapper_has_only_the_methods_of_its_file() -> None:
    wrapper = FileWrapper(Unclosable(b""))
    assert not [name for name in ("close", "seek", "seekable", "tell") if hasattr(wrapper, name)]
    with piped(Path()) as pipe:
        assert not FileWrapper(pipe).seekable()


@pytest.mark.parametrize("size", [None, 0, 1, 100, 150, len(DATA), len(DATA) + 1])
def test_no_more_is_read_than_the_requested_size(size: int | None) -> None:
    file = io.BytesIO(DATA)
    assert b"".join(FileWrapper(file, 100).up_to(size)) == DATA[:size]
    assert file.tell() == min(len(DATA), len(DATA) if size is None else size)


def test_segment_does_not_move_the_position_of_the_file(path: Path) -> None:
    with path.open("rb") as file:
        file.seek(5)
        assert FileWrapper(file).segment() is not None
        assert file.tell() == 5


def test_a_wrapper_is_its_own_iterator() -> None:
    wrapper = FileWrapper(io.BytesIO(b""))
    iterator: Iterator[bytes] = iter(wrapper)
    assert iterator is wrapper
