"""Database and media files as one archive, and back: the part of backup.sh and restore.sh that runs in a container.

The container has the volumes and nothing else (no network, no secrets). The scripts run one step at a time, as
`python -m uploadstack.archive STEP`. COLUMNS is the output of the project's command `media_columns`.

    pin DATABASE        pin every file of the media volume; with a path, copy that SQLite database and pin again
    rows COLUMNS        print the files that the rows of the copy name
    tables COLUMNS      print the options by which pg_restore prints their tables
    dumped COLUMNS      stdin: these tables, as pg_restore prints them; print the files that their rows name
    missing             stdin: files that rows name; pin again, print the files that are missing
    pack KIND SIZE      stdout: the archive; stdin: a dump of SIZE bytes, unless KIND is sqlite
    check               stdin: an archive; print its content, or fail with the reason why it is not valid
    unpack              stdin: an archive; unpack it beside the current files; stdout: its dump, unless it is SQLite's
    library             print the ids of the databases of the files: .library-id (media.py), if it exists
    swap DATABASE       replace the current files and database by the unpacked ones, and keep the replaced ones
    kept                print the folder of what a swap has kept, if the restore is neither confirmed nor undone
    undo DATABASE       put back what the swap has kept
    forget              confirm the restore; delete what was pinned, unpacked or kept
    unpin               delete what was pinned

An archive is a plain tar: about.json, the database, media/..., and last SHA256SUMS of all before it, so that one pass
writes it, one pass checks it, and `tar` with `sha256sum -c` can check it without this program.

Pins are hard links: a file that is deleted while the archive is written still exists under the other name. The names
of pins and of everything else that this program creates begin with a dot; the application and its sweep ignore them.

Each step may be killed at any point. A step waits for another one that still runs although its script was killed. The
folder `.before-restore` of the media volume shows how far a restore is: swap() creates it first, forget() renames it
first. While it exists the application sweeps nothing.

An archive names the databases of its files (`library` in about.json; older archives do not): a database and files that
are restored together belong together.
"""

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

from uploadstack import media

MEDIA = Path("/srv/media")
DATA = Path("/srv/data")
PINNED, UNPACKED, KEPT, OVER = ".backup", ".restored", media.RESTORING, ".restore-is-over"
LIBRARY = media.LIBRARY_ID
COUNT = media.LIBRARY_COUNT  # of the replaced database; the restored one has a lower count
COPY = DATA / PINNED / "database"
NOT_KEPT = {media.INCOMING}
ABOUT, SUMS = "about.json", "SHA256SUMS"
KINDS = {"sqlite": "database.sqlite3", "postgresql": "database.dump"}
FORMAT = 1
_COPY = re.compile(r'COPY (?:\S+\.)?("(?:[^"]|"")+"|[^\s".]+) \((.*)\) FROM stdin;\n')
_IDENTIFIER = re.compile(r'"(?:[^"]|"")+"|[^\s",]+')
_ESCAPED = {
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}  # https://www.postgresql.org/docs/current/sql-copy.html
BLOCK = 1 << 20


class Refusal(Exception):
    """Why an archive or a step is refused; the text is for the administrator."""


# --- backing up -------------------------------------------------------------------------------------------------------


def pin(database: str = "") -> None:
    (MEDIA / PINNED).mkdir(exist_ok=True)
    (MEDIA / PINNED / LIBRARY).write_text(_library())  # before the database is copied: its id is older than this file
    _link_all()
    if not database:
        return
    COPY.parent.mkdir(exist_ok=True)
    source = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)
    target = sqlite3.connect(COPY)
    source.backup(target)  # in one read transaction; writers are not blocked
    if target.execute("PRAGMA quick_check").fetchone() != ("ok",):
        raise Refusal("the copy of the database is damaged; the database probably is, too")
    target.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    target.close()
    source.close()
    _link_all()


def _link_all() -> None:
    for path in _files(MEDIA):
        link = MEDIA / PINNED / path.relative_to(MEDIA)
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, link)
        except FileExistsError:
            continue  # pinned earlier; the content of a name never changes
        except FileNotFoundError:
            continue  # deleted at this moment


def _library(folder: Path | None = None) -> str:
    try:
        return ((folder or MEDIA) / LIBRARY).read_text()
    except FileNotFoundError:
        return ""


def library() -> None:
    print(_library(), end="")


def _files(top: Path) -> Iterator[Path]:
    """Yield all files in a fixed order, except uploads in progress and names that begin with a dot."""
    for child in sorted(top.iterdir()):
        if child.name.startswith(".") or child.name in NOT_KEPT:
            continue
        if child.is_file():
            yield child
            continue
        for parent, folders, names in os.walk(child):
            folders.sort()
            yield from (Path(parent, name) for name in sorted(names))


