"""Makes the application's role in PostgreSQL an ordinary one, if an earlier version made it the superuser.

Does nothing otherwise. `make up` and `make deploy` run it before they start the services that use the database. The
stack may be running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import archive, database, engine, programs
from . import settings as settings_
from .console import Failure, Progress, say, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .settings import Settings

ANSWERS_WITHIN = 120  # seconds
HELPER = "uploads_mender"  # has no password, so nobody can log in with it over the network


def main(_: Sequence[str]) -> None:
    fix_role(settings_.here())


def fix_role(settings: Settings) -> None:
    """Raises Failure, after PostgreSQL's own message, if it fails."""
    db = engine.first(settings.project, "db")
    if not db:
        return
    if not wait_until("the database", ANSWERS_WITHIN, lambda: _answers(db)):
        raise Failure(f"the database does not respond after {ANSWERS_WITHIN} seconds; for its log: make logs S=db")
    if database.superuser(db) == database.APPLICATION:
        say("changing the database role of the application: from superuser to owner of its database only")
        _run_as(
            settings,
            database.APPLICATION,
            f"--command=DROP ROLE IF EXISTS {HELPER}",
            f"--command=CREATE ROLE {HELPER} SUPERUSER LOGIN",
        )
        _run_as(settings, HELPER, source=settings.root / "postgres" / "repair-role.sql")
    # Also if an earlier run that was killed left it.
    _run_as(settings, "postgres", f"--command=DROP ROLE IF EXISTS {HELPER}")


def _answers(db: str) -> Progress:
    ask = ["docker", "exec", db, "pg_isready", "--quiet", "--host=127.0.0.1"]
    return Progress.DONE if programs.succeeds(ask) else Progress.WAITING


def _run_as(settings: Settings, role: str, *options: str, source: Path | None = None) -> None:
    words = ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--username={role}")
    archive.run(archive.postgres(settings, *words, f"--dbname={database.APPLICATION}", *options), source)
