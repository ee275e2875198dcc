"""Puts what a backup holds in the place of what is there: `make restore FILE=backups/NAME.tar`. docs/operations.md.

Looked at before anything is touched: is the archive whole, is it of this kind of database. Then it is unpacked beside
what is there, while the stack goes on; only to exchange the two it stops. What was there is kept until the stack is
well again with what was restored. Should anything go wrong before, it comes back.

YES=1                         does not ask
scripts/restore.sh --undo     brings back what was there, after a restore that was killed
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
RESTORED, BEFORE = f"{CURRENT}_restored", f"{CURRENT}_before"  # databases beside it
# Whatever has the application's code, and so its database, open; also what a restore that was killed has stopped.
USERS = ("web", "gunicorn", "runserver")


def main(arguments: Sequence[str]) -> None:
    settings = settings_.here()
    name = next(iter(arguments), "")
    kind = _check(settings, name)
    if name == "--undo":
        _undo(settings, kind)
        return
    file = Path(name)
    _look_at(settings, kind, file)
    users = _restore_beside(settings, kind, file)
    with _or_bring_back(settings, kind, users):
        _exchange(settings, kind, users)
    _forget(settings, kind)
    say("restored; the stack is healthy")


# --- checks: nothing is changed ---------------------------------------------------------------------------------------


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


def _look_at(settings: Settings, kind: str, file: Path) -> None:
    """Refuse what cannot be restored, and ask."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from error
    say("checking the archive")
    try:
        held, *files = archive.answer(archive.step(settings, "check"), file).splitlines()
    except Failure as failure:
        raise Failure(f"{file} cannot be restored: the reason is above. Nothing was changed") from failure
    if held != kind:
        raise Failure(
            f"{file} holds a database of {held}, but DATABASE_URL names one of {kind}; restore it into a stack whose"
            f" DATABASE_URL names a database of {held}. Nothing was changed"
        )
    try:
        kept = archive.answer(archive.step(settings, "kept"))
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
    """Unpack beside what is there. Return the containers that use it."""
    try:
        _forget(settings, kind)  # what a restore or a backup that was killed has left
        say("unpacking the archive next to the current data")
        if kind == "sqlite":
            archive.do(archive.step(settings, "unpack"), file)
        else:
            archive.do(archive.postgres(settings, "createdb", f"--owner={CURRENT}", RESTORED))
            options = ("--exit-on-error", "--no-owner", f"--role={CURRENT}", f"--dbname={RESTORED}")
            into = archive.postgres(settings, "pg_restore", *options)
            archive.pipe(archive.step(settings, "unpack"), into, file)
        return _users(settings)
    except BaseException:
        with contextlib.suppress(Failure):
            _forget(settings, kind)
        warn("the current data was not changed, and the stack still runs")
        raise


def _exchange(settings: Settings, kind: str, users: list[str]) -> None:
    say("stopping the services that use the data (nginx keeps running, and sends 502 in the meantime)")
    _stop(users)
    say("replacing the current data")
    archive.do(archive.step(settings, "swap", database.path(settings["DATABASE_URL"])))
    if kind == "postgresql":
        _rename_database(settings, CURRENT, BEFORE)
        _rename_database(settings, RESTORED, CURRENT)
    if not services.migrate(settings):
        raise Failure("the database of this backup could not be migrated")
    if not archive.answer(archive.step(settings, "library")):
        _adopt(settings)
    _start(users, "the stack did not become healthy with the restored data")


def _adopt(settings: Settings) -> None:
    """A backup from before there were ids does not say so itself; that they were saved together does."""
    say("marking the files as those of this database")
    if not compose.run(
        settings, "run", "--rm", "--no-deps", "-T", "migrate", *archive.if_there("adopt_media", "--yes")
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
    """Sessions that somebody has open would keep a database from being renamed."""
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608  # a constant
    commands = [f"--command={end}", f"--command=ALTER DATABASE {name} RENAME TO {other}"]
    archive.do(archive.postgres(settings, "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname=postgres", *commands))


# --- the way back -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _or_bring_back(settings: Settings, kind: str, users: list[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        warn("the restore failed; bringing back the data from before it")
        try:
            _bring_back(settings, kind, users)
        except Failure as failure:
            warn(f"that failed as well ({failure}); the data from before the restore is kept. To bring it back: {UNDO}")
        raise


def _undo(settings: Settings, kind: str) -> None:
    try:
        _bring_back(settings, kind, _users(settings))
    except Failure as failure:
        raise Failure(
            f"the data from before the restore is kept, but could not be brought back ({failure}). Fix that, then run"
            f" again: {UNDO}"
        ) from failure


def _bring_back(settings: Settings, kind: str, users: list[str]) -> None:
    """Killed in between, or when it failed, it can be run again: what is kept is forgotten when all of it is back."""
    _stop(users)
    if archive.answer(archive.step(settings, "kept")):
        archive.do(archive.step(settings, "undo", database.path(settings["DATABASE_URL"])))
        if kind == "postgresql":
            _bring_back_database(settings)
    _forget(settings, kind)
    _start(users, "the application did not become healthy with the data from before the restore")
    say("the data from before the restore is back, and the stack runs")


def _bring_back_database(settings: Settings) -> None:
    """If there is one that was put aside, it is of the same restore: before it kept anything it has dropped any other.

    That PostgreSQL does not answer does not mean that there is none.
    """
    ask = f"--command=SELECT 1 FROM pg_database WHERE datname = '{BEFORE}'"  # noqa: S608  # a constant
    if archive.answer(archive.postgres(settings, "psql", "--dbname=postgres", "-tA", ask)).strip():
        archive.do(archive.postgres(settings, "dropdb", "--if-exists", "--force", CURRENT))
        _rename_database(settings, BEFORE, CURRENT)


def _forget(settings: Settings, kind: str) -> None:
    """What is kept first: from then on the databases beside it are nobody's."""
    archive.do(archive.step(settings, "forget"))
    if kind == "postgresql":
        for name in (RESTORED, BEFORE):
            archive.do(archive.postgres(settings, "dropdb", "--if-exists", "--force", name))
