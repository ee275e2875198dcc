"""The disk of the photos is full or read-only, or the database is locked: clients get that error on every way in."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.faults import FRAMINGS, PHOTO, SLOW, check_temporary_error, checked_uploads, wait_until_recovered
from tests.stack.pictures import MEGABYTE, Picture
from tests.stack.programs import program
from tests.stack.stack import Stack
from tests.stack.wire import Request, exchange
from tests.wire.answers import Answer

pytestmark = pytest.mark.timeout(SLOW)

FROZEN = str(Path(__file__).with_name("frozen.yaml"))
EVERY_WAY = [(route, framing) for route in ("buffered", "streamed", "direct") for framing in FRAMINGS]


def ask(stack: Stack, method: str, target: str) -> Answer:
    with stack.nginx("web") as wire:
        return exchange(wire, Request(method, target, {}), stack.token)


def readiness(stack: Stack) -> dict[str, str]:
    checks: dict[str, str] = ask(stack, "GET", "/readyz").json()
    return checks


def check_seen(stack: Stack, name: str) -> None:
    """The photo is in the list, and is downloaded unchanged."""
    assert name in {photo["name"] for photo in ask(stack, "GET", "/api/photos/").json()["results"]}
    assert Picture(ask(stack, "GET", f"/photos/{name}").body).sha256 == PHOTO.sha256


# --- the disk of the photos -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def room_for(stack: Stack, size: int) -> Iterator[None]:
    """Fill the disk up to `size` free bytes."""
    stack.exec("gunicorn", *program("fill.py"), str(size))
    try:
        yield
    finally:
        stack.exec("gunicorn", "rm", "/srv/media/filler")


def test_a_full_media_disk_is_a_507_and_readyz_fails(small_stack: Stack, large: Picture) -> None:
    with checked_uploads(small_stack) as uploads:
        assert readiness(small_stack)["disk"] == "ok"
        with room_for(small_stack, 12 * MEGABYTE):
            for way in EVERY_WAY:
                check_temporary_error(uploads.whole(*way, large).answer, (507, "disk-full"))
            healthy = {"database": "ok", "media": "ok", "photos": "ok"}
            assert readiness(small_stack) == {"status": "failed", **healthy, "disk": "failed"}
            uploads.delete(uploads.stored())  # a photo that fits is stored
        assert readiness(small_stack)["status"] == "ok"
        for way in EVERY_WAY:
            uploads.delete(uploads.stored(*way, large))


@contextlib.contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """Web cannot write to the disk of the photos inside the block."""
    recreate = ["up", "-d", "--no-deps", "web"]
    stack.compose(*recreate, COMPOSE_FILE=os.pathsep.join([stack.environment["COMPOSE_FILE"], FROZEN]))
    try:
        wait_until_recovered(stack)
        yield
    finally:
        stack.compose(*recreate)


def test_a_read_only_media_disk_is_a_503_and_photos_are_still_served(small_stack: Stack) -> None:
    """Photos can be seen, but not stored or deleted."""
    with checked_uploads(small_stack) as uploads:
        upload = uploads.uploads[0]
        with frozen(small_stack):
            for way in EVERY_WAY:
                check_temporary_error(uploads.whole(*way).answer, (503, "storage-unavailable"))
            assert readiness(small_stack)["media"] == "failed"
            check_seen(small_stack, upload.name)


# --- the database -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Another process holds the lock, longer than any request waits."""
    command = ["docker", "exec", "-i", stack.container("gunicorn")["Id"], *program("lock_database.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        yield
        holder.communicate()


def test_a_locked_database_is_a_503_and_photos_are_still_served(small_stack: Stack) -> None:
    """Photos can be read."""
    with checked_uploads(small_stack) as uploads:
        upload = uploads.uploads[0]
        with locked(small_stack):
            for way in EVERY_WAY:
                check_temporary_error(uploads.whole(*way).answer, (503, "database-unavailable"))
            check_temporary_error(
                ask(small_stack, "DELETE", f"/api/photos/{upload.name}"), (503, "database-unavailable")
            )
            check_seen(small_stack, upload.name)
