import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, connections
from django.test import Client
from pytest_django import Settings

from photos import library, pairing, storage, sweep
from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture
from tests.forks import in_fork

OLD = 3600  # seconds


def abandoned(media: Path, key: str, age: int = OLD) -> Path:
    path = media / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left behind")
    then = time.time() - age
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize(
    ("key", "age", "is_removed"),
    [
        ("incoming/0123", OLD, True),
        ("incoming/0123", 10, False),
        ("originals/ab/ab12.jpg", OLD, True),
        ("originals/ab/ab12.jpg", 10, False),
        ("thumbs/ab/ab12.webp", OLD, True),
        ("thumbs/ab/ab12.webp", 10, False),
        ("not-ours/file", OLD, False),
        ("not-ours", OLD, False),
    ],
)
def test_the_sweep_removes_old_files_without_a_row(
    transactional_db: None, media: Path, key: str, age: int, is_removed: bool
) -> None:
    pairing.adopt()
    path = abandoned(media, key, age)
    assert sweep.sweep(600) == ([path] if is_removed else [])
    assert path.exists() is not is_removed


def test_the_sweep_keeps_old_photos(ada: User, media: Path) -> None:
    for number in range(3):
        with storage.Incoming() as incoming:
            incoming.write(picture())
            library.put(ada, f"{number}.jpg", incoming)
    for path in media.rglob("*"):
        os.utime(path, (0, 1))
    abandoned(media, "originals/ab/ab12.jpg")
    assert len(sweep.sweep(600)) == 1
    state.check(media, {"0.jpg", "1.jpg", "2.jpg"})


def test_the_sweep_keeps_the_files_of_a_running_upload(ada: User, media: Path) -> None:
    with storage.Incoming() as incoming:
        incoming.write(picture())
        incoming.flush()
        (path,) = (media / "incoming").iterdir()
        os.utime(path, (0, 1))
        assert sweep.sweep(0) == []
        key = incoming.publish(storage.ORIGINALS, ".jpg")
        assert sweep.sweep(0) == []  # no row yet, but locked
        assert (media / key).exists()


def test_the_sweep_removes_the_files_of_a_dead_process(transactional_db: None, media: Path) -> None:
    connections.close_all()

    def die() -> None:
        incoming = storage.Incoming()
        incoming.write(b"x" * 100)
        incoming.flush()
        os._exit(9)

    assert in_fork(die) == 9
    assert len(state.files(media)) == 1
    assert len(sweep.sweep(0)) == 1


@pytest.mark.slow
def test_uploads_during_sweeps_lose_no_photo(ada: User, media: Path) -> None:
    """Sweeps without a minimum age run all the time while photos are stored and replaced."""
    is_over = threading.Event()
    errors: list[Exception] = []

    def keep_sweeping() -> None:
        try:
            while not is_over.is_set():
                sweep.sweep(1)
        except (OSError, DatabaseError) as error:
            errors.append(error)
        finally:
            connections.close_all()

    sweepers = [threading.Thread(target=keep_sweeping) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        deadline = time.monotonic() + 2.5  # longer than the sweep's age of a second
        while time.monotonic() < deadline:
            for name in ("a.jpg", "b.jpg"):
                with storage.Incoming() as incoming:
                    incoming.write(picture())
                    os.utime(incoming.file.fileno(), (1, 1))
                    library.put(ada, name, incoming)
    finally:
        is_over.set()
        for sweeper in sweepers:
            sweeper.join()
    assert errors == []
    state.check(media, {"a.jpg", "b.jpg"})


def test_an_upload_sweeps_when_a_sweep_is_due(api: Client, media: Path, settings: Settings) -> None:
    def put() -> None:
        assert api.put("/api/photos/a.jpg", picture(), content_type="image/jpeg").status_code in {200, 201}

    first = abandoned(media, "incoming/1")
    put()
    assert not first.exists()
    second = abandoned(media, "incoming/2")
    put()
    assert second.exists()  # the last sweep was a moment ago
    settings.SWEEP_INTERVAL = 0
    put()
    assert not second.exists()
    state.check(media, {"a.jpg"})


def test_a_failing_sweep_does_not_fail_the_upload(api: Client, media: Path) -> None:
    (media / ".last-sweep").mkdir()
    os.utime(media / ".last-sweep", (1, 1))
    assert api.put("/api/photos/a.jpg", picture(), content_type="image/jpeg").status_code == 201


def test_the_sweep_command_prints_the_removed_files(
    transactional_db: None, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = abandoned(media, "incoming/1")
    call_command("sweep", "--age", "60")
    out, err = capsys.readouterr()
    assert out == f"{path}\n"
    assert err == "Files removed: 1\n"


def test_a_large_library_is_queried_in_batches(ada: User, media: Path) -> None:
    rows = []
    for number in range(700):
        original, thumbnail = f"originals/00/{number}.jpg", f"thumbs/00/{number}.webp"
        rows.append(
            Photo(name=f"{number}", owner=ada, size=1, width=1, height=1, original=original, thumbnail=thumbnail)
        )
        abandoned(media, original)
        abandoned(media, thumbnail)
    Photo.objects.bulk_create(rows)
    questions: list[str] = []

    def counted(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        questions.extend([sql] * ("photos_photo" in sql))
        return execute(sql, *arguments)

    pairing.adopt()
    with connection.execute_wrapper(counted):
        assert sweep.sweep(600) == []
    assert len(questions) == 4  # two of each kind


def test_an_upload_is_repeated_when_a_sweep_removed_its_file(
    ada: User, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the creation and the lock of a file, a sweep without a minimum age takes it for abandoned."""
    lock, swept = fcntl.flock, list[Path]()

    def sweep_before_lock(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX and len(swept) < 2:
            monkeypatch.setattr(fcntl, "flock", lock)
            swept.extend(sweep.sweep(-1))
            monkeypatch.setattr(fcntl, "flock", sweep_before_lock)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", sweep_before_lock)
    with storage.Incoming() as incoming:
        incoming.write(picture())
        library.put(ada, "a.jpg", incoming)
    monkeypatch.undo()
    assert len(swept) == 2
    state.check(media, {"a.jpg"})


def test_the_quarantine_is_emptied_even_if_no_file_can_be_added(
    transactional_db: None, media: Path, settings: Settings
) -> None:
    """The same happens on a full disk, where a sweep has to free space."""
    pairing.adopt()
    settings.SWEEP_QUARANTINE = 3
    held = abandoned(media, ".quarantine/000000000001/originals/ab/ab12.jpg")
    (media / ".quarantine/clock").write_text(f"5 {2**40}\n")  # the clock stands still
    (media / ".quarantine/000000000005").touch()  # prevents a folder of that name
    left = abandoned(media, "originals/cd/cd34.jpg")
    with pytest.raises(OSError, match="000000000005"):
        sweep.sweep(0)
    assert (held.exists(), left.exists()) == (False, True)


def test_unreadable_outdated_files_do_not_fail_a_replacement(api: Client, media: Path) -> None:
    """The replacement is committed by then."""
    assert api.put("/api/photos/a.jpg", picture(), content_type="image/jpeg").status_code == 201
    (media / ".outdated").rmdir()
    (media / ".outdated").symlink_to(media / "elsewhere")
    (media / "elsewhere").mkdir()
    (media / "elsewhere" / "loop").symlink_to("loop")
    storage._next_tidying = 0.0  # noqa: SLF001
    assert api.put("/api/photos/a.jpg", picture(9, 9), content_type="image/jpeg").status_code == 200
