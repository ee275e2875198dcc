"""Which database DATABASE_URL names: its kind, whether it is the stack's own, and whether it is the one in use until
now.
"""

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
    """Return what tells one database from another in an address: no password, no options."""
    address = re.sub(r"\?[^@]*$", "", address)
    address = re.sub(r"^([a-z0-9+]*)://.*@", r"\1://", address)
    address = re.sub(r"^postgresql://", "postgres://", address)
    return re.sub(r"^(postgres://[^/]*):5432/", r"\1/", address)


def kind(address: str) -> str:
    """Return what the stack has of its own: sqlite, postgresql, or nothing.

    Another PostgreSQL may be named while the one of the stack still runs: that one's rows are not the ones in use.
    """
    address = address.partition("?")[0]
    if address.startswith("sqlite:////srv/data/"):
        return "sqlite"
    return "postgresql" if OF_STACK.fullmatch(address) else ""


def path(address: str) -> str:
    """Return where SQLite's is; nothing for any other."""
    address = address.partition("?")[0]
    return address[len("sqlite:///") :] if address.startswith("sqlite:") else ""


def refuse_another(settings: Settings) -> None:
    """Photos are of the database that was there when they came.

    Another one has none: the gallery would be empty, without a word.
    """
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
    """For the time when there are no containers."""
    try:
        note(settings).parent.mkdir(exist_ok=True)
        note(settings).write_text(f"{identity(settings['DATABASE_URL'])}\n", encoding="utf-8")
    except OSError as error:
        warn(f"{note(settings)} could not be written: {error.strerror}")


def note(settings: Settings) -> Path:
    return settings.note(".database")


def refuse_unless_in_use(settings: Settings) -> None:
    """For backup and restore: photos of the one and rows of the other would be put together."""
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
    """Return what web has, or had last; nothing where there are no photos yet, or nobody knows."""
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
    """Return the role, in this container of the database, that may do everything.

    In a database that an earlier version made, the application's role is it, until scripts/role.sh has mended that.
    """
    ask = ["docker", "exec", db, "psql", "--username=postgres", "--dbname=postgres", "--command="]
    return "postgres" if programs.succeeds(ask) else APPLICATION