def _columns(columns: str) -> dict[tuple[str, str], str]:
    """Return the folder of each (table, column)."""
    return {(each["table"], each["column"]): each["folder"] for each in json.loads(columns)}


def _place(folder: str, value: str) -> str:
    return f"{folder}/{value}" if folder else value


def rows(columns: str) -> None:
    """Print the files that rows name. An older database may lack some of the columns."""
    with closing(sqlite3.connect(COPY)) as database:
        for (table, column), folder in _columns(columns).items():
            there = {name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", [table])}
            if column in there:
                quoted, source = (name.replace('"', '""') for name in (column, table))
                query = f'SELECT "{quoted}" FROM "{source}" WHERE "{quoted}" <> \'\''  # noqa: S608 - names of columns
                for (value,) in database.execute(query):
                    print(_place(folder, value))


def tables(columns: str) -> None:
    for table in sorted({table for table, _ in _columns(columns)}):
        print(f"--table={table}")


def dumped(columns: str) -> None:
    wanted = _columns(columns)
    folders: list[str | None] = []  # of each column of the current table; None: it names no file
    for line in sys.stdin:
        if begun := not folders and _COPY.fullmatch(line):
            table = _unquoted(begun[1])
            folders = [wanted.get((table, _unquoted(name))) for name in _IDENTIFIER.findall(begun[2])]
        elif line == "\\.\n":
            folders = []
        elif folders:
            for folder, value in zip(folders, line.rstrip("\n").split("\t"), strict=True):
                if folder is not None and value not in {"", r"\N"}:
                    print(_place(folder, re.sub(r"\\(.)", _meant, value)))


def _unquoted(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def _meant(escape: re.Match[str]) -> str:
    return _ESCAPED.get(escape[1], escape[1])


def missing() -> None:
    """Print the files that are missing: each was stored and deleted between the two pins, so another copy is needed."""
    _link_all()
    for line in sys.stdin:
        if not (MEDIA / PINNED / line.rstrip("\n")).is_file():
            print(line, end="")


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()


def pack(kind: str, size: str = "0") -> None:
    sums: list[str] = []
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, file: IO[bytes], length: int, modified: float) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = length, int(modified), 0o644
            hashing = _Hashing(file)
            tar.addfile(entry, hashing)
            sums.append(f"{hashing.digest()}  {name}\n")

        def add_bytes(name: str, data: bytes) -> None:
            add(name, io.BytesIO(data), len(data), time.time())

        pinned = list(_files(MEDIA / PINNED))
        about = {"format": FORMAT, "database": kind, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        more = {"files": len(pinned), "library": _library(MEDIA / PINNED)}
        add_bytes(ABOUT, json.dumps(about | more).encode() + b"\n")
        if kind == "sqlite":
            with COPY.open("rb") as file:
                add(KINDS[kind], file, COPY.stat().st_size, time.time())
        else:
            add(KINDS[kind], sys.stdin.buffer, int(size), time.time())
        for path in pinned:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                add(f"media/{path.relative_to(MEDIA / PINNED).as_posix()}", file, status.st_size, status.st_mtime)
        add_bytes(SUMS, "".join(sums).encode())


# --- checking an archive ----------------------------------------------------------------------------------------------


def _entries(folder: Path | None) -> Iterator[tuple[str, Path | None]]:
    """Read the archive on stdin to its end, compare it with its checksums, and unpack it into the folder, if given."""
    found: dict[str, str] = {}
    sums = ""
    try:
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            for entry in tar:
                source = tar.extractfile(entry)
                if source is None or not _is_ours(entry.name) or entry.name in found or sums:
                    raise Refusal(f"it contains an entry that no backup has: {entry.name}")
                if entry.name == SUMS:
                    sums = source.read().decode()
                    continue
                target = folder / entry.name if folder else None
                found[entry.name] = _copied(source, target, entry.mtime)
                yield entry.name, target
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise Refusal(f"it is not an archive, or it is incomplete: {error}") from error
    if not sums:
        raise Refusal("it is incomplete: its end, with the checksums, is missing")
    wanted = {name: digest for digest, _, name in (line.partition("  ") for line in sums.splitlines())}
    if different := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise Refusal(f"{len(different)} of its files do not match their checksums, the first is {different[0]}")


def _is_ours(name: str) -> bool:
    parts = name.split("/")
    return ".." not in parts and "" not in parts and (name in {ABOUT, SUMS, *KINDS.values()} or parts[0] == "media")


def _copied(source: IO[bytes], target: Path | None, modified: float) -> str:
    digest = hashlib.sha256()
    if target is None:
        while block := source.read(BLOCK):
            digest.update(block)
        return digest.hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while block := source.read(BLOCK):
            digest.update(block)
            file.write(block)
    os.utime(target, (modified, modified))
    return digest.hexdigest()


def check() -> None:
    names = [name for name, _ in _entries(None)]
    print(_kind(names))
    for name in names:
        if name.startswith("media/"):
            print(name.removeprefix("media/"))


def _kind(names: list[str]) -> str:
    for kind, name in KINDS.items():
        if names[:2] == [ABOUT, name]:
            return kind
    raise Refusal("it is a tar, but not a backup of this stack")


# --- restoring --------------------------------------------------------------------------------------------------------


def unpack() -> None:
    beside = MEDIA / UNPACKED
    names = [name for name, _ in _entries(beside)]
    kind = _kind(names)
    (beside / "media").mkdir(exist_ok=True)
    database = beside / KINDS[kind]
    if kind == "sqlite":
        (DATA / UNPACKED).mkdir(exist_ok=True)
        shutil.move(database, DATA / UNPACKED / "database")
    else:
        with database.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        database.unlink()
    os.sync()


def swap(database: str = "") -> None:
    """Replace entry by entry, after moving the old entry aside. An empty folder marks an entry that did not exist, for
    undo().

    The ids of the databases are written last, after the files and the database.
    """
    aside, beside = MEDIA / KEPT, MEDIA / UNPACKED / "media"
    ids = _archived_library()
    aside.mkdir()
    if (MEDIA / LIBRARY).exists():
        (MEDIA / LIBRARY).rename(aside / LIBRARY)
    else:
        (aside / LIBRARY).touch()
    if (MEDIA / COUNT).exists():
        (MEDIA / COUNT).rename(aside / COUNT)
    for name in sorted({path.name for folder in (MEDIA, beside) for path in folder.iterdir()}):
        if name.startswith("."):
            continue
        if (MEDIA / name).exists():
            (MEDIA / name).rename(aside / name)
        else:
            (aside / name).mkdir()
        if (beside / name).exists():
            (beside / name).rename(MEDIA / name)
    if database:
        (DATA / KEPT).mkdir()
        for path in _of_sqlite(database):
            path.rename(DATA / KEPT / path.name)
        (DATA / UNPACKED / "database").rename(database)
    if ids:
        (MEDIA / UNPACKED / LIBRARY).write_text(ids)
        (MEDIA / UNPACKED / LIBRARY).rename(MEDIA / LIBRARY)
    os.sync()


def _archived_library() -> str:
    about = MEDIA / UNPACKED / ABOUT
    if not about.exists():
        return ""
    try:
        ids = json.loads(about.read_text()).get("library", "")
    except (ValueError, AttributeError) as error:
        raise Refusal(f"its {ABOUT} cannot be read: {error}") from error
    if not isinstance(ids, str):
        raise Refusal(f"its {ABOUT} does not name the database of the files: {ids}")
    return ids


def _of_sqlite(database: str) -> list[Path]:
    """List the files of the database, itself last: while it is in place, undo() knows that nothing has replaced it."""
    return [path for path in (Path(f"{database}{end}") for end in ("-shm", "-wal", "")) if path.exists()]


def kept() -> None:
    if (MEDIA / KEPT).exists():
        print(MEDIA / KEPT)


def undo(database: str = "") -> None:
    for aside in sorted((MEDIA / KEPT).glob("*")):
        place = MEDIA / aside.name
        if aside.name == LIBRARY and not aside.stat().st_size:  # it did not exist before
            place.unlink(missing_ok=True)
            aside.unlink()
            continue
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        aside.rename(place)
    if database and list((DATA / KEPT).glob("*")):
        if (DATA / KEPT / Path(database).name).exists():
            for path in _of_sqlite(database):
                path.unlink()
        for aside in sorted((DATA / KEPT).glob("*")):  # the database itself first
            aside.rename(Path(database).with_name(aside.name))
    os.sync()


def forget() -> None:
    """Rename the folder first, so that a partly deleted one is not mistaken for a complete one."""
    _delete(OVER)
    if (MEDIA / KEPT).exists():
        (MEDIA / KEPT).rename(MEDIA / OVER)
        os.sync()
    _delete(PINNED, UNPACKED, KEPT, OVER)


def unpin() -> None:
    _delete(PINNED)


def _delete(*names: str) -> None:
    for top in (MEDIA, DATA):
        for name in names:
            if (top / name).exists():
                shutil.rmtree(top / name)


STEPS = {
    step.__name__: step
    for step in (pin, rows, tables, dumped, missing, pack, check, unpack, library, swap, kept, undo, forget, unpin)
}

if __name__ == "__main__":
    turn = os.open(MEDIA, os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)
    try:
        STEPS[sys.argv[1]](*sys.argv[2:])
    except (Refusal, OSError, sqlite3.Error) as error:
        sys.exit(f"error: {error}")
