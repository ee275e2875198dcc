"""Whether this database and this media folder belong together. Whoever takes published files away asks here first.

A database tells which files nobody needs. Another database (DATABASE_URL was changed, it is empty, older than the
files, or a second stack's) tells the same of files that are very much needed. So both hold an id:

    database      the one row of Library: made when it is first asked for, never changed
    media folder  `.library-id`: the ids of the databases that have stored files here, one a line

An older copy of a database has its id, too. So both count the sweeps: `.library-count` is never ahead of the database
that it is of, unless that was set back to what it was before, or another stack sweeps with a copy of it.

Files may be taken away while the second holds the id of the first, and no other, and no higher count. A database that
stores a file in a folder of another one's adds its id before that: from then on neither takes anything away. Storing is
always safe.

The file is begun by a database with all that is published in the folder in its rows: a new stack's first upload, or the
first sweep after an upgrade. In all other cases a person says so: `manage.py adopt_media --yes`. One link() makes the
file, so of two that begin at once one is too late, and adds itself.
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
_TRIES = 3  # to add an id while somebody adopts the folder
_ADOPT = "If they belong together, declare it: manage.py adopt_media (reports what it finds; with --yes it declares it)"


class _Unreadable(Exception):
    """Which file, and what is wrong with it."""


def own_id() -> str:
    """The id of this database. Raises DatabaseError."""
    return _library().identity


def _library() -> Library:
    return Library.objects.get_or_create(pk=1, defaults={"identity": uuid.uuid4().hex})[0]


def trouble() -> str:
    """Why nothing that is published may be taken away, and what to do; empty when it may. Raises DatabaseError."""
    if (storage.root() / media.RESTORING).exists():
        return "a restore is in progress, or was interrupted: scripts/restore.sh --undo brings back what was there"
    try:
        ids, (counted, count) = _ids(), _count()  # before the database, which is ahead
    except _Unreadable as error:
        return f"{error}, so it is unknown which database the files in the media folder belong to. {_ADOPT}"
    library = _library()
    return _trouble_with(library, ids, count if counted == library.identity else 0)


def _trouble_with(library: Library, ids: set[str], count: int) -> str:
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
    """Whether the media folder does not say yet whose it is."""
    try:
        return not _ids()
    except _Unreadable:
        return False


def begin() -> None:
    """Called by a database that knows all that is published in a folder which is nobody's yet. Raises OSError too."""
    storage.write_whole(FILE, f"{own_id()}\n", replace=False)


def announce() -> None:
    """Called before something is published: the folder's other databases have to know that not all is theirs.

    Raises DatabaseError, DiskFull, StorageUnavailable, or OSError: then nothing may be published.
    """
    own = own_id()
    for _ in range(_TRIES):
        try:
            ids = _ids()
        except _Unreadable:
            return  # then nobody takes anything away
        if own in ids:
            return
        with storage.disk_errors_as_problems():
            if ids:
                _add(own)
            elif not _is_empty():
                return  # of an older version: what is published and not in its rows keeps any database from beginning
            else:
                begin()


def count_sweep() -> None:
    """Called by a sweep that takes published files away. In the database first, which must not fall behind."""
    with contextlib.suppress(DatabaseError, OSError, Problem):  # on a full disk the sweep goes on: it makes room
        Library.objects.filter(pk=1).update(sweeps=F("sweeps") + 1)
        _write_count(own_id())


def _write_count(own: str) -> None:
    storage.write_whole(COUNT, f"{own} {_library().sweeps}\n", replace=True)


def adopt() -> None:
    """From here on the folder is this database's, whatever it was before."""
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
    """Of which database, and how many sweeps."""
    text = _text(COUNT)
    if text is None:
        return "", 0
    if found := _COUNTED.fullmatch(text):
        return found[1], int(found[2])
    raise _Unreadable(f"{COUNT} contains something other than an id and a count")


def _text(name: str) -> str | None:
    """None: there is no such file."""
    try:
        return (storage.root() / name).read_text("ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _Unreadable(f"{name} cannot be read ({error})") from error


def _add(own: str) -> None:
    descriptor = os.open(storage.root() / FILE, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, f"{own}\n".encode())  # in one piece, whoever else writes
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_empty() -> bool:
    """Whether nothing is published."""
    for folder in set(FILES.values()):
        for _, _, names in os.walk(storage.root() / folder):
            if names:
                return False
    return True
