"""Removes what crashes left behind: half-written files, and published files that no row knows.

Safe beside running uploads and other sweeps, in any number of processes. A file is touched only

1. when it is older than an age, so that its writer has had the time to lock it (see storage.py), and
2. while this process holds its lock, which means that its writer is done or dead, and
3. when the database, asked *after* the lock was taken, has no row for it.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q

from photos import storage
from photos.models import Photo

_BATCH = 500  # files per question to the database; SQLite takes 999 parameters in old builds
_STAMP = ".last-sweep"
_log = logging.getLogger(__name__)


def sweep(age: int) -> list[Path]:
    """Remove abandoned files older than `age` seconds. Returns what was removed.

    Raises OSError or DatabaseError when it cannot go on; what was removed until then stays removed.
    """
    youngest = time.time() - age
    places = chain(
        _places(storage.INCOMING),
        _unknown(_places(storage.ORIGINALS), "original"),
        _unknown(_places(storage.THUMBS), "thumbnail"),
    )
    removed = [storage.root() / place for place in places if _remove_if_abandoned(place, youngest)]
    if removed:
        _log.info("swept", extra={"fields": {"files": len(removed)}})
    return removed


def sweep_if_due() -> None:
    """Called when an upload was handled: sweeps at most once per SWEEP_INTERVAL, whichever process comes first.

    Never raises: the upload it follows was stored, and has to be answered.
    """
    stamp = storage.root() / _STAMP
    try:
        if time.time() - _modified(stamp) < settings.SWEEP_INTERVAL:
            return
        with stamp.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.utime(stamp)
            sweep(settings.SWEEP_AGE)
    except BlockingIOError:
        return  # another process is at it
    except (OSError, DatabaseError):
        _log.exception("the sweep failed; it is tried again in %s seconds", settings.SWEEP_INTERVAL)


def _modified(path: Path) -> float:
    """Seconds since the epoch; 0 when there is no such file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _places(folder: str) -> Iterator[str]:
    """The files in and below a folder, named as rows name them. Strings, because there may be very many."""
    for parent, _, filenames in os.walk(storage.root() / folder):
        shelf = Path(parent).relative_to(storage.root()).as_posix()
        yield from (f"{shelf}/{filename}" for filename in filenames)


def _unknown(places: Iterator[str], column: str) -> Iterator[str]:
    """Those that no row names in `column`: nearly none, so only these are worth a closer look."""
    while batch := list(islice(places, _BATCH)):
        rows = Photo.objects.filter(**{f"{column}__in": batch}).order_by()
        yield from set(batch) - set(rows.values_list(column, flat=True))


def _remove_if_abandoned(place: str, youngest: float) -> bool:
    """The three questions of this file's head, in their order."""
    path = storage.root() / place
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime >= youngest:
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if Photo.objects.filter(Q(original=place) | Q(thumbnail=place)).exists():
                return False
            path.unlink()
    except (BlockingIOError, FileNotFoundError):  # its writer is at work, or just moved or removed it
        return False
    return True
