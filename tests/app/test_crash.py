"""Every step of an upload, replacement or deletion fails once; then the process dies before and after every step.

The steps are the system calls that change or sync the media folder, and the database's statements. A run counts them;
the n-th one fails, for n = 1, 2, 3 and so on until a run has no n-th step. After each run rows and files must agree.
"""

import errno
import functools
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection, connections
from django.test import Client
from pytest_django import Settings

from photos import sweep
from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture
from tests.app.positions import with_position
from tests.forks import in_fork
from tests.wire.polling import PATIENCE

_CALLS = ("open", "mkdir", "rename", "fsync", "unlink")
# They have a position, so each photo also has a file for other users.
OLD, NEW = (with_position(picture(*size)) for size in ((32, 24), (48, 36)))


class Steps:
    """Counts steps, and calls `harm` instead of (or right after) the n-th one."""

    def __init__(self, nth: int, harm: Callable[[Exception], None], *, is_after: bool = False) -> None:
        self._left = nth
        self._harm = harm
        self._is_after = is_after
        self.has_fired = False

    def step(self, call: Callable[..., Any], error: Exception, *arguments: Any, **options: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self.has_fired = True
            if self._is_after:
                call(*arguments, **options)
            self._harm(error)
        return call(*arguments, **options)

    def sql(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        return self.step(execute, OperationalError("the database is away"), *arguments)

    @contextmanager
    def active(self, monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...] = _CALLS) -> Iterator[None]:
        full = OSError(errno.ENOSPC, "No space left on device")
        with monkeypatch.context() as patch, connection.execute_wrapper(self.sql):
            for name in calls:
                patch.setattr(os, name, functools.partial(self.step, getattr(os, name), full))
            yield


def put(client: Client, name: str, data: bytes) -> int:
    return client.put(f"/api/photos/{name}", data, content_type="image/jpeg").status_code


def post(client: Client, name: str, data: bytes) -> int:
    pictures = [SimpleUploadedFile(name, data), SimpleUploadedFile("b.jpg", OLD)]
    return client.post("/api/photos/", {"file": pictures}).status_code


def delete(client: Client, name: str, _: bytes) -> int:
    return client.delete(f"/api/photos/{name}").status_code


# The action; the photos before it; the photos after it succeeds.
CASES = {
    "a new photo": (put, set(), {"a.jpg"}),
    "a replacement": (put, {"a.jpg"}, {"a.jpg"}),
    "two in a form": (post, set(), {"a.jpg", "b.jpg"}),
    "a deletion": (delete, {"a.jpg"}, set()),
}


def raising(error: Exception) -> None:
    raise error


@pytest.fixture
def client(api: Client, settings: Settings) -> Client:
    settings.SWEEP_INTERVAL = 2**40  # seconds: no sweep during an upload, because its failures do not fail the upload
    api.raise_request_exception = False
    return api


@pytest.mark.parametrize("case", CASES)
def test_a_failure_at_any_step_loses_no_photo_and_leaves_no_file(
    case: str, client: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    action, before, after = CASES[case]
    calls = ("open", "mkdir", "rename", "fsync")
    for nth in count(1):
        prepare(client, media, before)
        steps = Steps(nth, raising)
        with steps.active(monkeypatch, calls):
            status = action(client, "a.jpg", NEW)
        assert status in ({200, 201, 204} if not steps.has_fired else {503, 507}), nth
        state.check(media, after if status < 300 else before)
        if not steps.has_fired:
            break
    assert nth > 4


def test_a_file_that_cannot_be_removed_is_removed_by_the_sweep(
    client: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(client, media, {"a.jpg"})
    with Steps(1, raising).active(monkeypatch, ("unlink",)):
        assert put(client, "a.jpg", NEW) in {200, 503}
    sweep.sweep(0)
    state.check(media, {"a.jpg"})


def sweep_until_swept(media: Path) -> None:
    """Sweep until nothing is left: the decoder of a dead process locks the file until it ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        sweep.sweep(0)
        known = {key for photo in Photo.objects.all() for key in photo.storage_keys}
        if state.files(media) <= known or time.monotonic() > deadline:
            return
        time.sleep(0.05)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="uses SQLite's authorizer")
@pytest.mark.parametrize("case", CASES)
def test_a_failed_commit_changes_nothing(case: str, client: Client, media: Path) -> None:
    action, before, _ = CASES[case]
    prepare(client, media, before)
    sqlite_deny, sqlite_transaction = 1, 22  # sqlite3.SQLITE_DENY, sqlite3.SQLITE_TRANSACTION

    def authorizer(action_code: int, verb: str | None, *_: object) -> int:
        return sqlite_deny if action_code == sqlite_transaction and verb == "COMMIT" else 0

    connection.connection.set_authorizer(authorizer)
    try:
        assert action(client, "a.jpg", NEW) >= 500
    finally:
        connection.connection.set_authorizer(None)
    state.check(media, before)


@pytest.mark.slow
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("case", CASES)
def test_a_crash_at_any_step_loses_no_photo(
    case: str, is_after: bool, client: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    action, before, after = CASES[case]
    for nth in count(1):
        prepare(client, media, before)
        steps = Steps(nth, lambda _: os._exit(9), is_after=is_after)

        def request(steps: Steps = steps) -> int:
            with steps.active(monkeypatch):
                return action(client, "a.jpg", NEW)

        status = in_a_child(request)
        sweep_until_swept(media)
        names = set(Photo.objects.values_list("name", flat=True))
        assert names in (before, after), nth
        state.check(media)
        if status != 9:
            assert (status, names) == (0, after)
            break
    assert nth > 5


def test_a_full_disk_is_a_507_and_leaves_no_file(client: Client, media: Path) -> None:
    """The kernel limits the size of a file: a real failure of a real write, in the middle of the body."""

    def request() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        return put(client, "a.jpg", NEW + bytes(5_000_000))

    prepare(client, media, set())
    assert in_a_child(request, expected=507) == 0
    state.check(media, set())


def prepare(client: Client, media: Path, names: set[str]) -> None:
    """Store these photos, and delete all others."""
    for name in Photo.objects.values_list("name", flat=True):
        delete(client, name, b"")
    for name in names:
        assert put(client, name, OLD) == 201
    state.check(media, names)


def in_a_child(request: Callable[[], int], expected: int = 0) -> int:
    """Run `request` in a forked process. Return its exit status: 0 if the request succeeded.

    With `expected`, 0 only if the response had that status.
    """
    connections.close_all()  # two processes must not share a connection

    def send() -> None:
        status = request()
        assert status == expected or (not expected and status < 300)

    return in_fork(send)


def test_the_test_harness_intercepts_the_steps(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    with Steps(1, raising).active(monkeypatch), pytest.raises(OperationalError):
        ada.refresh_from_db()
