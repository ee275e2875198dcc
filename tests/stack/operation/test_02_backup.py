"""make backup and make restore: also of what is damaged, and killed in the middle."""

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
    undo,
    unharmed,
    upload,
)
from tests.stack.pictures import Picture
from tests.stack.stack import SCRIPTS, Stack, run

pytestmark = pytest.mark.timeout(PATIENCE)


def test_what_was_backed_up_comes_back(stack: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    kept = check_round_trip(stack, photo, name, tmp_path)
    with tarfile.open(kept) as tar:
        tar.extractall(tmp_path / "held", filter="data")
    with contextlib.closing(sqlite3.connect(tmp_path / "held" / "database.sqlite3")) as database:
        rows = database.execute("SELECT original, thumbnail, sha256 FROM photos_photo").fetchall()
    assert rows
    lines = (tmp_path / "held" / "SHA256SUMS").read_text().splitlines()
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


UNSOUND = [flipped, cut_short, emptied, of_another_kind, something_else]


@pytest.fixture(scope="module")
def sound(stack: Stack, photo: Picture, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    upload(stack, f"{uuid.uuid4().hex}.jpg", photo)
    made = attempt(stack, "backup.sh", BACKUPS=str(tmp_path_factory.mktemp("sound")))
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip()).read_bytes()


@pytest.mark.parametrize("spoil", UNSOUND, ids=lambda spoil: spoil.__name__)
def test_an_archive_that_is_not_sound_touches_nothing(
    stack: Stack, sound: bytes, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    spoil(archive)
    before = stack.state(), [container["State"]["StartedAt"] for container in stack.replicas("web")]
    refused = attempt(stack, "restore.sh", str(archive), YES="1")
    assert (refused.returncode, "nothing was changed" in refused.stderr.lower()) == (1, True), refused.stderr
    assert (stack.state(), [container["State"]["StartedAt"] for container in stack.replicas("web")]) == before


FOREIGN = "0" * 32 + "\n"


def belongs(stack: Stack) -> str:
    """Whether database and photos say that they belong together; fails if they do not."""
    return stack.exec("gunicorn", "python", "manage.py", "adopt_media").splitlines()[-1]


@pytest.mark.parametrize("is_old", [False, True], ids=["with an id", "from before there were ids"])
def test_database_and_photos_come_back_as_a_pair(stack: Stack, sound: bytes, tmp_path: Path, is_old: bool) -> None:
    """Whatever the volume says before."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    with tarfile.open(archive) as tar:
        entries = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]  # all are files
    about = json.loads(entries["about.json"])
    assert len(about["library"]) == 33, "the id, and a line's end"
    if is_old:
        del about["library"], entries["SHA256SUMS"]
        archive_of(archive, entries | {"about.json": json.dumps(about).encode()})
    stack.exec("gunicorn", "sh", "-c", 'printf "$0" > /srv/media/.library-id', FOREIGN)
    restored = attempt(stack, "restore.sh", str(archive), YES="1")
    assert restored.returncode == 0, restored.stderr
    assert belongs(stack) == "The database and the media folder belong together."
    assert leftovers(stack) == ""


def test_what_a_database_that_is_not_in_use_yet_would_be_restored_with_is_left_alone(
    stack: Stack, sound: bytes, tmp_path: Path
) -> None:
    """.env was changed, and make up has not been run: web's rows are elsewhere, and would lose their photos."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    before = stack.state()
    elsewhere = {"DATABASE_URL": "sqlite:////srv/data/another.sqlite3"}
    for refused in (
        attempt(stack, "restore.sh", str(archive), YES="1", **elsewhere),
        attempt(stack, "backup.sh", BACKUPS=str(tmp_path), **elsewhere),
    ):
        assert (refused.returncode, "run: make up" in refused.stderr) == (1, True), refused.stderr
    assert stack.state() == before


def test_a_volume_that_another_stack_has_too_is_neither_restored_nor_deleted(
    stack: Stack, sound: bytes, tmp_path: Path
) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    before = stack.state()
    web = stack.container("web")
    volume = next(mount["Name"] for mount in web["Mounts"] if mount["Destination"] == "/srv/media")
    label = "--label=com.docker.compose.project=another-stack"
    stranger = run("docker", "create", label, f"--volume={volume}:/srv/media", web["Image"], "true").strip()
    try:
        for refused in (attempt(stack, "restore.sh", str(archive), YES="1"), attempt(stack, "clean.sh", YES="0")):
            assert (refused.returncode, "used by other stacks" in refused.stderr) == (1, True), refused.stderr
    finally:
        run("docker", "rm", stranger)
    assert stack.state() == before


def test_nobody_who_does_not_say_yes_is_restored(stack: Stack, sound: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    before = stack.state()
    command = ["bash", "-c", 'echo no | "$0" "$1"', str(SCRIPTS / "restore.sh"), str(archive)]
    refused = subprocess.run(command, capture_output=True, text=True, env=stack.environment, check=False)
    assert (refused.returncode, "nothing was changed" in refused.stderr) == (1, True)
    assert stack.state() == before


def test_a_restore_that_fails_brings_back_what_was_there(
    stack: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    """Its sums are right, but what it calls a database is none; that shows when it is brought up to date."""
    archive = archive_of(
        tmp_path / "archive.tar",
        {"about.json": b"{}", "database.sqlite3": b"not a database", "media/originals/00/x.jpg": b"x"},
    )
    with unharmed(stack, photo, name):
        check_fails(stack, archive, "could not be brought up to date")


def test_a_restore_that_is_killed_early_can_be_begun_again(
    stack: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    """Of what is there nothing has been touched yet; half of the archive lies beside it."""
    upload(stack, name, photo)
    archive, before = backup(stack, tmp_path), stack.state()
    kill_restore(stack, archive, "unpacking")
    assert stack.state() == before
    restored = attempt(stack, "restore.sh", str(archive), YES="1")
    assert restored.returncode == 0, restored.stderr
    assert stack.state() == before
    assert leftovers(stack) == ""


@pytest.mark.parametrize("point", ["exchanging", "migrating"])
def test_a_restore_that_is_killed_can_be_undone(
    stack: Stack, sound: bytes, photo: Picture, name: str, tmp_path: Path, point: str
) -> None:
    """Even if the stack was started in between, and a backup made."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    with unharmed(stack, photo, name):
        kill_restore(stack, archive, point)
        if point == "migrating":
            stack.script("up.sh")
            refused = attempt(stack, "restore.sh", str(archive), YES="1")
            assert (refused.returncode, "restore.sh --undo" in refused.stderr) == (1, True), refused.stderr
            assert attempt(stack, "backup.sh", BACKUPS=str(tmp_path / "between")).returncode == 0
        undo(stack)
