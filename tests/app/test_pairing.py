"""No sweep removes a published file unless its database can prove that the media folder belongs to it.

The databases are real: SQLite files with real migrations, and `manage.py` in separate processes, as in the sweep of a
stack whose DATABASE_URL was changed. The tests compare the media folder before and after.
"""

import logging.config
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import execute_from_command_line
from django.db import DatabaseError, connections
from django.test import Client
from django.test.utils import override_settings
from pytest_django import DjangoDbBlocker, Settings

from config.settings import LOGGING
from photos import library, pairing, quarantine, storage, sweep
from photos.models import Library, Photo
from tests.app import state
from tests.app.pictures import picture
from tests.forks import exit_code, fork, in_fork
from uploadstack import database

OLD = 3600  # seconds
PUT = """
import sys
from django.contrib.auth.models import User
from photos import library, storage
from tests.app.pictures import picture
owner, _ = User.objects.get_or_create(username="someone")
for name in sys.argv[1:]:
    with storage.Incoming() as incoming:
        incoming.write(picture())
        library.put(owner, name, incoming)
"""

DELETE = """
from django.contrib.auth.models import User
from photos import library
library.delete(User.objects.get(username="someone"), "a.jpg")
"""


@dataclass
class Stack:
    """A database and the media folder that it is used with."""

    path: Path
    media: Path
    blocker: DjangoDbBlocker

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run manage.py in a fork, which has Django loaded, with a new connection and new logs."""
        connections.close_all()
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            status = in_fork(lambda: self._manage(arguments, output.fileno(), errors.fileno()))
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())

    def _manage(self, arguments: tuple[str, ...], output: int, errors: int) -> None:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
        sys.stdout, sys.stderr = (open(number, "w", buffering=1) for number in (output, errors))  # noqa: PTH123, SIM115
        logging.config.dictConfig(LOGGING)
        self.blocker.unblock()
        connections.settings = connections.configure_settings({"default": database.settings(f"sqlite:///{self.path}")})
        del connections["default"]
        override_settings(MEDIA_ROOT=self.media).enable()
        execute_from_command_line(["manage.py", *arguments])

    def put(self, *names: str) -> None:
        program = PUT.replace("sys.argv[1:]", repr(names))
        done = self.run("shell", "-v", "0", "-c", program)
        assert done.returncode == 0, done.stderr

    def sweep(self, *options: str) -> str:
        done = self.run("sweep", "--age", "0", *options)
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker) -> Path:
    """An empty database with all its tables."""
    path = tmp_path_factory.mktemp("databases") / "empty.sqlite3"
    done = Stack(path, path.parent / "media", django_db_blocker).run("migrate", "-v", "0")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def stack_on(
    migrated: Path, django_db_blocker: DjangoDbBlocker, media: Path, tmp_path: Path
) -> Iterator[Callable[[str, Path], Stack]]:
    """`stack_on(name, media)`: a new or an existing database, with that folder."""

    def create(name: str, folder: Path) -> Stack:
        path = tmp_path / f"{name}.sqlite3"
        if not path.exists():
            shutil.copyfile(migrated, path)
        return Stack(path, folder, django_db_blocker)

    yield create
    connections.close_all()


StackOn = Callable[[str, Path], Stack]


def abandoned(media: Path, key: str) -> Path:
    path = media / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left behind")
    os.utime(path, (1, 1))
    return path


def quarantined(media: Path) -> set[str]:
    """Return the former paths of the quarantined files."""
    found = (path.relative_to(media / ".quarantine").parts for path in (media / ".quarantine").glob("*/*/**/*"))
    return {"/".join(parts[1:]) for parts in found if len(parts) == 4}


def check_untouched(stack: Stack, before: set[str], complaint: str) -> None:
    """Check that a sweep removes nothing and reports the reason in one line."""
    output = stack.sweep()
    assert state.files(stack.media) == before
    assert quarantined(stack.media) == set()
    errors = [line for line in output.splitlines() if '"level": "error"' in line]
    assert len(errors) == 1, output
    assert complaint in errors[0]


# --- which database ---------------------------------------------------------------------------------------------------


def test_the_sweep_of_another_database_removes_nothing(stack_on: StackOn, media: Path) -> None:
    """DATABASE_URL was changed. Once both databases have stored files, neither sweeps before an operator decides."""
    first, second = stack_on("first", media), stack_on("second", media)
    first.put("a.jpg", "b.jpg")
    before = state.files(media)
    check_untouched(second, before, "belongs to another database")
    second.put("c.jpg")
    after = state.files(media)
    assert len(after - before) == 2
    check_untouched(second, after, "another database has stored files")
    check_untouched(first, after, "another database has stored files")
    adopted = first.run("adopt_media", "--yes")
    assert (adopted.returncode, "6 published files: 4 have a row, 2 have none." in adopted.stdout) == (0, True)
    first.sweep()
    assert state.files(media) == before
    assert quarantined(media) == after - before


def test_the_sweep_of_an_empty_database_removes_nothing(stack_on: StackOn, media: Path) -> None:
    """The files may be older than library ids, or the database flushed after it adopted the folder."""
    key = "originals/ab/ab12.jpg"
    abandoned(media, key)
    new = stack_on("new", media)
    check_untouched(new, {key}, "does not know")
    assert not (media / ".library-id").exists()
    assert new.run("adopt_media", "--yes").returncode == 0
    assert new.run("flush", "--noinput").returncode == 0
    check_untouched(new, {key}, "belongs to another database")


def test_files_that_an_older_database_quarantines_are_put_back(stack_on: StackOn, media: Path) -> None:
    """The id matches. Files without a row stay in quarantine, and are put back when their row returns."""
    stack = stack_on("today", media)
    stack.put("a.jpg")
    yesterday = stack_on("yesterday", media)
    shutil.copyfile(stack.path, yesterday.path)
    before = state.files(media)
    stack.put("b.jpg")
    today = state.files(media)
    output = yesterday.sweep()
    assert "put into quarantine" in output
    assert (state.files(media), quarantined(media)) == (before, today - before)
    assert "put back from quarantine" in stack.sweep()
    assert (state.files(media), quarantined(media)) == (today, set())


def test_the_sweep_of_a_database_that_was_set_back_removes_nothing(stack_on: StackOn, media: Path) -> None:
    """The id matches, but the count of sweeps is lower. An operator may adopt the media folder all the same."""
    stack = stack_on("today", media)
    stack.put("a.jpg")
    yesterday = stack_on("yesterday", media)
    shutil.copyfile(stack.path, yesterday.path)
    stack.sweep()
    stack.put("b.jpg")
    before = state.files(media)
    check_untouched(yesterday, before, "older than the media folder")
    assert yesterday.run("shell", "-v", "0", "-c", DELETE).returncode == 0
    assert state.files(media) == before
    assert '"level": "error"' not in stack.sweep()
    assert yesterday.run("adopt_media", "--yes").returncode == 0
    yesterday.sweep()
    assert len(quarantined(media)) == 4


def test_only_one_of_two_stacks_with_copies_of_a_database_sweeps(stack_on: StackOn, media: Path) -> None:
    """A copy has the same id. The stack that sweeps first continues; the other removes nothing."""
    first, second = stack_on("first", media), stack_on("second", media)
    first.put("a.jpg")
    shutil.copyfile(first.path, second.path)
    second.sweep()
    first.put("b.jpg")
    before = state.files(media)
    check_untouched(first, before, "another stack sweeps with a copy")
    assert '"level": "error"' not in second.sweep("--age", "600")
    assert state.files(media) == before


def test_concurrent_sweeps_do_not_block_each_other(transactional_db: None, media: Path) -> None:
    """No matter which sweep writes the count last, the count is not ahead of the one in the database."""
    pairing.adopt()
    problems: list[str] = []

    def keep_sweeping() -> None:
        for _ in range(20):
            sweep.sweep(600)
            problems.append(pairing.mismatch())
        connections.close_all()

    threads = [threading.Thread(target=keep_sweeping) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [""] * 80
    assert Library.objects.get().sweeps == 80


@pytest.mark.parametrize(
    "content", ["", "x", "1\n", "0" * 32 + " x\n", "0" * 32 + " -1\n", "0" * 32 + " " + "9" * 99 + "\n"]
)
def test_an_unreadable_count_stops_the_sweep(
    transactional_db: None, media: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    pairing.adopt()
    left = abandoned(media, "originals/ab/ab12.jpg")
    (media / ".library-count").write_text(content)
    assert sweep.sweep(0) == []
    assert "manage.py adopt_media" in caplog.text
    pairing.adopt()
    assert sweep.sweep(0) == [left]


def test_the_sweep_of_a_much_older_database_removes_nothing(stack_on: StackOn, media: Path) -> None:
    stack = stack_on("today", media)
    stack.put("a.jpg")
    yesterday = stack_on("yesterday", media)
    shutil.copyfile(stack.path, yesterday.path)
    stack.put(*(f"{number}.jpg" for number in range(20)))
    before = state.files(media)
    check_untouched(yesterday, before, "more than crashes can leave")
    yesterday.sweep("--no-brake")
    assert len(quarantined(media)) == 40
    stack.sweep()
    assert state.files(media) == before


@pytest.mark.parametrize(
    ("known", "unknown", "young", "taken"),
    [(0, 32, 0, 32), (0, 33, 0, 0), (0, 32, 300, 32), (400, 44, 0, 44), (400, 45, 0, 0)],
)
def test_more_unknown_files_than_crashes_leave_stop_the_sweep(
    ada: User, media: Path, known: int, unknown: int, young: int, taken: int
) -> None:
    """The limit is a tenth of all files, or what one crash leaves; files of current uploads do not count."""
    pairing.adopt()
    rows = [
        {"name": f"{number}", "original": f"originals/00/{number}.jpg", "thumbnail": f"thumbs/00/{number}.webp"}
        for number in range(known // 2)
    ]
    for row in rows:
        abandoned(media, row["original"])
        abandoned(media, row["thumbnail"])
    Photo.objects.bulk_create(Photo(**row, owner=ada, size=1, width=1, height=1) for row in rows)
    for number in range(unknown):
        abandoned(media, f"originals/ab/{number}.jpg")
    for number in range(young):
        os.utime(abandoned(media, f"originals/cd/{number}.jpg"))
    assert len(sweep.sweep(600)) == taken
    assert len(quarantined(media)) == taken
    assert len(state.files(media)) == known + unknown + young - taken


def test_an_upgraded_stack_sweeps_after_its_first_upload(stack_on: StackOn, media: Path) -> None:
    """All its files have rows, and neither the database nor the folder has an id yet."""
    stack = stack_on("stack", media)
    stack.put("a.jpg", "b.jpg")
    (media / ".library-id").unlink()
    program = "from photos.models import Library; Library.objects.all().delete()"
    assert stack.run("shell", "-v", "0", "-c", program).returncode == 0
    before = state.files(media)
    assert '"level": "error"' not in stack.sweep()
    abandoned(media, "originals/ab/ab12.jpg")
    stack.sweep()
    assert (state.files(media), quarantined(media)) == (before, {"originals/ab/ab12.jpg"})


def test_rows_moved_to_another_database_keep_the_library_id(stack_on: StackOn, media: Path, tmp_path: Path) -> None:
    """The commands are those of docs/operations.md."""
    before, after = stack_on("before", media), stack_on("after", media)
    before.put("a.jpg")
    dump = str(tmp_path / "rows.json")
    command = ["dumpdata", "--natural-foreign", "-e", "contenttypes", "-e", "auth.permission", "-o", dump]
    assert before.run(*command).returncode == 0
    assert after.run("loaddata", dump).returncode == 0
    files = state.files(media)
    abandoned(media, "originals/ab/ab12.jpg")
    assert '"level": "error"' not in after.sweep()
    assert (state.files(media), quarantined(media)) == (files, {"originals/ab/ab12.jpg"})


@pytest.mark.parametrize("content", ["", "\n", "x\n", "0" * 32 + "\nx\n", "0" * 31 + "\n", "\x00" * 33, "ä\n"])
def test_an_unreadable_library_id_stops_the_sweep_but_no_upload(
    ada: User, media: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    left = abandoned(media, "originals/ab/ab12.jpg")
    (media / ".library-id").write_text(content)
    with storage.Incoming() as incoming:
        incoming.write(picture())
        library.put(ada, "a.jpg", incoming)
    unfinished = abandoned(media, "incoming/1")
    assert sweep.sweep(0) == [unfinished]
    assert left.exists()
    assert (media / ".library-id").read_text() == content
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "manage.py adopt_media" in error.getMessage()


def test_replacing_and_deleting_keep_the_files_of_another_library(ada: User, media: Path) -> None:
    for size in (8, 9):
        with storage.Incoming() as incoming:
            incoming.write(picture(size, size))
            library.put(ada, "a.jpg", incoming)
        (media / ".library-id").write_text("0" * 32 + "\n")
    assert len(state.files(media)) == 4
    library.delete(ada, "a.jpg")
    assert len(state.files(media)) == 4


def test_two_databases_that_start_at_the_same_time_do_not_sweep(stack_on: StackOn, media: Path) -> None:
    stacks = [stack_on(name, media) for name in ("first", "second")]
    children = [fork(partial(stack.put, f"{number}.jpg")) for number, stack in enumerate(stacks)]
    assert [exit_code(child) for child in children] == [0, 0]
    before = state.files(media)
    assert len(before) == 4
    for stack in stacks:
        check_untouched(stack, before, "another database has stored files")


def test_concurrent_first_uploads_create_one_library_id(transactional_db: None, media: Path) -> None:
    def begin() -> None:
        pairing.announce()
        connections.close_all()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (media / ".library-id").read_text() == f"{Library.objects.get().identity}\n"
    assert list((media / "incoming").iterdir()) == []


def test_an_interrupted_restore_stops_the_sweep(ada: User, media: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairing.adopt()
    left = abandoned(media, "originals/ab/ab12.jpg")
    (media / ".before-restore").mkdir()
    assert sweep.sweep(0) == []
    assert left.exists()
    assert "restore.sh --undo" in caplog.text


def test_adopt_media_asks_for_confirmation(stack_on: StackOn, media: Path) -> None:
    stack = stack_on("stack", media)
    abandoned(media, "originals/ab/ab12.jpg")
    refused = stack.run("adopt_media")
    assert (refused.returncode, "Nothing was changed" in refused.stderr) == (1, True)
    assert not (media / ".library-id").exists()
    assert stack.run("adopt_media", "--yes").returncode == 0
    confirmed = stack.run("adopt_media")
    assert (confirmed.returncode, confirmed.stdout.splitlines()[-1]) == (
        0,
        "The database and the media folder belong together.",
    )


# --- quarantine -------------------------------------------------------------------------------------------------------


def test_a_download_puts_a_quarantined_file_back(api: Client, media: Path, settings: Settings) -> None:
    """The same holds when nginx sends the file."""
    data = picture()
    for prefix in ("", "/_originals/"):
        settings.X_ACCEL_PREFIX = prefix
        assert api.put("/api/photos/a.jpg", data, content_type="image/jpeg").status_code in {200, 201}
        photo = Photo.objects.get()
        for key, url in ((photo.original, "/photos/a.jpg"), (photo.thumbnail, f"/{photo.thumbnail}")):
            quarantine.put(key)
            assert not (media / key).exists()
            response = api.get(url)
            response.close()
            assert response.status_code == 200
            assert (media / key).exists()
    state.check(media, {"a.jpg"})


def test_a_jump_of_the_clock_does_not_end_the_quarantine(
    transactional_db: None, media: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age of a file is the sum of the times between sweeps, each at most a day."""
    pairing.adopt()
    abandoned(media, "originals/ab/ab12.jpg")
    day = 24 * 3600
    now = time.time()

    def sweep_at(moment: float) -> set[str]:
        monkeypatch.setattr(time, "time", lambda: moment)
        sweep.sweep(600)
        return quarantined(media)

    expected = {"originals/ab/ab12.jpg"}
    assert sweep_at(now) == expected
    assert sweep_at(now + 365 * day) == expected  # one day older
    assert sweep_at(now) == expected  # the clock is back, and the file no older
    for number in range(1, 6):
        assert sweep_at(now + number * day) == expected
    assert sweep_at(now + 6 * day + 1) == set()
    assert state.files(media) == set()


