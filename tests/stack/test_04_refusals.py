"""Clients can read refusals, and a refused upload leaves nothing behind."""

import itertools
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.stack import pictures
from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.wire import BLOCK, CHUNKED, SHAPES, Request, Shape, chunked, exchange, with_length
from tests.wire.answers import Answer
from tests.wire.polling import poll

SERVERS = ["web", "gunicorn"]

# Name -> the picture that is sent, and the stable name of the refusal.
INVALID: dict[str, tuple[Callable[[Picture], Picture], str]] = {
    "a text file": (lambda _: pictures.text(), "not-an-image"),
    "noise": (lambda photo: Picture(photo.content[100:]), "not-an-image"),
    "a photo cut short": (pictures.truncated, "image-truncated"),
    "a decompression bomb": (lambda _: pictures.bomb(), "image-too-many-pixels"),
    "nothing": (lambda _: Picture(b""), "empty-body"),
}


def check_refused(answer: Answer, status: int, error: str) -> None:
    """JSON in the same form, from nginx, a server or Django."""
    assert answer.headers["Content-Type"].startswith("application/json"), answer.body
    problem = answer.json()
    assert (answer.status, problem["error"]) == (status, error)
    assert problem["detail"].endswith(".")
    assert problem["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("shape", ["length", "chunked", "multipart"])
@pytest.mark.parametrize("invalid", INVALID)
def test_an_invalid_picture_is_refused_and_not_stored(
    stack: Stack, photo: Picture, name: str, invalid: str, shape: str
) -> None:
    make, error = INVALID[invalid]
    with stack.unchanged(), stack.nginx("web") as wire:
        answer = exchange(wire, SHAPES[shape](name, make(photo).content), stack.token)
    check_refused(answer, 400, error)


# Logger -> its service, and a key that only its lines have.
LOGGERS = {"nginx": ("nginx", "upstream"), "the server": ("server", "event"), "Django": ("server", "logger")}


@pytest.mark.parametrize("server", SERVERS)
def test_the_request_id_of_a_response_is_in_every_log(stack: Stack, name: str, server: str) -> None:
    """One id from nginx through the server to Django, so that an error can be traced."""
    with stack.nginx(server) as wire:
        answer = exchange(wire, with_length(name, pictures.text().content), stack.token)
    request_id = answer.json()["request_id"]

    def is_known(service: str, key: str) -> bool:
        lines = stack.lines(server if service == "server" else service)
        return any(line.get("request_id") == request_id and key in line for line in lines)

    for logger, source in LOGGERS.items():
        poll(lambda at=source: is_known(*at), f"{logger} has logged it", 30)  # type: ignore[misc]  # a default binds the loop's value


# Lines of nginx and gunicorn about themselves, for instance about their start, are always text.
OWN_LINES = {
    "nginx": re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(error|crit|alert|emerg)\] "),
    "gunicorn": re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[[A-Z]+\] "),
    "web": re.compile(r"(?!)"),  # nothing
}


@pytest.mark.parametrize("service", OWN_LINES)
def test_every_log_line_is_json(stack: Stack, name: str, service: str) -> None:
    """The lines of all earlier tests, and one of a request that tries to forge a second line."""
    request = Request("GET", f'/{name}?\\","status":201,"x":"', {"User-Agent": '\\","status":201,"x":"'})
    with stack.nginx("gunicorn" if service == "gunicorn" else "web") as wire:
        exchange(wire, request, stack.token)
    poll(lambda: name in stack.logs(service), "the request is logged", 30)
    for line in stack.logs(service).splitlines():
        assert OWN_LINES[service].match(line) or json.loads(line)["time"], line


def test_health_checks_are_not_logged(stack: Stack, name: str) -> None:
    """The health check runs in each container: gunicorn answers on the port that nginx uses, web on a port of its own,
    which logs nothing. Requests to web from outside are logged, even for /healthz.
    """
    for server in SERVERS:
        for target in ("/healthz", f"/{name}"):
            with stack.nginx(server) as wire:
                exchange(wire, Request("GET", target, {}), token=None)
        poll(lambda at=server: name in stack.logs(at), "other requests are logged", 30)  # type: ignore[misc]  # a default binds the loop's value
    of_gunicorn, of_web = (
        [line for line in stack.lines(server) if line.get("event") == "request"] for server in SERVERS[::-1]
    )
    assert not [line for line in of_gunicorn if line["path"] in {"/healthz", "/readyz"}]
    assert not [line for line in of_web if line["client"] == "127.0.0.1"]


def test_one_invalid_file_of_a_form_refuses_all_files(
    stack: Stack, api: requests.Session, photo: Picture, name: str
) -> None:
    files = [("file", (name, photo.content)), ("file", (f"bad-{name}", pictures.truncated(photo).content))]
    with stack.unchanged():
        answer = api.post(f"{stack.url}/api/photos/", files=files, timeout=20)
    assert (answer.status_code, answer.json()["error"]) == (400, "image-truncated")


