"""Deploying, backing up and restoring where several containers of web run, behind TLS, on PostgreSQL."""

import subprocess
from pathlib import Path

from tests.stack.operating import (
    archive_of,
    attempt,
    backup,
    check_deploy,
    check_fails,
    check_round_trip,
    ids,
    kill_restore,
    undo,
    unharmed,
)
from tests.stack.pictures import Picture
from tests.stack.stack import Stack


def test_a_deploy_loses_no_request(production: Stack) -> None:
    check_deploy(production, WEB_THREADS="3")
    assert len(ids(production)["web"]) == 3


def test_what_was_backed_up_comes_back(production: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    check_round_trip(production, photo, name, tmp_path)


# A database of somebody else's: sound, but what is brought up to date there is not ours.
_FOREIGN = """
set -e
createdb -U uploads foreign_one
psql -U uploads -q -d foreign_one -c 'CREATE TABLE photos_photo (id int)'
pg_dump -U uploads --format=custom foreign_one
dropdb -U uploads foreign_one
"""


def test_a_restore_that_fails_brings_back_what_was_there(
    production: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    command = ["docker", "exec", production.container("db")["Id"], "sh", "-c", _FOREIGN]
    dump = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    archive = archive_of(tmp_path / "archive.tar", {"about.json": b"{}", "database.dump": dump, "media/x": b"x"})
    with unharmed(production, photo, name):
        check_fails(production, archive, "could not be brought up to date")


def test_a_restore_that_is_killed_can_be_undone(production: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    archive = backup(production, tmp_path)
    with unharmed(production, photo, name):
        kill_restore(production, archive, "migrating")
        undo(production)


def test_a_backup_of_sqlite_is_refused(production: Stack, tmp_path: Path) -> None:
    before = production.state()
    archive = archive_of(tmp_path / "other.tar", {"about.json": b"{}", "database.sqlite3": b"SQLite format 3\0"})
    refused = attempt(production, "restore.sh", str(archive), YES="1")
    assert refused.returncode == 1
    assert "holds a database of sqlite, and DATABASE_URL names one of postgresql" in refused.stderr
    assert production.state() == before
