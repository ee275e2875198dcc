"""The purpose of this project: Django stores the picture that was sent, in any framing."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.stack.pictures import Picture
from tests.stack.stack import ROOT, Stack
from tests.stack.wire import CHUNKED, SHAPES, Request, Shape, Wire, exchange, in_chunks, multipart, with_length
from tests.wire.answers import Answer

SERVERS = ["web", "gunicorn"]


def check_stored(stack: Stack, answer: Answer, name: str, picture: Picture) -> None:
    """The answer, the row, the file and the download show the same picture."""
    assert answer.status == 201, answer.body
    reported = answer.json()
    photo = reported[0] if isinstance(reported, list) else reported  # a form may hold several
    assert (photo["name"], photo["sha256"], photo["size"]) == (name, picture.sha256, picture.size)
    check_photo(stack, name, picture)
    with stack.nginx("web") as visitor:
        download = exchange(visitor, Request("GET", photo["url"], {}), token=None)
    assert (download.status, Picture(download.body).sha256) == (200, picture.sha256)


def check_photo(stack: Stack, name: str, picture: Picture) -> None:
    row = stack.probe("photo", name)
    assert row is not None, f"{name} has no row"
    assert (row["row_sha256"], row["row_size"]) == (picture.sha256, picture.size)
    assert (row["file_sha256"], row["file_size"]) == (picture.sha256, picture.size)
    assert row["thumbnail_size"] > 0


def check_lost(stack: Stack, wire: Wire, name: str, picture: Picture) -> None:
    """The bug that this project solves: the server drops a chunked body, and Django sees none."""
    answer = exchange(wire, CHUNKED(name, picture.content), stack.token)
    assert (answer.status, answer.json()["error"]) == (400, "empty-body")
    assert "chunked" in answer.json()["detail"]
    assert stack.probe("photo", name) is None


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_upload_through_nginx_is_stored_whole_in_any_framing(
    stack: Stack, photo: Picture, name: str, shape: str, server: str
) -> None:
    with stack.nginx(server) as wire:
        answer = exchange(wire, SHAPES[shape](name, photo.content), stack.token)
    check_stored(stack, answer, name, photo)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_upload_to_wsgiserver_directly_is_stored_whole_in_any_framing(
    stack: Stack, photo: Picture, name: str, shape: str
) -> None:
    with stack.relay("web") as wire:
        answer = exchange(wire, SHAPES[shape](name, photo.content), stack.token)
    check_stored(stack, answer, name, photo)


def test_gunicorn_alone_loses_a_chunked_upload(stack: Stack, photo: Picture, name: str) -> None:
    with stack.relay("gunicorn") as wire:
        check_lost(stack, wire, name, photo)
    with stack.relay("gunicorn") as wire:
        answer = exchange(wire, with_length(name, photo.content), stack.token)
    check_stored(stack, answer, name, photo)


def test_runserver_loses_a_chunked_upload(stack: Stack, photo: Picture, name: str) -> None:
    if "runserver" not in stack.containers():
        pytest.skip("runserver does not run in this stack; it belongs to the profile demo")
    with stack.nginx("runserver") as wire:
        check_lost(stack, wire, name, photo)
    with stack.nginx("runserver") as wire:
        answer = exchange(wire, with_length(name, photo.content), stack.token)
    check_stored(stack, answer, name, photo)


@pytest.mark.parametrize("shape", [multipart, in_chunks(multipart)], ids=["length", "chunked"])
@pytest.mark.parametrize("target", ["/api/photos", "/streamed/api/photos"])
def test_an_upload_is_accepted_without_a_final_slash(
    stack: Stack, photo: Picture, name: str, target: str, shape: Shape
) -> None:
    with stack.nginx("web") as wire:
        answer = exchange(wire, replace(shape(name, photo.content), target=target), stack.token)
    check_stored(stack, answer, name, photo)


@pytest.mark.parametrize(
    "target",
    [
        *("/api/photos", "/streamed/api/photos", "/api/photos/", "/api/photos/a/b"),
        *("/login", "/streamed/api", "/streamed", "/static", "/photos"),
    ],
)
@pytest.mark.parametrize(
    "arguments", [[], ["-H", "Transfer-Encoding: chunked"], ["-L"]], ids=["length", "chunked", "following redirects"]
)
def test_curl_fails_at_an_address_that_stores_nothing(
    stack: Stack, photo: Picture, tmp_path: Path, target: str, arguments: list[str]
) -> None:
    """After a redirect, curl exits with 0, stored or not; after a slash, it adds the name of the file."""
    file = tmp_path / "x"
    file.write_bytes(photo.content)
    curl = [
        "curl",
        "-sS",
        "--noproxy",
        "*",
        "--fail-with-body",
        "-H",
        f"Authorization: Token {stack.token}",
        *arguments,
    ]
    command = [*curl, "-X", "PUT", "--data-binary", f"@{file}", stack.url + target]
    with stack.unchanged():
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 22, done
    assert '"error"' in done.stdout or "That did not work" in done.stdout


def test_several_uploads_on_one_connection_are_stored(stack: Stack, photo: Picture, name: str) -> None:
    with stack.nginx("web") as wire:
        for number, shape in enumerate(SHAPES.values()):
            answer = exchange(wire, shape(f"{number}-{name}", photo.content), stack.token)
            check_stored(stack, answer, f"{number}-{name}", photo)


def test_an_upload_streamed_from_a_generator_is_stored_whole(
    stack: Stack, api: requests.Session, photo: Picture, name: str
) -> None:
    blocks = (photo.content[start : start + 10_000] for start in range(0, photo.size, 10_000))
    answer = api.put(f"{stack.url}/api/photos/{name}", data=blocks, timeout=20)
    assert (answer.status_code, answer.json()["sha256"]) == (201, photo.sha256)
    check_photo(stack, name, photo)


def test_the_upload_command_that_make_up_prints_works(stack: Stack) -> None:
    stack.paste_upload()
    check_photo(stack, "sample.jpg", Picture((ROOT / "docs" / "sample.jpg").read_bytes()))
