"""Removes what crashes left behind: half-written files, and published files that no row knows.

Safe beside running uploads and other sweeps, in any number of processes. A file is touched only

1. when it is older than an age, so that its writer has had the time to lock it (see storage.py), and
2. while this process holds its lock, which means that its writer is done or dead, and
3. when the database, asked *after* the lock was taken, has no row for it.

A published file, besides, only

4. when the database can show that it belongs to this media folder (pairing.py), and
5. when there are no more such files than crashes can leave; if there are, rows are missing, not files left over.

It is then put into quarantine (quarantine.py), and deleted from there after SWEEP_QUARANTINE seconds, if 2 to 4 still
hold. What is in quarantine and has a row is put back first of all, whosever the folder is.
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

_BATCH = 500  # files per question to the database; SQLite takes 999 parameters in old builds
_STAMP = ".last-sweep"
# Published files without a row that crashes leave between two sweeps. A power cut that meets half of the threads of web
# and of gunicorn (2 processes with 4 threads each) at a photo: 8 photos of 4 files. In a large library as many as the
# largest form has (100 photos), or several crashes; but not more than a tenth of what there is.
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
        """So many at most."""
        return min(_LEFT_BY_CRASHES, max(_LEFT_BY_A_CRASH, self.files // 10))


def sweep(age: int, *, has_brake: bool = True) -> list[Path]:
    """Take abandoned files older than `age` seconds away. Returns where they were.

    Raises OSError, DatabaseError or Problem when it cannot go on; what was done until then stays done.
    """
    removed = [key for key in _keys(media.INCOMING) if _taken(key, age, _unlinked)]
    storage.tidy(min(age, storage.OUTDATED_AGE))
    _put_back()
    removed += _quarantined(age, has_brake=has_brake)
    if removed:
        _log.info("swept", extra={"fields": {"files": len(removed)}})
    return [storage.root() / key for key in removed]


def sweep_if_due() -> None:
    """Called when an upload was handled: sweeps at most once per SWEEP_INTERVAL, whichever process comes first.

    Never raises: the upload it follows was stored, and has to be answered.
    """
    stamp = storage.root() / _STAMP
    try:
        # A stamp from the future was set by a clock gone wrong, and would stop sweeps until that day.
        if 0 <= time.time() - _modified(stamp) < settings.SWEEP_INTERVAL:
            return
        descriptor = os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # whoever may write to it may stop sweeps
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.utime(stamp)
            expired.remove()  # first: what is wrong with the files does not keep rows from going
            sweep(settings.SWEEP_AGE)
    except BlockingIOError:
        return  # another process is at it
    except (OSError, DatabaseError, Problem):
        _log.exception("the sweep failed; the next attempt is in %s seconds", settings.SWEEP_INTERVAL)


def _modified(path: Path) -> float:
    """Seconds since the epoch; 0 when there is no such file."""
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
    """The files in and below a folder, named as rows name them. Strings, because there may be very many."""
    for parent, _, filenames in os.walk(storage.root() / folder):
        prefix = Path(parent).relative_to(storage.root()).as_posix()
        yield from (f"{prefix}/{filename}" for filename in filenames)


def _quarantined(age: int, *, has_brake: bool) -> list[str]:
    """Put what no row knows into quarantine, and delete what has been there for long; or say why not."""
    published = None
    if pairing.is_undecided():
        published = scan()
        if not published.unknown:
            pairing.begin()
    if trouble := pairing.trouble():
        _log.error("no published file is swept: %s", trouble)
        return []
    pairing.count_sweep()
    published = published or scan()
    # Without those of uploads that are under way.
    abandoned = [key for key in published.unknown if storage.is_old(_modified(storage.root() / key), age)]
    if has_brake and len(abandoned) > published.left_by_crashes:
        _log.error(
            "no published file is swept: of %s files %s have no row, more than crashes can leave. Rows seem to be "
            "missing: check that this is the right database, not an old copy. To sweep anyway: sweep --no-brake",
            *(published.files, len(abandoned)),
        )
        return []
    _delete_expired()  # first, because on a full disk it makes room for the others
    taken = [key for key in abandoned if _taken(key, age, _put_into_quarantine)]
    if taken:
        _log.warning(
            "put into quarantine: files without a row", extra={"fields": {"files": len(taken), "first": taken[0]}}
        )
    return taken


def _taken(key: str, age: int, take: Callable[[str, Path], bool]) -> bool:
    return _take_if_abandoned(key, storage.root() / key, age, take)


def _put_into_quarantine(key: str, _: Path) -> bool:
    if pairing.trouble():  # another database may have stored this file since: it has said so before
        return False
    quarantine.put(key)
    return True


def _put_back() -> None:
    """What a row knows again goes where the row says it is."""
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
    """The three questions of this file's head, in their order; then `take` the file, which is at `path`."""
    try:
        with path.open("rb") as file:
            if not storage.is_old(os.fstat(file.fileno()).st_mtime, age):
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return not _is_needed(key, path) and take(key, path)
    except (BlockingIOError, FileNotFoundError):  # its writer is at work, or just moved or removed it
        return False


def _is_needed(key: str, path: Path) -> bool:
    """Whether a row has the file; one that is in its place does not need this one, should it be another."""
    final = storage.root() / key
    return bool(known([key])) and (path == final or not final.exists())
