"""Database and media files as one archive, and back: the inside half of backup.sh and restore.sh.

They run it in a container that has the volumes and nothing else (no network, no secret), one step at a time, as
`python -m uploadstack.archive STEP`. COLUMNS is what the project's command `media_columns` prints.

    pin DATABASE        hold on to every file of the media volume; with a path, copy that SQLite database and pin again
    rows COLUMNS        print the files that the rows of the copy name
    tables COLUMNS      print the options by which pg_restore prints their tables
    dumped COLUMNS      stdin: these tables, as pg_restore prints them; print the files that their rows name
    missing             stdin: files that rows name; pin again, print those that are not there
    pack KIND SIZE      stdout: the archive; stdin: a dump of SIZE bytes, unless KIND is sqlite
    check               stdin: an archive; print what it holds, or fail with what is wrong with it
    unpack              stdin: an archive; lay it beside what is there; stdout: its dump, unless it is SQLite's
    library             print whose the files are: the ids of .library-id (media.py), if there are any
    swap DATABASE       put what was unpacked in the place of what is there, which is kept
    kept                print what a swap has kept, of which nobody has said yet that it is good
    undo DATABASE       put back what was kept
    forget              from here on nothing is kept; delete what was pinned, unpacked or kept
    unpin               delete what was pinned

An archive is a plain tar: about.json, the database, media/..., and last SHA256SUMS of all before it, so that one pass
writes it, one pass checks it, and `tar` with `sha256sum -c` need no program of ours.

Pins are hard links: a file that is deleted while the archive is written is still there under the other name. They and
all else that it makes begin with a dot, which the application and its sweep do not look at.

Each step may be killed at any point, and waits for one that goes on although whoever began it was killed. What a
restore has come to is told by one folder, `.before-restore` of the media volume: swap() begins by making it, and
forget() by renaming it. While it is there the application sweeps nothing.

An archive says whose its files are (`library` in about.json; those of before that do not): database and files that come
back together belong together.
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
COUNT = media.LIBRARY_COUNT  # of the database that was: the restored one is behind it
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
    """What is wrong, for the person who asked."""


# --- backing up -------------------------------------------------------------------------------------------------------


def pin(database: str = "") -> None:
    (MEDIA / PINNED).mkdir(exist_ok=True)
    (MEDIA / PINNED / LIBRARY).write_text(_library())  # before the database, whose id is older than this file
    _link_all()
    if not database:
        return
    COPY.parent.mkdir(exist_ok=True)
    source = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)
    target = sqlite3.connect(COPY)
    source.backup(target)  # in one read transaction; writers go on beside it
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
            continue  # the pin of before: no file changes its content under its name
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
    """All files, in a fixed order, but for what is nobody's yet and what begins with a dot."""
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
    """An older database may lack some of the columns."""
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
    folders: list[str | None] = []  # of each column of the table that is read; none: it names no file
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
    """A row without a file: it came and went between the two pins. Take another copy."""
    _link_all()
    for line in sys.stdin:
        if not (MEDIA / PINNED / line.rstrip("\n")).is_file():
            print(line, end="")


class _Hashing:
    """A file that is hashed as it is read."""

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


# --- looking at an archive --------------------------------------------------------------------------------------------


def _entries(folder: Path | None) -> Iterator[tuple[str, Path | None]]:
    """Read the archive on stdin to its end, and compare it with its own sums; what it holds goes into the folder."""
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
    """Entry by entry: what was goes aside first. For what was not there an empty folder does, so that undo() knows.

    Whose the files are is said last, when they are there, and the database as well.
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
    """The database last: while it is in its place, undo() knows that nothing else has taken it."""
    return [path for path in (Path(f"{database}{end}") for end in ("-shm", "-wal", "")) if path.exists()]


def kept() -> None:
    if (MEDIA / KEPT).exists():
        print(MEDIA / KEPT)


def undo(database: str = "") -> None:
    for aside in sorted((MEDIA / KEPT).glob("*")):
        place = MEDIA / aside.name
        if aside.name == LIBRARY and not aside.stat().st_size:  # there was none
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
        for aside in sorted((DATA / KEPT).glob("*")):  # the database itself comes first
            aside.rename(Path(database).with_name(aside.name))
    os.sync()


def forget() -> None:
    """The rename first: half of what was kept must not be taken for all of it."""
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
