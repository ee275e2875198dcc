"""Database and media files into one file of backups/, while the stack runs: `make backup`. docs/operations.md.

A row is committed after its files are there, and deleted before they go. So neither order of copying would do: files
first, and a row that came meanwhile has none; rows first, and a file that went meanwhile is missed. Hence: hold on to
every file there is (a hard link, which deleting does not take away), copy the database, hold on to what came meanwhile.
What came and went in between is looked for, and if there is any, all of it is done again.

The file is written under another name, checked, and renamed: one that is there is whole. Its name is what is printed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, compose, database, engine, lock, programs
from . import settings as settings_
from .console import Failure, say, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .settings import Settings

TRIES = 5
MIB = 1 << 20


def main(_: Sequence[str]) -> None:
    settings = settings_.here()
    kind = _check(settings)
    os.umask(0o077)
    folder = archive.backups(settings)
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f"{settings.project}-{time.strftime('%Y%m%d-%H%M%S')}.tar"
    with _work(settings, folder) as work:
        columns = _ask_for_columns(settings)
        _take_copies(settings, kind, columns, work)
        say("writing the archive")
        _pack(settings, kind, work)
        say("checking the archive")
        files = _check_archive(settings, kind, work)
        _finish(work / "archive", name)
    size = name.stat().st_size // MIB
    say(f"saved the database and {files} files, {size} MiB. .env and its secrets are not included: save it separately")
    print(name)


def _check(settings: Settings) -> str:
    """Change nothing. Return the kind of database."""
    compose.need_engine(settings)
    if not (settings.has_file and engine.is_running(settings.project, "web")):
        raise Failure("the stack does not run; start it first: make up")
    database.refuse_unless_in_use(settings)
    kind = database.kind(settings["DATABASE_URL"])
    if kind != "sqlite" and not engine.is_running(settings.project, "db"):
        raise Failure("the database does not run; start it first: make up")
    lock.hold(settings, 900, "backup.sh")
    return kind


@contextlib.contextmanager
def _work(settings: Settings, folder: Path) -> Iterator[Path]:
    """A folder for what is not finished, and nothing left of it, here or in the volumes; nor of one that was killed."""
    for left in folder.glob(f".unfinished-{settings.project}.*"):
        shutil.rmtree(left, ignore_errors=True)
    archive.do(archive.step(settings, "unpin"))
    work = Path(tempfile.mkdtemp(prefix=f".unfinished-{settings.project}.", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(Failure):
            archive.do(archive.step(settings, "unpin"))


def _ask_for_columns(settings: Settings) -> str:
    """Return, as JSON, which columns name files. A project that does not tell has none."""
    web = engine.first(settings.project, "web")
    asked = programs.attempt(["docker", "exec", web, *archive.if_there("media_columns")])
    if asked.returncode:
        raise Failure(
            f"manage.py media_columns, which lists the columns that name files, failed: {asked.stderr.strip()[-500:]}"
        )
    if columns := asked.stdout.strip():
        return columns.splitlines()[-1]
    warn(
        "the backup does not check that the files of each row are in it, because the project has no command"
        ' media_columns; to add that command, put "uploadstack" into INSTALLED_APPS'
    )
    return "[]"


# --- copies -----------------------------------------------------------------------------------------------------------


def _take_copies(settings: Settings, kind: str, columns: str, work: Path) -> None:
    """Copy the database, and hold on to files, so that they belong together; `needed` has the files that rows name."""
    missing = ""
    for number in range(TRIES):
        say("copying the database" + (" again, because files were deleted in the meantime" if number else ""))
        _copy_database(settings, kind, columns, work)
        missing = archive.answer(archive.step(settings, "missing"), work / "needed")
        if not missing:
            return
    raise Failure(
        f"files that rows name were missing in each of {TRIES} copies; the first of them: {missing.splitlines()[0]}"
    )


def _copy_database(settings: Settings, kind: str, columns: str, work: Path) -> None:
    needed = work / "needed"
    if kind == "sqlite":
        archive.do(archive.step(settings, "pin", database.path(settings["DATABASE_URL"])))
        archive.do(archive.step(settings, "rows", columns), target=needed)
        return
    archive.do(archive.step(settings, "pin"))
    archive.do(archive.postgres(settings, "pg_dump", "--format=custom", database.APPLICATION), target=work / "dump")
    tables = archive.answer(archive.step(settings, "tables", columns)).splitlines()
    if not tables:  # without one, all would be printed
        needed.touch()
        return
    printed = archive.postgres(settings, "pg_restore", "--data-only", *tables, "--file=-")
    archive.pipe(printed, archive.step(settings, "dumped", columns), work / "dump", needed)


# --- the archive ------------------------------------------------------------------------------------------------------


def _pack(settings: Settings, kind: str, work: Path) -> None:
    if kind == "sqlite":
        archive.do(archive.step(settings, "pack", kind), target=work / "archive")
    else:
        size = str((work / "dump").stat().st_size)
        archive.do(archive.step(settings, "pack", kind, size), work / "dump", work / "archive")


def _check_archive(settings: Settings, kind: str, work: Path) -> int:
    """Check not what was meant to be written, but what was: its sums, and that each row finds its files in it.

    Return how many files it holds.
    """
    try:
        found, *files = archive.answer(archive.step(settings, "check"), work / "archive").splitlines()
    except Failure as failure:
        raise Failure("the archive is damaged; it was deleted") from failure
    if found != kind:
        raise Failure(f"the archive holds a database of {found} instead of {kind}; it was deleted")
    held = set(files)
    with (work / "needed").open(encoding="utf-8", errors="surrogateescape") as needed:
        lost = next((line for line in map(_without_end, needed) if line not in held), None)
    if lost is not None:
        raise Failure(f"the archive lacks a file that a row names: {lost}; it was deleted")
    return len(held)


def _without_end(line: str) -> str:
    return line.removesuffix("\n")


def _finish(unfinished: Path, name: Path) -> None:
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    if name.exists():
        raise Failure(f"{name} exists already; run make backup again")
    unfinished.rename(name)
    folder = os.open(name.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
