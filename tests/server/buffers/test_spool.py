"""Spooled bodies: memory, then a file, and a missing disk, folder or descriptor."""

import errno
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.server.harness import limited
from wsgiserver.buffers.budget import Budget
from wsgiserver.buffers.spool import Spool, check_folder
from wsgiserver.errors import Refusal


def check(spool: Spool, *pieces: bytes, content: bytes, in_memory: bool, refused: str = "") -> None:
    """Write pieces, of which the last may be refused, and check the content with every read method."""
    name = ""
    try:
        for piece in pieces:
            spool.write(piece)
    except Refusal as refusal:
        name = refusal.name
    assert name == refused
    assert spool.size == len(content)
    assert spool.in_memory is in_memory
    assert b"".join(spool.peek(n, 3) for n in range(0, len(content), 3)) == content
    assert spool.peek(len(content), 10) == b""
    for _ in range(2):
        file = spool.rewind()
        assert file.read() == content
        assert file.read() == b""
        file.seek(0)
        assert b"".join(file) == content
    spool.close()
    spool.close()


@pytest.mark.parametrize(
    ("pieces", "content", "in_memory", "refused"),
    [
        ([], b"", True, ""),
        ([b""], b"", True, ""),
        ([b"a\nb\nc"], b"a\nb\nc", True, ""),
        ([b"12345", b"67890"], b"1234567890", True, ""),
        ([b"12345", b"67890", b"x"], b"1234567890x", False, ""),
        ([b"1234567890x"], b"1234567890x", False, ""),
        ([b"1234567890x", b"y\n" * 4], b"1234567890x" + b"y\n" * 4, False, ""),
        ([b"x" * 20], b"x" * 20, False, ""),
        ([b"x" * 21], b"", True, "body-too-large"),
        ([b"12345", b"x" * 16], b"12345", True, "body-too-large"),
        ([b"x" * 15, b"y" * 6], b"x" * 15, False, "body-too-large"),
    ],
)
def test_a_spool_keeps_its_limits_of_size_and_memory(
    tmp_path: Path, pieces: list[bytes], content: bytes, *, in_memory: bool, refused: str
) -> None:
    check(Spool(20, 10, str(tmp_path)), *pieces, content=content, in_memory=in_memory, refused=refused)


def test_small_writes_count_towards_the_memory_limit(tmp_path: Path) -> None:
    single_bytes = [bytes([number % 256]) for number in range(1000)]
    check(Spool(2000, 1000, str(tmp_path)), *single_bytes, content=b"".join(single_bytes), in_memory=True)
    check(Spool(2000, 999, str(tmp_path)), *single_bytes, content=b"".join(single_bytes), in_memory=False)


def test_small_writes_do_not_take_many_times_their_size_in_memory() -> None:
    """A list entry and an object header per byte would take forty times the limit."""
    tracemalloc.start()
    try:
        with closing(Spool(1 << 20, 1 << 20, None)) as spool:
            for _ in range(100_000):
                spool.write(b"x")
            assert tracemalloc.get_traced_memory()[0] < 500_000
    finally:
        tracemalloc.stop()


def test_a_spool_file_has_no_name_in_its_folder(tmp_path: Path) -> None:
    with closing(Spool(100, 0, str(tmp_path))) as spool:
        spool.write(b"x")
        assert not spool.in_memory
        assert list(tmp_path.iterdir()) == []


def test_a_spool_can_be_written_after_a_peek() -> None:
    for memory in (0, 100):
        with closing(Spool(100, memory, None)) as spool:
            spool.write(b"abc")
            assert spool.peek(1, 1) == b"b"
            spool.write(memoryview(b"def"))
            assert spool.peek(0, 100) == b"abcdef"


@pytest.mark.parametrize("file_limit", [0, 1, 9, 10, 11, 15, 100, 5000, 8192, 20_000])
def test_a_write_to_a_full_disk_is_refused_and_keeps_the_earlier_data(tmp_path: Path, file_limit: int) -> None:
    """The part of a refused piece that the disk accepted is removed."""
    pieces = [b"a" * 10, b"b" * 5, b"c" * 5000, b"d" * 3000, b"e" * 60_000]
    stored = b""
    for piece in pieces:
        if len(stored + piece) > max(file_limit, 10):
            break
        stored += piece
    with limited(resource.RLIMIT_FSIZE, file_limit):
        check(
            Spool(1 << 20, 10, str(tmp_path)), *pieces, content=stored, in_memory=file_limit < 10, refused="spool-full"
        )


def test_a_refused_write_can_be_repeated_when_there_is_room(tmp_path: Path) -> None:
    spool = Spool(1 << 20, 4, str(tmp_path))
    spool.write(b"12345")
    with limited(resource.RLIMIT_FSIZE, 8), pytest.raises(Refusal, match="spool-full"):
        spool.write(b"67890")
    check(spool, b"67890", content=b"1234567890", in_memory=False)


def no_descriptors(_: Path) -> Iterator[None]:
    with limited(resource.RLIMIT_NOFILE, 0):
        yield


def no_folder(folder: Path) -> Iterator[None]:
    folder.rmdir()
    yield


@pytest.mark.parametrize(("failure", "number"), [(no_descriptors, errno.EMFILE), (no_folder, errno.ENOENT)])
def test_a_spool_file_that_cannot_be_created_is_a_refusal(tmp_path: Path, failure: object, number: int) -> None:
    assert callable(failure)
    folder = tmp_path / "spool"
    folder.mkdir()
    spool = Spool(100, 4, str(folder))
    for _ in failure(folder):
        with pytest.raises(Refusal, match="spool-full") as refusal:
            spool.write(b"12345")
        assert isinstance(refusal.value.__cause__, OSError)
        assert refusal.value.__cause__.errno == number
    check(spool, b"1234", content=b"1234", in_memory=True)


def test_closing_a_spool_after_a_full_disk_raises_nothing(tmp_path: Path) -> None:
    with limited(resource.RLIMIT_FSIZE, 3):
        spool = Spool(100, 0, str(tmp_path))
        with pytest.raises(Refusal, match="spool-full"):
            spool.write(b"12345")
        spool.close()


def test_closing_a_spool_closes_its_descriptors(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        spool = Spool(100, 0, str(tmp_path))
        spool.write(b"x")
        spool.rewind().read(1)
        spool.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_the_check_of_the_spool_folder_refuses_an_unusable_one(tmp_path: Path) -> None:
    assert check_folder(str(tmp_path)) == str(tmp_path)
    assert Path(check_folder(None)).is_dir()
    for bad in (str(tmp_path / "missing"), "/proc"):
        with pytest.raises(OSError, match=r"."):
            check_folder(bad)


def test_bodies_share_one_memory_budget() -> None:
    """A spool that does not fit the budget goes to a file. Closed spools and spools in files free memory."""
    budget = Budget(100)
    first, second = (Spool(1000, 80, None, budget) for _ in range(2))
    first.write(b"x" * 60)
    second.write(b"y" * 40)
    assert budget.left == 0
    second.write(b"z")
    assert (first.in_memory, second.in_memory, budget.left) == (True, False, 40)
    first.write(b"x" * 30)
    assert (first.in_memory, budget.left) == (False, 100)
    assert (first.rewind().read(), second.rewind().read()) == (b"x" * 90, b"y" * 40 + b"z")
    third = Spool(1000, 80, None, budget)
    third.write(b"x" * 80)
    third.close()
    third.close()
    assert budget.left == 100
    first.close()
    second.close()