def test_the_quarantine_of_another_library_is_not_emptied(
    transactional_db: None, media: Path, settings: Settings
) -> None:
    pairing.adopt()
    abandoned(media, "originals/ab/ab12.jpg")
    sweep.sweep(0)
    settings.SWEEP_QUARANTINE = 0
    (media / ".library-id").write_text("0" * 32 + "\n")
    sweep.sweep(0)
    assert quarantined(media) == {"originals/ab/ab12.jpg"}
    pairing.adopt()
    sweep.sweep(0)
    assert quarantined(media) == set()


def test_files_of_an_uncertain_commit_are_quarantined(ada: User, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the failed commit, the connection may lead to another database."""
    with storage.Incoming() as incoming:
        incoming.write(picture())
        published: list[str] = []

        def lost(*_: object, **columns: str) -> None:
            published.extend([columns["original"], columns["thumbnail"]])

        monkeypatch.setattr(Photo.objects, "create", lost)
        monkeypatch.setattr(connections["default"], "commit", _raises)
        with pytest.raises(DatabaseError):
            library.put(ada, "a.jpg", incoming)
    monkeypatch.undo()
    assert state.files(media) == set()
    assert quarantined(media) == set(published)


def _raises() -> None:
    raise DatabaseError("server closed the connection unexpectedly")


# --- clocks -----------------------------------------------------------------------------------------------------------

FUTURE = {"a minute": 60, "a day": 24 * 3600, "thirty years": 30 * 365 * 24 * 3600}  # seconds


@pytest.mark.parametrize("ahead", FUTURE)
def test_a_sweep_time_in_the_future_does_not_stop_sweeps(
    transactional_db: None, media: Path, settings: Settings, ahead: str
) -> None:
    left = abandoned(media, "incoming/1")
    stamp = media / ".last-sweep"
    stamp.touch()
    os.utime(stamp, (time.time() + FUTURE[ahead],) * 2)
    sweep.sweep_if_due()
    assert not left.exists()
    assert abs(stamp.stat().st_mtime - time.time()) < OLD


def test_a_file_with_a_time_in_the_future_is_swept(transactional_db: None, media: Path) -> None:
    pairing.adopt()
    keys = ["incoming/1", "originals/ab/ab12.jpg"]
    for key in keys:
        os.utime(abandoned(media, key), (time.time() + OLD,) * 2)
    assert sweep.sweep(600) == [media / key for key in keys]


def test_files_of_the_sweep_are_not_world_writable(ada: User, media: Path) -> None:
    """The umask does not matter. The sweep also corrects a world-writable stamp."""
    (media / ".last-sweep").touch()
    os.utime(media / ".last-sweep", (1, 1))
    (media / ".last-sweep").chmod(0o666)
    mask = os.umask(0)
    try:
        sweep.sweep_if_due()
        pairing.announce()
        abandoned(media, "originals/ab/ab12.jpg").chmod(0o644)
        sweep.sweep(0)
    finally:
        os.umask(mask)
    assert (media / ".library-id").exists()
    assert [path for path in media.rglob("*") if path.is_file() and path.stat().st_mode & 0o022] == []


def test_a_forked_process_does_not_discard_the_uploads_of_its_parent(media: Path) -> None:
    with storage.Incoming() as incoming:
        incoming.write(b"x")
        assert in_fork(incoming.discard) == 0
        assert len(state.files(media)) == 1
