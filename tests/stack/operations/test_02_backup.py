"""make backup and make restore, also with damaged archives and kills in the middle."""

import contextlib
import json
import os
import sqlite3
import subprocess
import tarfile
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.operating import (
    PATIENCE,
    archive_of,
    attempt,
    backup,
    check_fails,
    check_round_trip,
    kill_restore,
    leftovers,
    state_preserved,
    undo,
    upload,
)
from tests.stack.pictures import Picture
from tests.stack.stack import SCRIPTS, Stack, run

pytestmark = pytest.mark.timeout(PATIENCE)


def test_a_backup_can_be_restored(stack: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    archive_path = check_round_trip(stack, photo, name, tmp_path)
    with tarfile.open(archive_path) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    with contextlib.closing(sqlite3.connect(tmp_path / "unpacked" / "database.sqlite3")) as database:
        rows = database.execute("SELECT original, thumbnail, sha256 FROM photos_photo").fetchall()
    assert rows
    lines = (tmp_path / "unpacked" / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for original, thumbnail, sha256 in rows:
        assert sums[f"media/{original}"] == sha256
        assert f"media/{thumbnail}" in sums


def flipped(archive: Path) -> None:
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def cut_short(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size * 2 // 3)


def emptied(archive: Path) -> None:
    archive.write_bytes(b"")


def of_another_kind(archive: Path) -> None:
    archive_of(archive, {"about.json": b"{}", "database.dump": b"PGDMP"})


def something_else(archive: Path) -> None:
    archive_of(archive, {"about.json": b"{}", "database.sqlite3": b"", "../outside": b"x"})


DAMAGES = [flipped, cut_short, emptied, of_another_kind, something_else]


@pytest.fixture(scope="module")
def backup_bytes(stack: Stack, photo: Picture, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    upload(stack, f"{uuid.uuid4().hex}.jpg", photo)
    made = attempt(stack, "backup.sh", BACKUPS=str(tmp_path_factory.mktemp("valid")))
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip()).read_bytes()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_archive_changes_nothing(
    stack: Stack, backup_bytes: bytes, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(backup_bytes)
    damage(archive)
    before = stack.state(), [container["State"]["StartedAt"] for container in stack.replicas("web")]
    refused = attempt(stack, "restore.sh", str(archive), YES="1")
    assert (refused.returncode, "nothing was changed" in refused.stderr.lower()) == (1, True), refused.stderr
    assert (stack.state(), [container["State"]["StartedAt"] for container in stack.replicas("web")]) == before


FOREIGN = "0" * 32 + "\n"


def belongs(stack: Stack) -> str:
    """The line that database and photos belong together; fails if they do not."""
    return stack.exec("gunicorn", "python", "manage.py", "adopt_media").splitlines()[-1]


@pytest.mark.parametrize("is_old", [False, True], ids=["with an id", "from before there were ids"])
def test_a_restore_pairs_database_and_photos(stack: Stack, backup_bytes: bytes, tmp_path: Path, is_old: bool) -> None:
    """The volume had another id before."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(backup_bytes)
    with tarfile.open(archive) as tar:
        entries = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]  # all are files
    about = json.loads(entries["about.json"])
    assert len(about["library"]) == 33, "not an id and a line end"
    if is_old:
        del about["library"], entries["SHA256SUMS"]
        archive_of(archive, entries | {"about.json": json.dumps(about).encode()})
    stack.exec("gunicorn", "sh", "-c", 'printf "$0" > /srv/media/.library-id', FOREIGN)
    restored = attempt(stack, "restore.sh", str(archive), YES="1")
    assert restored.returncode == 0, restored.stderr
    assert belongs(stack) == "The database and the media folder belong together."
    assert leftovers(stack) == ""


def test_restore_refuses_a_database_that_web_does_not_use_yet(
    stack: Stack, backup_bytes: bytes, tmp_path: Path
) -> None:
    """A change of .env without make up: the rows of web are in the other database, and would lose their photos."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(backup_bytes)
    before = stack.state()
    elsewhere = {"DATABASE_URL": "sqlite:////srv/data/another.sqlite3"}
    for refused in (
        attempt(stack, "restore.sh", str(archive), YES="1", **elsewhere),
        attempt(stack, "backup.sh", BACKUPS=str(tmp_path), **elsewhere),
    ):
        assert (refused.returncode, "apply the settings first: make up" in refused.stderr) == (1, True), refused.stderr
    assert stack.state() == before


def test_a_volume_shared_with_another_stack_is_not_restored_or_deleted(
    stack: Stack, backup_bytes: bytes, tmp_path: Path
) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(backup_bytes)
    before = stack.state()
    web = stack.container("web")
    volume = next(mount["Name"] for mount in web["Mounts"] if mount["Destination"] == "/srv/media")
    label = "--label=com.docker.compose.project=another-stack"
    foreign = run("docker", "create", label, f"--volume={volume}:/srv/media", web["Image"], "true").strip()
    try:
        for refused in (attempt(stack, "restore.sh", str(archive), YES="1"), attempt(stack, "clean.sh", YES="0")):
            assert (refused.returncode, "containers of other stacks use" in refused.stderr) == (1, True), refused.stderr
    finally:
        run("docker", "rm", foreign)
    assert stack.state() == before


def test_a_restore_without_confirmation_changes_nothing(stack: Stack, backup_bytes: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(backup_bytes)
    before = stack.state()
    command = ["bash", "-c", 'echo no | "$0" "$1"', str(SCRIPTS / "restore.sh"), str(archive)]
    refused = subprocess.run(command, capture_output=True, text=True, env=stack.environment, check=False)
    assert (refused.returncode, "nothing was changed" in refused.stderr) == (1, True)
    assert stack.state() == before


def test_a_failed_restore_puts_the_previous_state_back(stack: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    """Its checksums are right, but its database is invalid, so that the migration fails."""
    archive = archive_of(
        tmp_path / "archive.tar",
        {"about.json": b"{}", "database.sqlite3": b"not a database", "media/originals/00/x.jpg": b"x"},
    )
    with state_preserved(stack, photo, name):
        check_fails(stack, archive, "could not be migrated")


def test_a_restore_killed_while_unpacking_can_be_repeated(
    stack: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    """The data are still unchanged; half of the archive is unpacked beside them."""
    upload(stack, name, photo)
    archive, before = backup(stack, tmp_path), stack.state()
    kill_restore(stack, archive, "unpacking")
    assert stack.state() == before
    restored = attempt(stack, "restore.sh", str(archive), YES="1")
    assert restored.returncode == 0, restored.stderr
    assert stack.state() == before
    assert leftovers(stack) == ""


@pytest.mark.parametrize("point", ["replacing", "migrating"])
def test_a_killed_restore_can_be_undone(
    stack: Stack, backup_bytes: bytes, photo: Picture, name: str, tmp_path: Path, point: str
) -> None:
    """Even after a start of the stack and a backup."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(backup_bytes)
    with state_preserved(stack, photo, name):
        kill_restore(stack, archive, point)
        if point == "migrating":
            stack.script("up.sh")
            refused = attempt(stack, "restore.sh", str(archive), YES="1")
            assert (refused.returncode, "restore.sh --undo" in refused.stderr) == (1, True), refused.stderr
            assert attempt(stack, "backup.sh", BACKUPS=str(tmp_path / "between")).returncode == 0
        undo(stack)