def test_a_form_is_stored_whole_whatever_the_names_of_its_files(
    stack: Stack, api: requests.Session, photo: Picture, name: str
) -> None:
    """The form is written by hand, because a library would add names."""
    stem = name.removesuffix(".jpg")
    heads = [
        f'name="file"; filename="{stem}-1.jpg"',
        f'name="photo[]"; filename="{stem}-2.jpg"',
        'name="x"; filename=""',
    ]
    parts = [
        f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + photo.content + b"\r\n" for head in heads
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    body = b"".join(parts) + b"--b--\r\n"
    answer = api.post(f"{stack.url}/api/photos/", data=body, headers=headers, timeout=20)
    assert answer.status_code == 201
    names = [photo["name"] for photo in answer.json()]
    assert names[:2] == [f"{stem}-1.jpg", f"{stem}-2.jpg"]
    assert names[2].startswith("photo")
    for broken in (body.replace(b'Content-Disposition: form-data; name="x"', b"X: y"), body[:-7]):
        with stack.unchanged():
            answer = api.post(f"{stack.url}/api/photos/", data=broken, headers=headers, timeout=20)
        assert answer.status_code == 400
        assert "art 3 of the form" in answer.json()["detail"]


def test_a_form_sent_to_put_is_refused(stack: Stack, api: requests.Session, photo: Picture, name: str) -> None:
    with stack.unchanged():
        answer = api.put(f"{stack.url}/api/photos/{name}", files={"file": (name, photo.content)}, timeout=20)
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported-media-type")


# --- too large --------------------------------------------------------------------------------------------------------

# Name -> the framing, and how many bytes too large the body is.
TOO_LARGE: dict[str, tuple[Shape, int]] = {
    "length, by one byte": (with_length, 1),
    "length, by far": (with_length, 30 * 1024 * 1024),
    "chunked, by one byte": (CHUNKED, 1),
    "chunked, by far": (CHUNKED, 30 * 1024 * 1024),
    "chunked, in one chunk": (chunked(lambda: itertools.repeat(1024**3)), 1),
    "expect, by one byte": (SHAPES["expect"], 1),
    "expect, chunked, by one byte": (SHAPES["expect, chunked"], 1),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("how", TOO_LARGE)
def test_a_client_that_keeps_sending_gets_413_for_a_body_that_is_too_large(
    stack: Stack, photo: Picture, name: str, how: str, server: str
) -> None:
    shape, excess = TOO_LARGE[how]
    picture = pictures.padded(photo, stack.limit + excess)
    with stack.unchanged(), stack.nginx(server) as wire:
        answer = exchange(wire, shape(name, picture.content), stack.token)
        check_refused(answer, 413, "body-too-large")
    assert "UPLOAD_MAX" in answer.json()["detail"]


def test_wsgiserver_enforces_the_limit_without_nginx(stack: Stack, photo: Picture, name: str) -> None:
    picture = pictures.padded(photo, stack.limit + 1)
    for shape in (with_length, CHUNKED):
        with stack.unchanged(), stack.relay("web") as wire:
            answer = exchange(wire, shape(name, picture.content), stack.token)
            assert answer.status == 413


@pytest.mark.parametrize(
    "arguments",
    [["-H", "Transfer-Encoding: chunked"], [], ["-H", "Expect:"]],
    ids=["chunked", "length", "without Expect"],
)
def test_curl_can_read_a_413(stack: Stack, photo: Picture, name: str, arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(pictures.padded(photo, stack.limit + 1).content)
    curl = ["curl", "-sS", "--noproxy", "*", "-H", f"Authorization: Token {stack.token}", "-T", str(file), *arguments]
    with stack.unchanged():
        done = subprocess.run(
            [*curl, f"{stack.url}/api/photos/{name}"], capture_output=True, text=True, check=False, timeout=30
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["error"] == "body-too-large"


def test_the_requests_library_can_read_a_413(stack: Stack, api: requests.Session, photo: Picture, name: str) -> None:
    picture = pictures.padded(photo, stack.limit + 1)
    blocks = (picture.content[start : start + BLOCK] for start in range(0, picture.size, BLOCK))
    with stack.unchanged():
        answer = api.put(f"{stack.url}/api/photos/{name}", data=blocks, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (413, "body-too-large")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("shape", ["length", "chunked", "expect, chunked"])
def test_a_body_of_exactly_the_limit_is_stored(
    stack: Stack, photo: Picture, name: str, shape: str, server: str
) -> None:
    picture = pictures.padded(photo, stack.limit)
    with stack.nginx(server) as wire:
        answer = exchange(wire, SHAPES[shape](name, picture.content), stack.token)
    assert (answer.status, answer.json()["sha256"]) == (201, picture.sha256)
    assert stack.probe("photo", name)["file_sha256"] == picture.sha256


# --- refusals of nginx ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [("application/json", "application/json"), ("text/html,*/*;q=0.8", "text/html; charset=utf-8")],
)
def test_a_browser_outside_the_api_gets_an_error_page(
    stack: Stack, photo: Picture, accept: str, content_type: str
) -> None:
    size = stack.limit + 1
    request = Request("POST", "/", {"Content-Length": str(size), "Accept": accept}, [photo.content])
    with stack.unchanged(), stack.nginx("web") as wire:
        answer = exchange(wire, request, stack.token)
    assert (answer.status, answer.headers["Content-Type"]) == (413, content_type)
    assert answer.headers["X-Request-ID"].encode() in answer.body
