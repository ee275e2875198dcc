"""Deploying, backing up and restoring where several containers of web run, behind TLS, on PostgreSQL."""

from pathlib import Path

from tests.stack.operating import archive_of, attempt, check_deploy, check_round_trip, ids
from tests.stack.pictures import Picture
from tests.stack.stack import Stack


def test_a_deploy_loses_no_request(production: Stack, photo: Picture, name: str) -> None:
    check_deploy(production, photo, name, WEB_THREADS="3")
    assert len(ids(production)["web"]) == 3


def test_what_was_backed_up_comes_back(production: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    check_round_trip(production, photo, name, tmp_path)


def test_a_backup_of_sqlite_is_refused(production: Stack, tmp_path: Path) -> None:
    before = production.state()
    archive = archive_of(tmp_path / "other.tar", {"about.json": b"{}", "database.sqlite3": b"SQLite format 3\0"})
    refused = attempt(production, "restore.sh", str(archive), YES="1")
    assert refused.returncode == 1
    assert "holds a database of sqlite, and DATABASE_URL names one of postgresql" in refused.stderr
    assert production.state() == before
