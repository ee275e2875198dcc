"""Bytes to durable files, and nothing else: no HTTP, no images, no database.

Below MEDIA_ROOT:

    incoming/<random>                 being written; a crash may leave some, the sweep takes them
    originals/<xx>/<random>.<suffix>  as uploaded
    thumbs/<xx>/<random>.webp
    renditions/<xx>/<random>.webp     larger than thumbnails; begins as the thumbnail's name does
    shared/<xx>/<random>.<suffix>     originals without their position, for others than the owner
    .outdated/<random>.<suffix>       of photos replaced just now, for whoever was told the old name
    .quarantine/...                   published files that no row knows (quarantine.py)
    .library-id, .library-count       whose files these are (pairing.py)
    .last-sweep                       when the last sweep was (sweep.py)

A file is written in `incoming`, synced, renamed to its final name and the folder synced, so a final name never shows
half a file, not even after a power cut. All names are random; nothing a client sends becomes part of a path.

An `Incoming` holds an exclusive lock on its file from its first byte until it is kept or discarded. The kernel drops
the lock when the process dies, however it dies, so "nobody holds the lock" means "nobody is working on it": that is
how sweep.py tells an abandoned file from one of an upload that is running in another process.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import time
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from django.conf import settings

from photos.errors import DiskFull, StorageUnavailable
from uploadstack.media import INCOMING

CHUNK = 256 * 1024  # bytes read and written at a time: few system calls, little memory
ORIGINALS, THUMBS, RENDITIONS = "originals", "thumbs", "renditions"
SHARED = "shared"
_SHARED: Final = 8  # hexadecimal digits that the names of a thumbnail and of what is beside it have in common
OUTDATED = ".outdated"
# Between Django's answer and nginx's open() lie milliseconds; nginx itself waits 70 s for anything (nginx/proxy.conf).
OUTDATED_AGE = 120  # seconds
_TIDY_INTERVAL = 30.0  # seconds between two looks of one process at what is outdated
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Mounted read-only (by an administrator, or by the kernel after an error), another user's, or broken.
_NO_WRITING = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_log = logging.getLogger(__name__)
_next_tidying = 0.0  # monotonic


def root() -> Path:
    return Path(settings.MEDIA_ROOT)


@contextlib.contextmanager
def disk_errors_as_problems() -> Iterator[None]:
    """Turns the errors of a disk that is full, or cannot be written, into Problems; the others are bugs."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise DiskFull("The server's disk is full. Nothing was stored. Try again later.") from error
        if error.errno in _NO_WRITING:
            raise StorageUnavailable(
                "The server cannot write photos at the moment. Nothing was stored. Try again later."
            ) from error
        raise


class Incoming:
    """A file on its way in: write() it, publish() it, keep() it. Leaving the `with` block discards what is not kept.

    Its methods raise DiskFull, StorageUnavailable, or OSError. One thread at a time.
    """

    def __init__(self) -> None:
        self.size = 0
        self.is_kept = False
        self._hash = hashlib.sha256()
        with disk_errors_as_problems():
            path, descriptor = _made_and_locked(root() / INCOMING)
        # Also runs when the object is forgotten, as Django's multipart parser does with a file it fails to finish.
        self._discard = weakref.finalize(self, _unlink_own, path, os.getpid())
        self.file: IO[bytes] = os.fdopen(descriptor, "w+b")
        self._path = path

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        with disk_errors_as_problems():
            self.file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def flush(self) -> None:
        """Make what was written visible to readers of `file`, which is left at its start."""
        with disk_errors_as_problems():
            self.file.seek(0)  # writes out the buffer

    def publish(self, folder: str, suffix: str, beside: str = "") -> str:
        """Give the file its final name, durably. Returns that name, relative to the media root.

        With `beside`, the name of another file, it is of the same content, and `is_beside` says so.
        """
        stem = _stem(beside)[:_SHARED] + uuid.uuid4().hex[-(32 - _SHARED if beside else 32) :]
        key = f"{folder}/{stem[:2]}/{stem}{suffix}"
        final = root() / key
        with disk_errors_as_problems():
            self.file.flush()
            os.fsync(self.file.fileno())
            make_folder(final.parent)
            make_folder(root() / OUTDATED)  # now, because what is retired must not fail any more
            os.rename(self._path, final)  # noqa: PTH104 - pathlib's would hide that this is the system call
            self._discard.detach()
            self._discard = weakref.finalize(self, _unlink_own, final, os.getpid())
            self._path = final
            sync_folder(final.parent)
        return key

    def link(self, final: Path, *, replace: bool) -> None:
        """Give the file another name besides, or this one in place of its own. Raises FileExistsError, or OSError."""
        if replace:
            os.replace(self._path, final)  # noqa: PTH105 - as above
        else:
            os.link(self._path, final)

    def keep(self) -> None:
        """From here on the file is not this object's to discard."""
        self._discard.detach()
        self.is_kept = True

    def discard(self) -> None:
        """Remove the file. Harmless when it was discarded or kept before."""
        self._discard()

    def close(self) -> None:
        """Discard the file unless it was kept, and give up the lock."""
        self._discard()
        with contextlib.suppress(OSError):  # the buffer of a file that no longer matters may not fit the disk
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_beside(key: str, other: str) -> bool:
    """Whether the file was published beside that other one."""
    return _stem(key)[:_SHARED] == _stem(other)[:_SHARED]


