"""Health checks, commands and log lines for the operator."""

import io
import json
import logging
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import Client
from knox.models import AuthToken
from pytest_django import Settings

from uploadstack.json_logging import JsonFormatter


def test_healthz_is_200_without_a_database_and_for_any_host(client: Client, settings: Settings) -> None:
    """A query would fail, because the test has no database. The Host header does not matter either."""
    settings.ALLOWED_HOSTS = ["photos.invalid"]
    response = client.get("/healthz", headers={"Host": "127.0.0.1:8000"})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def check_ready(client: Client, status: int, **verdicts: str) -> None:
    response = client.get("/readyz")
    expected = {"status": "ok" if status == 200 else "failed"} | dict.fromkeys(settings.HEALTH_CHECKS, "ok")
    assert (response.status_code, response.json()) == (status, expected | verdicts)


def test_readyz_is_200_and_leaves_no_file(client: Client, transactional_db: None, media: Path) -> None:
    check_ready(client, 200)
    assert list(media.iterdir()) == []


def test_readyz_is_503_without_a_database(client: Client, transactional_db: None) -> None:
    def unavailable(*_: object) -> None:
        raise OperationalError("unable to open database file")

    with connection.execute_wrapper(unavailable):
        check_ready(client, 503, database="failed", photos="failed")


def test_readyz_is_503_if_the_media_folder_is_not_writable(
    client: Client, transactional_db: None, settings: Settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"a file where the folder should be")
    check_ready(client, 503, media="failed")


def test_readyz_is_503_if_the_next_upload_may_not_fit_on_the_disk(
    client: Client, transactional_db: None, settings: Settings
) -> None:
    settings.UPLOAD_MAX = 1 << 60
    check_ready(client, 503, disk="failed")


def test_the_demo_user_is_created_and_follows_its_password(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_USER", "sample")
    for nothing in ("", "change-me"):
        monkeypatch.setenv("DEMO_PASSWORD", nothing)
        with pytest.raises(CommandError, match="make env"):
            call_command("demo_user")
    assert not User.objects.exists()
    for password in ("first", "first", "second"):
        monkeypatch.setenv("DEMO_PASSWORD", password)
        before = User.objects.filter(username="sample").values_list("password", flat=True).first()
        call_command("demo_user")
        user = User.objects.get()
        assert user.check_password(password)
        assert (user.is_staff, user.is_superuser) == (False, False)
    call_command("demo_user")
    assert before != User.objects.get().password


def test_an_unchanged_demo_password_keeps_its_sessions(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_PASSWORD", "the same")
    call_command("demo_user")
    before = User.objects.get().password
    call_command("demo_user")
    assert User.objects.get().password == before


def test_create_token_prints_only_the_token(ada: User, capsys: pytest.CaptureFixture[str], client: Client) -> None:
    call_command("create_token", "ada")
    token, err = capsys.readouterr()
    assert (token.count("\n"), err) == (1, "")
    assert AuthToken.objects.get().user == ada
    assert token.strip() not in AuthToken.objects.get().digest
    response = client.get("/api/photos/none", headers={"Authorization": f"Token {token.strip()}"})
    assert response.status_code == 404  # not 401


def test_create_token_refuses_an_unknown_user(transactional_db: None) -> None:
    with pytest.raises(CommandError, match="There is no user nobody"):
        call_command("create_token", "nobody")


@contextmanager
def lines_of(name: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the parsed lines that a logger writes meanwhile."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    lines: list[dict[str, Any]] = []
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        lines += [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(message: str, *arguments: object, **options: Any) -> dict[str, Any]:
    """Return the parsed line that a call of a logger writes."""
    with lines_of("photos.test") as lines:
        logging.getLogger("photos.test").warning(message, *arguments, **options)
    (line,) = lines
    return line


def test_a_log_line_is_json_with_its_fields() -> None:
    line = logged("stored %s", 'a "b"\nc', extra={"fields": {"size": 3}})
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "photos.test", "message": 'stored a "b"\nc', "size": 3}


def test_a_traceback_is_logged_in_one_line() -> None:
    try:
        int("no")
    except ValueError:
        line = logged("broken", exc_info=sys.exc_info())
    assert line["exception"].endswith("ValueError: invalid literal for int() with base 10: 'no'")


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ("0123456789abcdef0123456789abcdef", True),
        ("a.b-c_d-12345678", True),
        ("short", True),
        ("a/b:c=@+", True),
        ("x" * 129, False),
        ('12345678","level":"x', False),
        ("1234567é", False),
        ("", False),
    ],
)
def test_a_valid_request_id_is_kept_and_an_invalid_one_replaced(client: Client, given: str, is_kept: bool) -> None:
    response = client.get("/api/nothing", headers={"X-Request-ID": given})
    identifier = response.headers["X-Request-ID"]
    assert (identifier == given) is is_kept
    assert len(identifier) >= (1 if is_kept else 32)
    assert response.json()["request_id"] == identifier


# A refused request -> its status, and the line that Django logs about it after all middleware.
REFUSED = {
    "PUT /api/photos/empty.jpg": (400, "Bad Request: /api/photos/empty.jpg"),
    "GET /api/nothing": (404, "Not Found: /api/nothing"),
    "GET /nothing": (404, "Not Found: /nothing"),
    "GET /readyz": (503, "Service Unavailable: /readyz"),
}


@pytest.mark.parametrize("request_line", REFUSED)
def test_the_log_line_of_a_refusal_has_the_request_id(api: Client, settings: Settings, request_line: str) -> None:
    status, message = REFUSED[request_line]
    settings.UPLOAD_MAX = 1 << 60  # no disk has space for the next upload: not ready
    with lines_of("django.request") as lines:
        method, path = request_line.split()
        response = api.generic(method, path)
    assert response.status_code == status
    (line,) = lines
    assert (line["message"], line["request_id"]) == (message, response.headers["X-Request-ID"])


def test_a_log_line_about_a_socket_has_no_request_id() -> None:
    """The log records of runserver have a socket."""
    with socket.socket() as sock:
        assert "request_id" not in logged("GET / HTTP/1.1", extra={"request": sock})


def test_manage_py_is_executable() -> None:
    manage = Path(__file__).parents[2] / "app" / "manage.py"
    assert manage.stat().st_mode & stat.S_IXUSR
