"""An upload that takes too long is not stored, because the server in front has sent 504 by then."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections, transaction
from django.test import Client, RequestFactory
from pytest_django import Settings

from photos import deadline, errors, images, middleware
from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture

OLD, NEW = picture(32, 24), picture(48, 36)


def put(client: Client) -> Any:
    return client.put("/api/photos/a.jpg", NEW, content_type="image/jpeg")


def post(client: Client) -> Any:
    return client.post("/api/photos/", {"file": [SimpleUploadedFile("a.jpg", NEW), SimpleUploadedFile("b.jpg", NEW)]})


@pytest.mark.parametrize("action", [put, post])
@pytest.mark.parametrize("before", [set(), {"a.jpg"}], ids=["new", "there is one"])
def test_an_upload_without_time_left_is_refused_and_changes_nothing(
    action: Any, before: set[str], api: Client, media: Path, settings: Settings
) -> None:
    for name in before:
        api.put(f"/api/photos/{name}", OLD, content_type="image/jpeg")
    settings.UPLOAD_SECONDS = 0
    response = action(api)
    assert (response.status_code, response.json()["error"]) == (503, "out-of-time")
    assert int(response["Retry-After"]) > 0
    state.check(media, before)
    assert {photo.width for photo in Photo.objects.all()} <= {32}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="takes the only write lock of SQLite")
@pytest.mark.parametrize("action", [put, post])
def test_an_upload_that_waited_too_long_for_the_database_is_not_stored(
    action: Any, api: Client, media: Path, settings: Settings
) -> None:
    images.inspect(BytesIO(NEW))  # the decoding process has started
    settings.UPLOAD_SECONDS = 2
    with database_locked_for(2.5):
        response = action(api)
    assert (response.status_code, response.json()["error"]) == (503, "out-of-time")
    state.check(media, set())


@contextmanager
def database_locked_for(seconds: float) -> Iterator[None]:
    is_locked = threading.Event()

    def lock() -> None:
        with transaction.atomic():  # IMMEDIATE: see settings.py
            is_locked.set()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(0.05)
        connections.close_all()

    thread = threading.Thread(target=lock)
    thread.start()
    is_locked.wait()
    yield
    thread.join()


def test_the_time_for_receiving_a_streamed_body_does_not_count(settings: Settings) -> None:
    """If the server streams a body (gunicorn, runserver), the client determines how long it takes."""
    settings.UPLOAD_SECONDS = 1_000_000
    request = RequestFactory().put("/")
    late: dict[str, float] = {}

    def view(_: object) -> Any:
        deadline._began.set(time.monotonic() - 999_999)  # noqa: SLF001 - simulates a slow request
        for name, body in (("whole", BytesIO()), ("coming", object())):
            request.META["wsgi.input"] = body
            deadline.body_has_come(request)
            late[name] = deadline.left()

    middleware.Deadline(view)(request)
    assert late["whole"] < 10
    assert late["coming"] > 900_000


def test_the_whole_time_is_left_outside_of_a_request(ada: User, settings: Settings) -> None:
    settings.UPLOAD_SECONDS = 5
    deadline.check()
    assert deadline.left() == 5
    settings.UPLOAD_SECONDS = 0
    with pytest.raises(errors.OutOfTime):
        deadline.check()
