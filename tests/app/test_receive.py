"""Raw bodies over real sockets, received by Django's own development server.

That server loses chunked bodies, which PEP 3333 allows; these tests record how our code responds.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from knox.models import AuthToken

from tests.app import state
from tests.app.pictures import picture

PHOTO = picture(1200, 900, quality=95)


@pytest.fixture
def head(ada: User) -> bytes:
    _, token = AuthToken.objects.create(user=ada)
    lines = ("PUT /api/photos/a.jpg HTTP/1.1", "Host: localhost", "Connection: close", f"Authorization: Token {token}")
    return "".join(f"{line}\r\n" for line in lines).encode()


@contextmanager
def connection_to(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        yield client


def response_of(client: socket.socket) -> tuple[int, dict[str, Any]]:
    data = b""
    while piece := client.recv(65_536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_the_photo_is_large_enough_to_show_the_bug() -> None:
    assert len(PHOTO) > 1_000_000


def test_a_body_with_a_content_length_is_stored(live_server: Any, head: bytes, media: Path) -> None:
    with connection_to(live_server.url) as client:
        client.sendall(head + f"Content-Length: {len(PHOTO)}\r\n\r\n".encode() + PHOTO)
        status, photo = response_of(client)
    assert (status, photo["size"]) == (201, len(PHOTO))
    state.check(media, {"a.jpg"})


def test_a_chunked_body_lost_by_runserver_is_a_400_with_an_explanation(
    live_server: Any, head: bytes, media: Path
) -> None:
    with connection_to(live_server.url) as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        status, problem = response_of(client)
    assert (status, problem["error"]) == (400, "empty-body")
    assert "chunked" in problem["detail"]
    assert "README" in problem["detail"]
    state.check(media, set())


def test_a_truncated_body_is_refused(live_server: Any, head: bytes, media: Path) -> None:
    with connection_to(live_server.url) as client:
        # The body is a complete picture, but shorter than its Content-Length.
        client.sendall(head + f"Content-Length: {len(PHOTO) + 1000}\r\n\r\n".encode() + PHOTO)
        client.shutdown(socket.SHUT_WR)
        status, problem = response_of(client)
    assert (status, problem["error"]) == (400, "body-incomplete")
    state.check(media, set())


def test_a_content_length_beyond_the_limit_is_refused_unread(live_server: Any, head: bytes, media: Path) -> None:
    with connection_to(live_server.url) as client:
        client.sendall(head + b"Content-Length: 99999999999\r\n\r\n")
        status, problem = response_of(client)
    assert (status, problem["error"]) == (413, "body-too-large")
    assert "20 MB" in problem["detail"]
    state.check(media, set())


def test_a_content_length_of_thousands_of_digits_is_refused(live_server: Any, head: bytes) -> None:
    with connection_to(live_server.url) as client:
        client.sendall(head + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")
        status, problem = response_of(client)
    assert (status, problem["error"]) == (413, "body-too-large")
