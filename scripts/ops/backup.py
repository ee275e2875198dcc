"""`make backup`: saves database and media files to one file in backups/, while the stack runs. docs/operations.md.

A row is committed after its files exist, and deleted before they are. So a simple copy is wrong in either order: with
files first, a row that is added in between has no files; with rows first, a file that is deleted in between is missing.
Therefore: pin every file with a hard link, which survives the deletion of the file; copy the database; pin the files
that were added in between. If a file was both added and deleted in between, start again.

The archive is written under another name, checked, and then renamed, so that every file in backups/ is complete. Its
name is printed on stdout.
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
    """Check; change nothing. Return the kind of database."""
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
    """Yield a folder for unfinished files. Remove it and all pins afterwards, and first those of a killed backup."""
    for left in folder.glob(f".unfinished-{settings.project}.*"):
        shutil.rmtree(left, ignore_errors=True)
    archive.run(archive.step(settings, "unpin"))
    work = Path(tempfile.mkdtemp(prefix=f".unfinished-{settings.project}.", dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(Failure):
            archive.run(archive.step(settings, "unpin"))


def _ask_for_columns(settings: Settings) -> str:
    """Return, as JSON, the columns that name files; none for a project without the command media_columns."""
    web = engine.first(settings.project, "web")
    done = programs.attempt(["docker", "exec", web, *archive.if_defined("media_columns")])
    if done.returncode:
        raise Failure(
            f"manage.py media_columns, which lists the columns that name files, failed: {done.stderr.strip()[-500:]}"
        )
    if columns := done.stdout.strip():
        return columns.splitlines()[-1]
    warn(
        "the backup does not check that the files of each row are in it, because the project has no command"
        ' media_columns; to add that command, put "uploadstack" into INSTALLED_APPS'
    )
    return "[]"


# --- copies -----------------------------------------------------------------------------------------------------------


def _take_copies(settings: Settings, kind: str, columns: str, work: Path) -> None:
    """Copy the database and pin files so that they match. The file `needed` lists the files that rows name."""
    missing = ""
    for number in range(TRIES):
        say("copying the database" + (" again, because files were deleted in the meantime" if number else ""))
        _copy_database(settings, kind, columns, work)
        missing = archive.output(archive.step(settings, "missing"), work / "needed")
        if not missing:
            return
    raise Failure(
        f"files that rows name were missing in each of {TRIES} copies; the first of them: {missing.splitlines()[0]}"
    )


def _copy_database(settings: Settings, kind: str, columns: str, work: Path) -> None:
    needed = work / "needed"
    if kind == "sqlite":
        archive.run(archive.step(settings, "pin", database.path(settings["DATABASE_URL"])))
        archive.run(archive.step(settings, "rows", columns), target=needed)
        return
    archive.run(archive.step(settings, "pin"))
    archive.run(archive.postgres(settings, "pg_dump", "--format=custom", database.APPLICATION), target=work / "dump")
    tables = archive.output(archive.step(settings, "tables", columns)).splitlines()
    if not tables:  # without a table, pg_restore would print all of them
        needed.touch()
        return
    printed = archive.postgres(settings, "pg_restore", "--data-only", *tables, "--file=-")
    archive.pipe(printed, archive.step(settings, "dumped", columns), work / "dump", needed)


# --- the archive ------------------------------------------------------------------------------------------------------


def _pack(settings: Settings, kind: str, work: Path) -> None:
    if kind == "sqlite":
        archive.run(archive.step(settings, "pack", kind), target=work / "archive")
    else:
        size = str((work / "dump").stat().st_size)
        archive.run(archive.step(settings, "pack", kind, size), work / "dump", work / "archive")


def _check_archive(settings: Settings, kind: str, work: Path) -> int:
    """Read the written archive: check its checksums, and that it has the files of each row.

    Return the number of its files.
    """
    try:
        found, *files = archive.output(archive.step(settings, "check"), work / "archive").splitlines()
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
