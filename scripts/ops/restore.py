"""`make restore FILE=backups/NAME.tar`: replaces database and media files with a backup. docs/operations.md.

First it checks, without changing anything, that the archive is complete and holds the right kind of database. Then it
unpacks the archive next to the current data, while the stack runs. The stack stops only while the two are swapped. The
old data is kept until the stack is healthy with the restored data; if anything fails before, it is brought back.

YES=1                         does not ask
scripts/restore.sh --undo     brings the old data back after a restore that was killed
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, compose, database, engine, lock, programs, services
from . import settings as settings_
from .console import Failure, explain, is_confirmed, say, wait_until, warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .settings import Settings

HEALTHY_WITHIN = 300  # seconds
UNDO = "scripts/restore.sh --undo"
CURRENT = database.APPLICATION
RESTORED, BEFORE = f"{CURRENT}_restored", f"{CURRENT}_before"  # databases next to it
# The services that use the database and the files. A restore that was killed may have stopped them.
USERS = ("web", "gunicorn", "runserver")


def main(arguments: Sequence[str]) -> None:
    settings = settings_.here()
    name = next(iter(arguments), "")
    kind = _check(settings, name)
    if name == "--undo":
        _undo(settings, kind)
        return
    file = Path(name)
    _check_archive(settings, kind, file)
    users = _restore_beside(settings, kind, file)
    with _rolled_back_on_failure(settings, kind, users):
        _swap(settings, kind, users)
    _delete_kept(settings, kind)
    say("restored; the stack is healthy")


# --- checks, which change nothing -------------------------------------------------------------------------------------


def _check(settings: Settings, name: str) -> str:
    """Return the kind of database."""
    compose.need_engine(settings)
    if not name:
        raise Failure(f"FILE is missing; name a backup: make restore FILE=backups/NAME.tar{_latest(settings)}")
    if not (settings.has_file and engine.ids(settings.project, "web")):
        raise Failure("there is no stack to restore into; start one first: make up")
    database.refuse_unless_in_use(settings)
    web = archive.web_of(settings)
    for place in (archive.MEDIA, archive.DATA):
        _refuse_shared(settings, web.mounts[place])
    lock.hold(settings, 0, "restore.sh")
    return database.kind(settings["DATABASE_URL"])


def _latest(settings: Settings) -> str:
    found = sorted(archive.backups(settings).glob("*.tar"))
    return f" (the latest is {found[-1]})" if found else ""


def _refuse_shared(settings: Settings, volume: str) -> None:
    if others := engine.other_users(volume, settings.project):
        raise Failure(
            f"containers of other stacks use {volume} ({' '.join(others)}), and would get the restored files as well."
            " Nothing was changed"
        )


def _check_archive(settings: Settings, kind: str, file: Path) -> None:
    """Refuse an archive that cannot be restored, then ask whether to continue."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from error
    say("checking the archive")
    try:
        held, *files = archive.output(archive.step(settings, "check"), file).splitlines()
    except Failure as failure:
        raise Failure(f"{file} cannot be restored: the reason is above. Nothing was changed") from failure
    if held != kind:
        raise Failure(
            f"{file} holds a database of {held}, but DATABASE_URL names one of {kind}; restore it into a stack whose"
            f" DATABASE_URL names a database of {held}. Nothing was changed"
        )
    try:
        kept = archive.output(archive.step(settings, "kept"))
    except Failure as failure:
        raise Failure("the check for an interrupted restore failed; nothing was changed") from failure
    if kept:
        raise Failure(f"an earlier restore was interrupted; first bring back the data from before it: {UNDO}")
    explain(
        f'This replaces every row and every media file of "{settings.project}" with those of\n'
        f"  {file} ({len(files)} files)\n"
        "Data that is newer than this backup is lost, unless you save it first (make backup). Uploads are refused for"
        " some seconds."
    )
    if not is_confirmed(settings.environment):
        raise Failure("nothing was changed")


# --- the restore ------------------------------------------------------------------------------------------------------


def _restore_beside(settings: Settings, kind: str, file: Path) -> list[str]:
    """Unpack next to the current data. Return the containers that use that data."""
    try:
        _delete_kept(settings, kind)  # left by a restore or a backup that was killed
        say("unpacking the archive next to the current data")
        if kind == "sqlite":
            archive.run(archive.step(settings, "unpack"), file)
        else:
            archive.run(archive.postgres(settings, "createdb", f"--owner={CURRENT}", RESTORED))
            options = ("--exit-on-error", "--no-owner", f"--role={CURRENT}", f"--dbname={RESTORED}")
            into = archive.postgres(settings, "pg_restore", *options)
            archive.pipe(archive.step(settings, "unpack"), into, file)
        return _users(settings)
    except BaseException:
        with contextlib.suppress(Failure):
            _delete_kept(settings, kind)
        warn("the current data was not changed, and the stack still runs")
        raise


