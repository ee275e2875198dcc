"""Do this database and this media folder belong together? Checked before any published file is removed.

The database decides which files are not needed. Another database (DATABASE_URL was changed, or it is empty, or older
than the files, or belongs to a second stack) would decide the same about files that are needed. So both have an id:

    database      the only row of Library: created on first use, never changed
    media folder  `.library-id`: the ids of the databases that have stored files here, one per line

An older copy of a database has the same id. So both also count the sweeps: the count in `.library-count` is never
higher than the count of its database, unless the database was set back, or another stack sweeps with a copy of it.

Files may be removed while the media folder has the id of the database, no other id, and no higher count. A database
that stores a file in the folder of another database first adds its id: from then on neither of them removes anything.
Storing is always safe.

A database creates `.library-id` if all published files of the folder are in its rows: at the first upload of a new
stack, or at the first sweep after an upgrade. In all other cases an administrator decides: `manage.py adopt_media
--yes`. One link() creates the file, so if two databases do it at once, one is too late, and adds its id.
"""

import contextlib
import os
import re
import uuid

from django.db import DatabaseError
from django.db.models import F

from photos import storage
from photos.errors import Problem
from photos.models import FILES, Library
from uploadstack import media

FILE, COUNT = media.LIBRARY_ID, media.LIBRARY_COUNT
_ID = re.compile(r"[0-9a-f]{32}")
_COUNTED = re.compile(r"([0-9a-f]{32}) ([0-9]{1,18})\n")
_TRIES = 3  # to add an id while the folder is being adopted
_ADOPT = "If they belong together, declare it: manage.py adopt_media (reports what it finds; with --yes it declares it)"


class _Unreadable(Exception):
    """The text says which file, and what is wrong with it."""


def own_id() -> str:
    """Return the id of this database. Raises DatabaseError."""
    return _library().identity


def _library() -> Library:
    return Library.objects.get_or_create(pk=1, defaults={"identity": uuid.uuid4().hex})[0]


def mismatch() -> str:
    """Return why no published file may be removed, and what to do; empty if it may. Raises DatabaseError."""
    if (storage.root() / media.RESTORING).exists():
        return "a restore is in progress, or was interrupted: scripts/restore.sh --undo brings back what was there"
    try:
        ids, (counted, count) = _ids(), _count()  # read before the database, whose count is never lower
    except _Unreadable as error:
        return f"{error}, so it is unknown which database the files in the media folder belong to. {_ADOPT}"
    library = _library()
    return _mismatch_of(library, ids, count if counted == library.identity else 0)


def _mismatch_of(library: Library, ids: set[str], count: int) -> str:
    if not ids:
        return f"the media folder has files that this database does not know, and no {FILE}. {_ADOPT}"
    if library.identity not in ids:
        return (
            f"the media folder belongs to another database (check DATABASE_URL and which volume is mounted). {_ADOPT}"
        )
    if len(ids) > 1:
        return f"another database has stored files in the media folder as well: each line of {FILE} is one. {_ADOPT}"
    if count > library.sweeps:
        return f"this database is older than the media folder, or another stack sweeps with a copy of it. {_ADOPT}"
    return ""


def is_undecided() -> bool:
    """Return whether the media folder belongs to no database yet."""
    try:
        return not _ids()
    except _Unreadable:
        return False


def begin() -> None:
    """Take a folder that belongs to no database; all its published files must have rows. May raise OSError."""
    storage.write_whole(FILE, f"{own_id()}\n", replace=False)


def announce() -> None:
    """Add the id of this database before it publishes a file, so that other databases know of its files.

    Raises DatabaseError, DiskFull, StorageUnavailable, or OSError: then nothing may be published.
    """
    own = own_id()
    for _ in range(_TRIES):
        try:
            ids = _ids()
        except _Unreadable:
            return  # then no database removes anything
        if own in ids:
            return
        with storage.disk_errors_as_problems():
            if ids:
                _add(own)
            elif not _is_empty():
                return  # files of an older version; while they have no rows, no database takes the folder
            else:
                begin()


def count_sweep() -> None:
    """Count a sweep that may remove published files: first in the database, whose count must never be lower."""
    with contextlib.suppress(DatabaseError, OSError, Problem):  # on a full disk the sweep must continue: it frees space
        Library.objects.filter(pk=1).update(sweeps=F("sweeps") + 1)
        _write_count(own_id())


def _write_count(own: str) -> None:
    storage.write_whole(COUNT, f"{own} {_library().sweeps}\n", replace=True)


def adopt() -> None:
    """From now on the folder belongs to this database alone."""
    _write_count(own_id())
    storage.write_whole(FILE, f"{own_id()}\n", replace=True)


def _ids() -> set[str]:
    text = _text(FILE)
    if text is None:
        return set()
    ids = set(text.splitlines())
    if not ids or not all(_ID.fullmatch(line) for line in ids):
        raise _Unreadable(f"{FILE} contains something other than ids")
    return ids


def _count() -> tuple[str, int]:
    """Return the id of the database, and its count of sweeps."""
    text = _text(COUNT)
    if text is None:
        return "", 0
    if found := _COUNTED.fullmatch(text):
        return found[1], int(found[2])
    raise _Unreadable(f"{COUNT} contains something other than an id and a count")


def _text(name: str) -> str | None:
    """Return the content of a file; None if it does not exist."""
    try:
        return (storage.root() / name).read_text("ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _Unreadable(f"{name} cannot be read ({error})") from error


def _add(own: str) -> None:
    descriptor = os.open(storage.root() / FILE, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{own}\n".encode())  # atomic, even if other processes write
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_empty() -> bool:
    """Return whether no file is published."""
    for folder in set(FILES.values()):
        for _, _, names in os.walk(storage.root() / folder):
            if names:
                return False
    return True
