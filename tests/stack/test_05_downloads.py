"""Files on their way out: originals past Django's permission by nginx, thumbnails, static files."""

import gzip
import io
import re

import pytest
import requests
from PIL import Image

from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.wire import Request, exchange

NEVER_A_PAGE = "default-src 'none'; sandbox"


@pytest.fixture(scope="module")
def stored(stack: Stack, api: requests.Session, photo: Picture) -> dict[str, str]:
    """A photo that lies in the stack, as the API tells of it."""
    answer = api.put(f"{stack.url}/api/photos/to-be-downloaded.jpg", data=photo.content, timeout=20)
    assert answer.status_code in {200, 201}
    facts: dict[str, str] = answer.json()
    return facts


@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_an_original(
    stack: Stack, anonymous: requests.Session, stored: dict[str, str], photo: Picture, server: str
) -> None:
    answer = anonymous.get(f"http://127.0.0.1:{stack.ports[server]}{stored['url']}", timeout=20)
    assert (answer.status_code, Picture(answer.content).sha256) == (200, photo.sha256)
    expected = {
        "Content-Type": "image/jpeg",
        "Content-Length": str(photo.size),
        "Content-Disposition": 'inline; filename="to-be-downloaded.jpg"',
        "Content-Security-Policy": NEVER_A_PAGE,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Accept-Ranges": "bytes",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert answer.headers["X-Request-ID"]
    assert "X-Accel-Redirect" not in answer.headers
    assert answer.headers["Server"] == "nginx"  # without its version


@pytest.mark.parametrize("header", ["ETag", "Last-Modified", "X-Frame-Options", "Cross-Origin-Opener-Policy"])
def test_each_header_comes_once(anonymous: requests.Session, stack: Stack, stored: dict[str, str], header: str) -> None:
    answer = anonymous.get(stack.url + stored["url"], timeout=20)
    assert len(answer.raw.headers.getlist(header)) == 1


@pytest.mark.parametrize(
    ("asked", "window"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=1000-1000", slice(1000, 1001)),
        ("bytes=500000-", slice(500_000, None)),
        ("bytes=-4096", slice(-4096, None)),
    ],
)
def test_a_part_of_an_original(
    stack: Stack, anonymous: requests.Session, stored: dict[str, str], photo: Picture, asked: str, window: slice
) -> None:
    answer = anonymous.get(stack.url + stored["url"], headers={"Range": asked}, timeout=20)
    assert (answer.status_code, answer.content) == (206, photo.content[window])
    assert answer.headers["Content-Range"].endswith(f"/{photo.size}")


def test_a_part_that_is_not_there(stack: Stack, anonymous: requests.Session, stored: dict[str, str]) -> None:
    answer = anonymous.get(stack.url + stored["url"], headers={"Range": "bytes=99999999-"}, timeout=20)
    assert answer.status_code == 416


@pytest.mark.parametrize(
    ("answer_header", "question"), [("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since")]
)
def test_what_the_browser_has_is_not_sent_again(
    stack: Stack, anonymous: requests.Session, stored: dict[str, str], answer_header: str, question: str
) -> None:
    first = anonymous.get(stack.url + stored["url"], timeout=20)
    again = anonymous.get(stack.url + stored["url"], headers={question: first.headers[answer_header]}, timeout=20)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "target",
    ["/_originals/{}", "//_originals/{}", "/%5foriginals/{}", "/x/../_originals/{}", "/photos/../_originals/{}"],
)
@pytest.mark.usefixtures("stored")
def test_the_folder_of_originals_is_not_reachable(stack: Stack, target: str) -> None:
    """Only Django's answer opens it. Raw, because libraries tidy paths up."""
    place = stack.probe("photo", "to-be-downloaded.jpg")["original"]
    with stack.nginx("web") as wire:
        answer = exchange(wire, Request("GET", target.format(place), {}), token=stack.token)
    assert answer.status in {400, 404}


@pytest.mark.parametrize(
    "target",
    [
        "/static/../../etc/passwd",
        "/static/..%2f..%2fetc/passwd",
        "/_originals/../data/db.sqlite3",
        "/static../data/db.sqlite3",
    ],
)
def test_nothing_else_is_reachable(stack: Stack, target: str) -> None:
    with stack.nginx("web") as wire:
        answer = exchange(wire, Request("GET", target, {}), token=stack.token)
    assert answer.status in {400, 404}


def test_a_client_cannot_send_itself_a_file(stack: Stack) -> None:
    """X-Accel-Redirect is the application's word, not the client's."""
    request = Request("GET", "/healthz", {"X-Accel-Redirect": "/_originals/../data/db.sqlite3"})
    with stack.nginx("web") as wire:
        answer = exchange(wire, request, token=None)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


def test_a_thumbnail(stack: Stack, anonymous: requests.Session, stored: dict[str, str]) -> None:
    answer = anonymous.get(stack.url + stored["thumbnail"], timeout=20)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert max(image.size) <= 480


@pytest.fixture(scope="module")
def static_files(stack: Stack, anonymous: requests.Session) -> list[str]:
    """Those that the page asks for."""
    found = re.findall(r'"(/static/[^"]+)"', anonymous.get(f"{stack.url}/login/", timeout=20).text)
    assert any(path.endswith(".css") for path in found)
    return found


def test_static_files_may_be_kept_for_ever(stack: Stack, anonymous: requests.Session, static_files: list[str]) -> None:
    for path in static_files:
        answer = anonymous.get(stack.url + path, timeout=20)
        assert answer.status_code == 200
        assert re.search(r"\.[0-9a-f]{12}\.\w+$", path), "the name does not hold a hash of the content"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_static_files_are_compressed_beforehand(
    stack: Stack, anonymous: requests.Session, static_files: list[str]
) -> None:
    path = next(path for path in static_files if path.endswith(".css"))
    plain = anonymous.get(stack.url + path, headers={"Accept-Encoding": "identity"}, timeout=20)
    with stack.nginx("web") as wire:
        packed = exchange(wire, Request("GET", path, {"Accept-Encoding": "gzip"}), token=None)
    assert (packed.headers["Content-Encoding"], plain.headers.get("Content-Encoding")) == ("gzip", None)
    assert int(packed.headers["Content-Length"]) == len(packed.body) < len(plain.content)
    assert gzip.decompress(packed.body) == plain.content
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"


def test_a_static_name_without_a_hash_may_not(
    stack: Stack, anonymous: requests.Session, static_files: list[str]
) -> None:
    plain = re.sub(r"\.[0-9a-f]{12}\.", ".", static_files[0])
    answer = anonymous.get(stack.url + plain, timeout=20)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=300")