def _stem(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]


def _made_and_locked(folder: Path) -> tuple[Path, int]:
    """A new file. A sweep that was faster than the lock has taken it for abandoned; then another one."""
    make_folder(folder)
    while True:
        path = folder / uuid.uuid4().hex
        # Readable for all: nginx serves originals under another user id.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def remove(key: str) -> None:
    """Remove a published file whose row is gone. A failure is logged: the sweep will find the file again."""
    _unlink(root() / key)


def retire(key: str) -> None:
    """Take a published file away whose photo has another one now, but not from those who were told its name already.

    nginx opens a file some moments after Django has named it, and then looks here as well. Nothing is synced: after a
    power cut the file may be under either name, and goes from each in the end.
    """
    aside = root() / OUTDATED / key.rpartition("/")[2]
    try:
        os.link(root() / key, aside)
        os.utime(aside)  # from now on
    except OSError as error:
        _log.warning("cannot keep the outdated file %s for a while, so it is removed now: %s", key, error)
    remove(key)
    tidy_if_due()


def opened(key: str) -> IO[bytes] | None:
    """A published file, or None if it is not there."""
    try:
        return (root() / key).open("rb")
    except FileNotFoundError:
        return None


def opened_outdated(key: str) -> IO[bytes] | None:
    """One that was published there until it was retired, some moments ago."""
    return opened(f"{OUTDATED}/{key.rpartition('/')[2]}")


def tidy_if_due() -> None:
    global _next_tidying  # noqa: PLW0603 - a note of this process's, which two threads may both overwrite
    if time.monotonic() >= _next_tidying:
        _next_tidying = time.monotonic() + _TIDY_INTERVAL
        tidy(OUTDATED_AGE)


def tidy(age: int) -> None:
    """Remove what has been outdated for `age` seconds. Never raises: the replacement it follows is committed."""
    try:
        for path in (root() / OUTDATED).iterdir():
            if is_old(path.lstat().st_mtime, age):
                _unlink(path)
    except FileNotFoundError:
        return  # there is nothing yet, or somebody else is at it
    except OSError as error:
        _log.warning("cannot read the folder of outdated files, the sweep will try again: %s", error)


def is_old(modified: float, age: float) -> bool:
    """Whether a file's time is more than `age` seconds ago. One that is as far in the future was written by a clock
    gone wrong, and the file would otherwise stay young until that day.
    """
    return abs(time.time() - modified) > age


def write_whole(name: str, content: str, *, replace: bool) -> bool:
    """A small file in the media folder, durably, all of it or nothing. False: there is one, which was left as it is."""
    final = root() / name
    with Incoming() as incoming:
        incoming.write(content.encode())
        incoming.flush()
        os.fsync(incoming.file.fileno())
        try:
            incoming.link(final, replace=replace)
        except FileExistsError:
            return False
    sync_folder(root())
    return True


def _unlink_own(path: Path, process: int) -> None:
    """A forked process has copies of its parent's objects, but the parent's uploads are none of its business."""
    if os.getpid() == process:
        _unlink(path)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("cannot remove %s, the sweep will try again: %s", path, error)


def make_folder(folder: Path) -> None:
    """Create the folder, and make its entry in the one above durable: syncing a file does not sync the way to it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