def _swap(settings: Settings, kind: str, users: list[str]) -> None:
    say("stopping the services that use the data (nginx keeps running, and sends 502 in the meantime)")
    _stop(users)
    say("replacing the current data")
    archive.run(archive.step(settings, "swap", database.path(settings["DATABASE_URL"])))
    if kind == "postgresql":
        _rename_database(settings, CURRENT, BEFORE)
        _rename_database(settings, RESTORED, CURRENT)
    if not services.migrate(settings):
        raise Failure("the database of this backup could not be migrated")
    if not archive.output(archive.step(settings, "library")):
        _adopt(settings)
    _start(users, "the stack did not become healthy with the restored data")


def _adopt(settings: Settings) -> None:
    """Mark the files as those of this database. A backup of an earlier version has no ids, but was saved together."""
    say("marking the files as those of this database")
    if not compose.run(
        settings, "run", "--rm", "--no-deps", "-T", "migrate", *archive.if_defined("adopt_media", "--yes")
    ):
        warn("the files could not be marked, so leftover files are not deleted; for what to do: make doctor")


def _users(settings: Settings) -> list[str]:
    states = ("running", "restarting", "exited")
    return [container for service in USERS for container in engine.ids(settings.project, service, states=states)]


def _stop(users: list[str]) -> None:
    if not programs.run_silently(["docker", "stop", *users]):
        raise Failure("some services that use the data could not be stopped: the reason is above")


def _start(users: list[str], otherwise: str) -> None:
    if not programs.run_silently(["docker", "start", *users]):
        raise Failure(otherwise)
    if not wait_until("the application to become healthy", HEALTHY_WITHIN, lambda: engine.health(users)):
        raise Failure(otherwise)


def _rename_database(settings: Settings, name: str, other: str) -> None:
    """End all sessions first: a database with open sessions cannot be renamed."""
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608  # a constant
    commands = [f"--command={end}", f"--command=ALTER DATABASE {name} RENAME TO {other}"]
    archive.run(archive.postgres(settings, "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres", *commands))


# --- rolling back -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _rolled_back_on_failure(settings: Settings, kind: str, users: list[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        warn("the restore failed; bringing back the data from before it")
        try:
            _roll_back(settings, kind, users)
        except Failure as failure:
            warn(f"that failed as well ({failure}); the data from before the restore is kept. To bring it back: {UNDO}")
        raise


def _undo(settings: Settings, kind: str) -> None:
    try:
        _roll_back(settings, kind, _users(settings))
    except Failure as failure:
        raise Failure(
            f"the data from before the restore is kept, but could not be brought back ({failure}). Fix that, then run"
            f" again: {UNDO}"
        ) from failure


def _roll_back(settings: Settings, kind: str, users: list[str]) -> None:
    """Can be run again after it failed or was killed: the kept data is deleted only when all of it is back."""
    _stop(users)
    if archive.output(archive.step(settings, "kept")):
        archive.run(archive.step(settings, "undo", database.path(settings["DATABASE_URL"])))
        if kind == "postgresql":
            _roll_back_database(settings)
    _delete_kept(settings, kind)
    _start(users, "the application did not become healthy with the data from before the restore")
    say("the data from before the restore is back, and the stack runs")


def _roll_back_database(settings: Settings) -> None:
    """Rename the old database back, if it exists. It is of the same restore, which dropped any older one first.

    If PostgreSQL does not respond, this fails: the old database may exist.
    """
    ask = f"--command=SELECT 1 FROM pg_database WHERE datname = '{BEFORE}'"  # noqa: S608  # a constant
    if archive.output(archive.postgres(settings, "psql", "--dbname=postgres", "-tA", ask)).strip():
        archive.run(archive.postgres(settings, "dropdb", "--if-exists", "--force", CURRENT))
        _rename_database(settings, BEFORE, CURRENT)


def _delete_kept(settings: Settings, kind: str) -> None:
    """Delete the kept files first: from then on the databases next to the current one are not needed."""
    archive.run(archive.step(settings, "forget"))
    if kind == "postgresql":
        for name in (RESTORED, BEFORE):
            archive.run(archive.postgres(settings, "dropdb", "--if-exists", "--force", name))
