"""Gives a PostgreSQL that an earlier version of this project made an ordinary role for the application.

It had the superuser there. Does nothing to any other. What `make up` and `make deploy` do before they start what uses
it; the stack may run.
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
HELPER = "uploads_mender"  # without a password, so that nobody is it over the network


def main(_: Sequence[str]) -> None:
    make_ordinary(settings_.here())


def make_ordinary(settings: Settings) -> None:
    """Raises Failure, after what PostgreSQL said, if it cannot be done."""
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
        _run_as(settings, HELPER, source=settings.root / "postgres" / "mend-role.sql")
    # Also what one that was killed has left.
    _run_as(settings, "postgres", f"--command=DROP ROLE IF EXISTS {HELPER}")


def _answers(db: str) -> Progress:
    ask = ["docker", "exec", db, "pg_isready", "--quiet", "--host=127.0.0.1"]
    return Progress.DONE if programs.succeeds(ask) else Progress.WAITING


def _run_as(settings: Settings, role: str, *options: str, source: Path | None = None) -> None:
    words = ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--username={role}")
    archive.do(archive.postgres(settings, *words, f"--dbname={database.APPLICATION}", *options), source)
