"""Deploy, backup and restore with several containers of web, TLS and PostgreSQL."""

import contextlib
import subprocess
from pathlib import Path

from tests.stack.operating import (
    PATIENCE,
    archive_of,
    attempt,
    backup,
    check_deploy,
    check_fails,
    check_round_trip,
    ids,
    kill_restore,
    paused,
    state_preserved,
    undo,
)
from tests.stack.pictures import Picture
from tests.stack.programs import program
from tests.stack.stack import SCRIPTS, Stack, succeeds
from tests.wire.polling import poll


def test_a_deploy_loses_no_request(production: Stack) -> None:
    check_deploy(production, WEB_THREADS="3")
    assert len(ids(production)["web"]) == 3


def test_a_backup_can_be_restored(production: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    check_round_trip(production, photo, name, tmp_path)


def test_a_failed_restore_puts_the_previous_state_back(
    production: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    command = ["docker", "exec", production.container("db")["Id"], *program("foreign_dump.sh")]
    dump = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    archive = archive_of(tmp_path / "archive.tar", {"about.json": b"{}", "database.dump": dump, "media/x": b"x"})
    with state_preserved(production, photo, name):
        check_fails(production, archive, "could not be migrated")


def test_a_killed_restore_can_be_undone(production: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    archive = backup(production, tmp_path)
    with state_preserved(production, photo, name):
        kill_restore(production, archive, "migrating")
        undo(production)


def test_undo_fails_while_the_database_does_not_respond(
    production: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    """If the old data cannot be found, they may still exist."""
    archive = backup(production, tmp_path)
    with state_preserved(production, photo, name), contextlib.ExitStack() as afterwards:
        kill_restore(production, archive, "migrating")
        afterwards.callback(production.compose, "start", "db")  # if the test fails, the next one finds a database
        production.compose("stop", "db")
        failed = attempt(production, "restore.sh", "--undo")
        assert (failed.returncode, "the data from before the restore is kept" in failed.stderr) == (1, True), (
            failed.stderr
        )
        production.compose("start", "db")
        production.wait_until_healthy("db", within=120)
        undo(production)


def test_a_failed_deploy_keeps_the_old_containers_serving(production: Stack) -> None:
    """Two of the old containers are paused, so that their health checks fail; they still have to stay. The deploy only
    adds a container, which does not become healthy.
    """
    before = ids(production)
    command = [str(SCRIPTS / "deploy.sh")]
    current = dict(pair.split("=", 1) for pair in production.container("web")["Config"]["Env"])
    environment = {**production.environment, "WEB_REPLICAS": "4", "WEB_THREADS": current["WSGISERVER_THREADS"]}
    with contextlib.ExitStack() as afterwards:
        for container in sorted(before["web"])[:2]:
            afterwards.enter_context(paused(container))
        deploy = afterwards.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        poll(lambda: ids(production)["web"] - before["web"], "a new container exists", PATIENCE)
        (new,) = ids(production)["web"] - before["web"]
        poll(lambda: succeeds("docker", "kill", new), "it is killed", 60)
        output = deploy.communicate(timeout=PATIENCE)[1]
    production.forget()
    assert (deploy.returncode, "the new web did not become healthy" in output) == (1, True), output
    assert ids(production) == before
    production.wait_until_healthy("web", within=120)


def test_restoring_a_backup_of_sqlite_to_postgresql_is_refused(production: Stack, tmp_path: Path) -> None:
    before = production.state()
    archive = archive_of(tmp_path / "other.tar", {"about.json": b"{}", "database.sqlite3": b"SQLite format 3\0"})
    refused = attempt(production, "restore.sh", str(archive), YES="1")
    assert refused.returncode == 1
    assert "holds a database of sqlite, but DATABASE_URL names one of postgresql" in refused.stderr
    assert production.state() == before
