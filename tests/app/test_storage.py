import errno
import fcntl
import gc
import hashlib
import os
import re
import stat
from pathlib import Path

import pytest

from photos import storage
from photos.errors import DiskFull, StorageUnavailable
from tests.app.state import files


def test_a_published_file_is_whole_and_readable_for_nginx(media: Path) -> None:
    with storage.Incoming() as incoming:
        incoming.write(b"one ")
        incoming.write(b"two")
        key = incoming.publish(storage.ORIGINALS, ".jpg")
        incoming.keep()
    assert re.fullmatch(r"originals/([0-9a-f]{2})/\1[0-9a-f]{30}\.jpg", key)
    assert (media / key).read_bytes() == b"one two"
    assert (incoming.size, incoming.sha256) == (7, hashlib.sha256(b"one two").hexdigest())
    assert stat.S_IMODE((media / key).stat().st_mode) == 0o644
    assert files(media) == {key}


@pytest.mark.parametrize("is_published", [False, True])
def test_a_file_that_is_not_kept_is_removed(media: Path, is_published: bool) -> None:
    def failing() -> None:
        with storage.Incoming() as incoming:
            incoming.write(b"x" * 1_000_000)
            if is_published:
                incoming.publish(storage.ORIGINALS, ".jpg")
            assert len(files(media)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert files(media) == set()


def test_an_incoming_file_without_references_is_removed(media: Path) -> None:
    incoming = storage.Incoming()
    incoming.write(b"x")
    incoming.file.close()
    del incoming
    gc.collect()
    assert files(media) == set()


def test_a_file_is_locked_until_it_is_kept_or_discarded(media: Path) -> None:
    def is_locked(key: str) -> bool:
        with (media / key).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    with storage.Incoming() as incoming:
        (before,) = files(media)
        assert is_locked(before)
        after = incoming.publish(storage.ORIGINALS, ".jpg")
        assert is_locked(after)
        incoming.keep()
        assert is_locked(after)
    assert not is_locked(after)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EROFS, StorageUnavailable),
        (errno.EACCES, StorageUnavailable),
        (errno.EIO, StorageUnavailable),
        (errno.EBADF, OSError),
    ],
)
def test_a_full_disk_a_broken_disk_and_a_bug_are_different_errors(
    media: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def failing(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(expected), storage.Incoming() as incoming:
        incoming.publish(storage.ORIGINALS, ".jpg")
    assert files(media) == set()


def test_removing_a_missing_file_is_not_an_error(media: Path) -> None:
    storage.remove("originals/00/none.jpg")
