"""Removes the files that crashes leave: incomplete files, and published files that no row names.

It is safe while uploads and other sweeps run, in any number of processes. A file is removed only

1. if it is older than a given age, so that its writer has had time to lock it (see storage.py), and
2. while this process holds its lock, which means that its writer has finished or ended, and
3. if the database, queried *after* the lock was taken, has no row for it.

A published file is removed only if also

4. the database can show that it belongs to this media folder (pairing.py), and
5. there are not more such files than crashes can leave; otherwise rows are missing.

It is moved into quarantine (quarantine.py), and deleted there after SWEEP_QUARANTINE seconds if 2 to 4 still hold.
Each sweep begins by putting back quarantined files that a row names, even if 4 does not hold.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError

from photos import expired, pairing, quarantine, storage
from photos.errors import Problem
from photos.models import FILES, known
from uploadstack import media

_BATCH = 500  # files in one query; old builds of SQLite accept 999 parameters
_STAMP = ".last-sweep"
# How many published files without a row crashes can leave between two sweeps. A power failure while half of the threads
# of web and of gunicorn (2 processes with 4 threads each) store a photo leaves 8 photos of 4 files. In a large library
# it may be the largest form (100 photos), or several crashes; but not more than a tenth of all files.
_LEFT_BY_A_CRASH = 32
_LEFT_BY_CRASHES = 400
_log = logging.getLogger(__name__)


@dataclass
class Published:
    """What a scan of all published files has found."""

    files: int = 0
    unknown: list[str] = field(default_factory=list)  # to the database

    @property
    def left_by_crashes(self) -> int:
        """The most files without a row that crashes can explain."""
        return min(_LEFT_BY_CRASHES, max(_LEFT_BY_A_CRASH, self.files // 10))


def sweep(age: int, *, has_brake: bool = True) -> list[Path]:
    """Remove abandoned files that are older than `age` seconds. Returns their paths.

    Raises OSError, DatabaseError or Problem if it cannot continue; files that were removed before stay removed.
    """
    removed = [key for key in _keys(media.INCOMING) if _taken(key, age, _unlinked)]
    storage.tidy(min(age, storage.OUTDATED_AGE))
    _put_back()
    removed += _quarantined(age, has_brake=has_brake)
    if removed:
        _log.info("swept", extra={"fields": {"files": len(removed)}})
    return [storage.root() / key for key in removed]


def sweep_if_due() -> None:
    """Sweep after an upload, at most once per SWEEP_INTERVAL in all processes together.

    Never raises: the upload before it was stored, and its client needs a response.
    """
    stamp = storage.root() / _STAMP
    try:
        # A stamp in the future comes from a wrong clock, and would prevent sweeps until then.
        if 0 <= time.time() - _modified(stamp) < settings.SWEEP_INTERVAL:
            return
        descriptor = os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # a process that can write to it could prevent sweeps
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.utime(stamp)
            expired.remove()  # first, because an error with files must not keep expired rows
            sweep(settings.SWEEP_AGE)
    except BlockingIOError:
        return  # another process is sweeping
    except (OSError, DatabaseError, Problem):
        _log.exception("the sweep failed; the next attempt is in %s seconds", settings.SWEEP_INTERVAL)


def _modified(path: Path) -> float:
    """Return the modification time in seconds since the epoch; 0 if there is no such file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def scan() -> Published:
    """Find all published files, and ask the database about them in batches."""
    found = Published()
    for folder in sorted(set(FILES.values())):
        keys = _keys(folder)
        while batch := list(islice(keys, _BATCH)):
            found.files += len(batch)
            found.unknown += sorted(set(batch) - known(batch))
    return found


def _keys(folder: str) -> Iterator[str]:
    """Yield the storage keys of all files in a folder. They are strings, because there may be very many."""
    for parent, _, filenames in os.walk(storage.root() / folder):
        prefix = Path(parent).relative_to(storage.root()).as_posix()
        yield from (f"{prefix}/{filename}" for filename in filenames)


def _quarantined(age: int, *, has_brake: bool) -> list[str]:
    """Move published files without a row into quarantine, and delete expired ones there; or log why not."""
    published = None
    if pairing.is_undecided():
        published = scan()
        if not published.unknown:
            pairing.begin()
    if mismatch := pairing.mismatch():
        _log.error("no published file is swept: %s", mismatch)
        return []
    pairing.count_sweep()
    published = published or scan()
    # Without the files of uploads in progress.
    abandoned = [key for key in published.unknown if storage.is_old(_modified(storage.root() / key), age)]
    if has_brake and len(abandoned) > published.left_by_crashes:
        _log.error(
            "no published file is swept: of %s files %s have no row, more than crashes can leave. Rows seem to be "
            "missing: check that this is the right database, not an old copy. To sweep anyway: sweep --no-brake",
            *(published.files, len(abandoned)),
        )
        return []
    _delete_expired()  # first, because it frees space on a full disk
    taken = [key for key in abandoned if _taken(key, age, _put_into_quarantine)]
    if taken:
        _log.warning(
            "put into quarantine: files without a row", extra={"fields": {"files": len(taken), "first": taken[0]}}
        )
    return taken


def _taken(key: str, age: int, take: Callable[[str, Path], bool]) -> bool:
    return _take_if_abandoned(key, storage.root() / key, age, take)


def _put_into_quarantine(key: str, _: Path) -> bool:
    if pairing.mismatch():  # another database may have stored this file since; it announces itself first
        return False
    quarantine.put(key)
    return True


def _put_back() -> None:
    """Move quarantined files that a row names back to where the row expects them."""
    held = (key for key, _ in quarantine.held())
    while batch := list(islice(held, _BATCH)):
        for key in known(batch):
            if not (storage.root() / key).exists() and quarantine.restore(key):
                _log.warning("put back from quarantine: a row knows it", extra={"fields": {"file": key}})


def _delete_expired() -> None:
    expired = list(quarantine.expired(settings.SWEEP_QUARANTINE))
    deleted = [key for key, path in expired if _take_if_abandoned(key, path, 0, _unlinked)]
    quarantine.tidy()
    if deleted:
        _log.info("deleted from quarantine", extra={"fields": {"files": len(deleted)}})


def _unlinked(_: str, path: Path) -> bool:
    path.unlink()
    return True


def _take_if_abandoned(key: str, path: Path, age: int, take: Callable[[str, Path], bool]) -> bool:
    """Check conditions 1 to 3 of this module's docstring in their order; then `take` the file at `path`."""
    try:
        with path.open("rb") as file:
            if not storage.is_old(os.fstat(file.fileno()).st_mtime, age):
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return not _is_needed(key, path) and take(key, path)
    except (BlockingIOError, FileNotFoundError):  # its writer is still working, or has just moved or removed it
        return False


def _is_needed(key: str, path: Path) -> bool:
    """Return whether a row needs this file. It does not need a quarantined file if its own file is in place."""
    final = storage.root() / key
    return bool(known([key])) and (path == final or not final.exists())
