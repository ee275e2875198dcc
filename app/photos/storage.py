"""Writes bytes to durable files. Knows nothing about HTTP, images or the database.

Below MEDIA_ROOT:

    incoming/<random>                 being written; the sweep removes those that a crash left
    originals/<xx>/<random>.<suffix>  as uploaded
    thumbs/<xx>/<random>.webp
    renditions/<xx>/<random>.webp     larger than thumbnails; the name begins like the thumbnail's
    shared/<xx>/<random>.<suffix>     originals without their position, for others than the owner
    .outdated/<random>.<suffix>       files of photos that were just replaced, for clients that know the old name
    .quarantine/...                   published files that no row names (quarantine.py)
    .library-id, .library-count       which database the files belong to (pairing.py)
    .last-sweep                       when the last sweep was (sweep.py)

A file is written in `incoming`, synced, and renamed to its final name; then the folder is synced. So a final name never
shows an incomplete file, even after a power failure. All names are random; nothing that a client sends becomes part of
a path. The path of a published file, relative to MEDIA_ROOT, is its storage key.

An `Incoming` holds an exclusive lock on its file from the start until the file is kept or discarded. The kernel
releases the lock when the process ends, however it ends. So a file without a lock is abandoned: that is how sweep.py
distinguishes it from the file of an upload that is running in another process.
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
_SHARED: Final = 8  # hexadecimal digits that the names of a thumbnail and its renditions have in common
OUTDATED = ".outdated"
# nginx opens the file milliseconds after Django's response; its own timeouts are 70 s (nginx/proxy.conf).
OUTDATED_AGE = 120  # seconds
_TIDY_INTERVAL = 30.0  # seconds between two scans of one process for outdated files
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Mounted read-only (by an administrator, or by the kernel after an error), owned by another user, or broken.
_NO_WRITING = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_log = logging.getLogger(__name__)
_next_tidying = 0.0  # monotonic


def root() -> Path:
    return Path(settings.MEDIA_ROOT)


@contextlib.contextmanager
def disk_errors_as_problems() -> Iterator[None]:
    """Turn the errors of a disk that is full or cannot be written into Problems. Other OSErrors are bugs."""
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
    """A file that is being stored: write(), publish(), keep(). Leaving the `with` block discards it unless it is kept.

    Its methods raise DiskFull, StorageUnavailable, or OSError. One thread at a time.
    """

    def __init__(self) -> None:
        self.size = 0
        self.is_kept = False
        self._hash = hashlib.sha256()
        with disk_errors_as_problems():
            path, descriptor = _made_and_locked(root() / INCOMING)
        # Also runs when the object is garbage-collected, which is what happens to an unfinished file of a form.
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
        """Make the written bytes visible to readers of `file`, and move `file` to its start."""
        with disk_errors_as_problems():
            self.file.seek(0)  # writes out the buffer

    def publish(self, folder: str, suffix: str, beside: str = "") -> str:
        """Give the file its final name, durably. Returns its storage key.

        `beside` is the storage key of another file of the same content; `is_beside` recognises such files.
        """
        stem = _stem(beside)[:_SHARED] + uuid.uuid4().hex[-(32 - _SHARED if beside else 32) :]
        key = f"{folder}/{stem[:2]}/{stem}{suffix}"
        final = root() / key
        with disk_errors_as_problems():
            self.file.flush()
            os.fsync(self.file.fileno())
            make_folder(final.parent)
            make_folder(root() / OUTDATED)  # now, because retiring a file later must not fail
            os.rename(self._path, final)  # noqa: PTH104 - pathlib's would hide that this is the system call
            self._discard.detach()
            self._discard = weakref.finalize(self, _unlink_own, final, os.getpid())
            self._path = final
            sync_folder(final.parent)
        return key

    def link(self, final: Path, *, replace: bool) -> None:
        """Link the file to another name, or with `replace` rename it over that name. Raises OSError."""
        if replace:
            os.replace(self._path, final)  # noqa: PTH105 - as above
        else:
            os.link(self._path, final)

    def keep(self) -> None:
        """From now on this object does not discard the file."""
        self._discard.detach()
        self.is_kept = True

    def discard(self) -> None:
        """Remove the file, unless it was discarded or kept before."""
        self._discard()

    def close(self) -> None:
        """Discard the file unless it was kept, and release the lock."""
        self._discard()
        with contextlib.suppress(OSError):  # the buffer of a discarded file may not fit on the disk
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_beside(key: str, other: str) -> bool:
    """Return whether the file was published with `beside` naming the other one."""
    return _stem(key)[:_SHARED] == _stem(other)[:_SHARED]


def _stem(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]


def _made_and_locked(folder: Path) -> tuple[Path, int]:
    """Create and lock a new file; try again if a sweep removed the file before it was locked."""
    make_folder(folder)
    while True:
        path = folder / uuid.uuid4().hex
        # Readable by all: nginx serves originals under another user id.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def remove(key: str) -> None:
    """Remove a published file whose row was deleted. A failure is logged; the sweep will try again."""
    _unlink(root() / key)


def retire(key: str) -> None:
    """Remove a published file that was replaced, but keep it for a while for clients that already know its name.

    nginx opens a file some milliseconds after Django has named it, and also tries the folder of outdated files. Nothing
    is synced: after a power failure the file may have either name, and is eventually removed under both.
    """
    aside = root() / OUTDATED / key.rpartition("/")[2]
    try:
        os.link(root() / key, aside)
        os.utime(aside)  # its age counts from now
    except OSError as error:
        _log.warning("cannot keep the outdated file %s for a while, so it is removed now: %s", key, error)
    remove(key)
    tidy_if_due()


def opened(key: str) -> IO[bytes] | None:
    """Open a published file; None if it does not exist."""
    try:
        return (root() / key).open("rb")
    except FileNotFoundError:
        return None


def opened_outdated(key: str) -> IO[bytes] | None:
    """Open a file that was published under this key until it was retired."""
    return opened(f"{OUTDATED}/{key.rpartition('/')[2]}")


def tidy_if_due() -> None:
    global _next_tidying  # noqa: PLW0603 - one value for the process; two threads may both set it
    if time.monotonic() >= _next_tidying:
        _next_tidying = time.monotonic() + _TIDY_INTERVAL
        tidy(OUTDATED_AGE)


def tidy(age: int) -> None:
    """Remove files that have been outdated for `age` seconds. Never raises: the replacement before it is committed."""
    try:
        for path in (root() / OUTDATED).iterdir():
            if is_old(path.lstat().st_mtime, age):
                _unlink(path)
    except FileNotFoundError:
        return  # there are none yet, or another process is removing them
    except OSError as error:
        _log.warning("cannot read the folder of outdated files, the sweep will try again: %s", error)


def is_old(modified: float, age: float) -> bool:
    """Return whether a file's time is more than `age` seconds ago, or as far in the future. A wrong clock writes such a
    time; otherwise the file would count as young until then.
    """
    return abs(time.time() - modified) > age


def write_whole(name: str, content: str, *, replace: bool) -> bool:
    """Write a small file in the media folder, durably and atomically. Returns False if it exists and must stay."""
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
    """Unlink only in the process that created the file: a forked child has copies of its parent's objects."""
    if os.getpid() == process:
        _unlink(path)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("cannot remove %s, the sweep will try again: %s", path, error)


def make_folder(folder: Path) -> None:
    """Create the folder, and sync its parents: syncing a file does not sync the path to it."""
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
