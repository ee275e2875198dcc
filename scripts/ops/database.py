"""The database that DATABASE_URL names: its kind, whether it belongs to the stack, and whether it is the one in use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import engine, programs
from .console import Failure, explain, is_confirmed, warn

if TYPE_CHECKING:
    from pathlib import Path

    from .settings import Settings

OF_STACK = re.compile(r"postgres.*://.*@db(:5432)?/uploads")


def identity(address: str) -> str:
    """Return the part of an address that identifies the database, without password and options."""
    address = re.sub(r"\?[^@]*$", "", address)
    address = re.sub(r"^([a-z0-9+]*)://.*@", r"\1://", address)
    address = re.sub(r"^postgresql://", "postgres://", address)
    return re.sub(r"^(postgres://[^/]*):5432/", r"\1/", address)


def kind(address: str) -> str:
    """Return the kind of a database that belongs to the stack, sqlite or postgresql; nothing for any other.

    The address counts, not what runs: the stack's own PostgreSQL may still run while another one is in use.
    """
    address = address.partition("?")[0]
    if address.startswith("sqlite:////srv/data/"):
        return "sqlite"
    return "postgresql" if OF_STACK.fullmatch(address) else ""


def path(address: str) -> str:
    """Return the path of a SQLite database; nothing for any other."""
    address = address.partition("?")[0]
    return address[len("sqlite:///") :] if address.startswith("sqlite:") else ""


def refuse_another(settings: Settings) -> None:
    """Ask before another database is used: it has no rows of the photos, so the gallery would silently be empty."""
    before, now = _before(settings), identity(settings["DATABASE_URL"])
    if before in {"", now}:
        return
    explain(
        "DATABASE_URL names another database than before.\n"
        f"  until now    {before}\n"
        f"  from now on  {now}\n"
        "Photos, users and tokens are not moved: the site shows what the new database holds. The old database and the"
        " files\n"
        'are not changed. To move the rows first: docs/operations.md, "Another database".'
    )
    if not is_confirmed(settings.environment):
        raise Failure("nothing was changed; restore the old DATABASE_URL, or confirm the new one with YES=1")


def remember(settings: Settings) -> None:
    """Note the database, for a time when there are no containers to read it from."""
    try:
        note(settings).parent.mkdir(exist_ok=True)
        note(settings).write_text(f"{identity(settings['DATABASE_URL'])}\n", encoding="utf-8")
    except OSError as error:
        warn(f"{note(settings)} could not be written: {error.strerror}")


def note(settings: Settings) -> Path:
    return settings.note(".database")


def refuse_unless_in_use(settings: Settings) -> None:
    """For backup and restore: with another database they would combine its rows with photos of the one in use."""
    now = settings["DATABASE_URL"]
    if not kind(now):
        raise Failure(
            "DATABASE_URL names neither a SQLite database in /srv/data nor the database of this stack (service db); use"
            " the backup and restore of the server that it is on"
        )
    web = next(iter(engine.containers(settings.project, "web")), None)
    used = web.environment.get("DATABASE_URL", "") if web else ""
    if _without_secrets(used) != _without_secrets(now):
        raise Failure(
            f"web uses the database {_without_secrets(used)}, but DATABASE_URL in {settings.file} names another one;"
            f" apply the settings first: make up"
        )


def _before(settings: Settings) -> str:
    """Return the database that web uses, or used last; nothing if there are no photos yet, or it is unknown."""
    if not engine.has_volume(f"{settings.project}_media"):
        return ""
    web = next(iter(engine.containers(settings.project, "web")), None)
    if web:
        return identity(web.environment.get("DATABASE_URL", ""))
    try:
        return note(settings).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _without_secrets(address: str) -> str:
    return re.sub(r"//.*@", "//", address).partition("?")[0]


# --- the stack's own PostgreSQL ---------------------------------------------------------------------------------------

APPLICATION = "uploads"  # the application's role, and its database


def superuser(db: str) -> str:
    """Return the superuser's role, in this container of the database.

    In a database that an earlier version created, it is the application's role until scripts/role.sh has changed that.
    """
    ask = ["docker", "exec", db, "psql", "--username=postgres", "--dbname=postgres", "--command="]
    return "postgres" if programs.succeeds(ask) else APPLICATION
