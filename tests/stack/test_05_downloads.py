"""Downloads: originals, which nginx sends with the permission of Django, thumbnails and static files."""

import gzip
import io
import re

import pytest
import requests
from PIL import Image

from tests.stack.faults import in_background
from tests.stack.pictures import Picture, sized
from tests.stack.stack import Stack
from tests.stack.wire import Request, exchange

NEVER_A_PAGE = "default-src 'none'; sandbox"


@pytest.fixture(scope="module")
def stored(stack: Stack, api: requests.Session, photo: Picture) -> dict[str, str]:
    """A stored photo, as in the answer of the API."""
    answer = api.put(f"{stack.url}/api/photos/to-be-downloaded.jpg", data=photo.content, timeout=20)
    assert answer.status_code in {200, 201}
    facts: dict[str, str] = answer.json()
    return facts


@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_an_original_is_sent_unchanged_with_its_headers(
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


ONCE = ["ETag", "X-Frame-Options", "Cross-Origin-Opener-Policy", "Content-Security-Policy", "X-Content-Type-Options"]


@pytest.mark.parametrize(
    "fields", [{}, {"Range": "bytes=0-9"}, {"Range": "bytes=99999999-"}, {"If-Match": '"x"'}], ids=str
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("address", ["url", "thumbnail"])
def test_each_header_is_sent_once(
    anonymous: requests.Session,
    stack: Stack,
    stored: dict[str, str],
    address: str,
    method: str,
    fields: dict[str, str],
) -> None:
    """With any status. There is no date, because two versions may have the same."""
    answer = anonymous.request(method, stack.url + stored[address], headers=fields, timeout=20)
    wanted = ONCE[1:] if answer.status_code == 416 else ONCE
    assert {name: len(answer.raw.headers.getlist(name)) for name in wanted} == dict.fromkeys(wanted, 1)
    assert answer.headers["Content-Security-Policy"] == NEVER_A_PAGE
    assert "Last-Modified" not in answer.headers


@pytest.mark.parametrize("address", ["url", "thumbnail"])
@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_an_error_of_nginx_for_a_file_has_the_security_headers(
    anonymous: requests.Session, stack: Stack, api: requests.Session, photo: Picture, address: str, accept: str
) -> None:
    """The error comes after the answer of Django: nginx has no permission to open the file."""
    facts = api.put(f"{stack.url}/api/photos/closed.jpg", data=photo.content, timeout=20).json()
    path = "/srv/media/" + stack.probe("photo", "closed.jpg")["original" if address == "url" else "thumbnail"]
    stack.exec("gunicorn", "chmod", "600", path)
    try:
        answer = anonymous.get(stack.url + facts[address], headers={"Accept": accept}, timeout=20)
    finally:
        stack.exec("gunicorn", "chmod", "644", path)
    assert answer.status_code == 403
    assert {name: len(answer.raw.headers.getlist(name)) for name in ONCE[1:]} == dict.fromkeys(ONCE[1:], 1)


@pytest.mark.parametrize(
    ("value", "window"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=1000-1000", slice(1000, 1001)),
        ("bytes=500000-", slice(500_000, None)),
        ("bytes=-4096", slice(-4096, None)),
    ],
)
def test_a_range_of_an_original_is_sent(
    stack: Stack, anonymous: requests.Session, stored: dict[str, str], photo: Picture, value: str, window: slice
) -> None:
    answer = anonymous.get(stack.url + stored["url"], headers={"Range": value}, timeout=20)
    assert (answer.status_code, answer.content) == (206, photo.content[window])
    assert answer.headers["Content-Range"].endswith(f"/{photo.size}")


def test_a_range_beyond_the_end_is_416(stack: Stack, anonymous: requests.Session, stored: dict[str, str]) -> None:
    answer = anonymous.get(stack.url + stored["url"], headers={"Range": "bytes=99999999-"}, timeout=20)
    assert answer.status_code == 416


# Fields of a request for a photo with the ETag {} -> the status. Dates, past or future, are ignored.
CONDITIONS = [
    ({"If-None-Match": "{}"}, 304),
    ({"If-None-Match": "W/{}"}, 304),
    ({"If-None-Match": '"x", {}'}, 304),
    ({"If-None-Match": "*"}, 304),
    ({"If-None-Match": '"x"'}, 200),
    ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
    ({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT", "If-None-Match": '"x"'}, 200),
    ({"If-Match": "{}"}, 200),
    ({"If-Match": "*"}, 200),
    ({"If-Match": '"x"'}, 412),
    ({"If-Unmodified-Since": "Thu, 01 Jan 1998 00:00:00 GMT"}, 200),
    ({"Range": "bytes=0-9", "If-Range": "{}"}, 206),
    ({"Range": "bytes=0-9", "If-Range": "W/{}"}, 200),
    ({"Range": "bytes=0-9", "If-Range": '"x"'}, 200),
    ({"Range": "bytes=0-9", "If-Range": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
    ({"Range": "bytes=0-9", "If-Match": "{}"}, 206),
    ({"Range": "bytes=0-9", "If-Match": '"x"'}, 412),
    ({"Range": "bytes=0-9", "If-None-Match": "{}"}, 304),
    ({"Range": "bytes=0-1,4-5"}, 200),
    ({"Accept-Encoding": "gzip"}, 200),
]


@pytest.mark.parametrize(("fields", "status"), CONDITIONS, ids=str)
@pytest.mark.parametrize("server", ["web", "runserver"])
def test_conditional_requests_are_decided_by_the_content(
    stack: Stack,
    anonymous: requests.Session,
    stored: dict[str, str],
    photo: Picture,
    server: str,
    fields: dict[str, str],
    status: int,
) -> None:
    """By Django behind nginx, and by Django alone."""
    headers = {name: value.format(f'"{photo.sha256}"') for name, value in fields.items()}
    answer = anonymous.get(f"http://127.0.0.1:{stack.ports[server]}{stored['url']}", headers=headers, timeout=20)
    assert (answer.status_code, answer.headers["ETag"]) == (status, f'"{photo.sha256}"')
    content = {200: photo.content, 206: photo.content[:10]}.get(status, b"")
    assert answer.content == content


def test_a_photo_is_always_available_with_its_own_etag_while_it_is_replaced(
    stack: Stack, api: requests.Session, name: str
) -> None:
    """Every download gets one of the versions, whole and with its ETag, although all have the same size and follow each
    other within a second.
    """
    versions = [Picture(sized(60_000).content + bytes([number]) * 8) for number in range(8)]
    contents = {f'"{version.sha256}"': version.content for version in versions}
    seen: list[tuple[int, str, bool]] = []
    url = f"{stack.url}/photos/{name}"

    def ask() -> None:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, headers={"If-None-Match": seen[-1][1] if seen else ""}, timeout=20)
            etag = answer.headers.get("ETag", "")
            is_right = answer.content == (contents.get(etag) if answer.status_code == 200 else b"")
            seen.append((answer.status_code, etag, is_right))

    assert api.put(f"{stack.url}/api/photos/{name}", data=versions[0].content, timeout=60).status_code == 201
    with in_background(0, ask), in_background(0, ask), in_background(0, ask):
        for version in 12 * versions:
            assert api.put(f"{stack.url}/api/photos/{name}", data=version.content, timeout=60).status_code == 200
            again = api.get(url, headers={"If-None-Match": f'"{versions[0].sha256}"'}, timeout=20)
            assert again.status_code == (304 if version is versions[0] else 200)
    assert {(status, is_right) for status, _, is_right in seen} <= {(200, True), (304, True)}
    assert len(seen) > 20


@pytest.mark.parametrize(
    "target",
    ["/_originals/{}", "//_originals/{}", "/%5foriginals/{}", "/x/../_originals/{}", "/photos/../_originals/{}"],
)
@pytest.mark.usefixtures("stored")
def test_the_folder_of_originals_is_not_reachable(stack: Stack, target: str) -> None:
    """Only an answer of Django gives access. Raw requests, because libraries normalize paths."""
    path = stack.probe("photo", "to-be-downloaded.jpg")["original"]
    with stack.nginx("web") as wire:
        answer = exchange(wire, Request("GET", target.format(path), {}), token=stack.token)
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
def test_no_file_outside_the_served_folders_is_reachable(stack: Stack, target: str) -> None:
    with stack.nginx("web") as wire:
        answer = exchange(wire, Request("GET", target, {}), token=stack.token)
    assert answer.status in {400, 404}


def test_a_client_cannot_request_a_file_by_x_accel_redirect(stack: Stack) -> None:
    """X-Accel-Redirect works in answers of the application, not in requests."""
    request = Request("GET", "/healthz", {"X-Accel-Redirect": "/_originals/../data/db.sqlite3"})
    with stack.nginx("web") as wire:
        answer = exchange(wire, request, token=None)
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


def test_a_thumbnail_is_sent_with_its_headers(
    stack: Stack, anonymous: requests.Session, stored: dict[str, str]
) -> None:
    answer = anonymous.get(stack.url + stored["thumbnail"], timeout=20)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert max(image.size) <= 480


@pytest.fixture(scope="module")
def static_files(stack: Stack, anonymous: requests.Session) -> list[str]:
    """The static files that the login page uses."""
    found = re.findall(r'"(/static/[^"]+)"', anonymous.get(f"{stack.url}/login/", timeout=20).text)
    assert any(path.endswith(".css") for path in found)
    return found


def test_static_files_with_a_hash_are_immutable_for_caches(
    stack: Stack, anonymous: requests.Session, static_files: list[str]
) -> None:
    for path in static_files:
        answer = anonymous.get(stack.url + path, timeout=20)
        assert answer.status_code == 200
        assert re.search(r"\.[0-9a-f]{12}\.\w+$", path), "the name does not hold a hash of the content"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_static_files_are_sent_precompressed(
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


def test_static_files_without_a_hash_are_cached_briefly(
    stack: Stack, anonymous: requests.Session, static_files: list[str]
) -> None:
    plain = re.sub(r"\.[0-9a-f]{12}\.", ".", static_files[0])
    answer = anonymous.get(stack.url + plain, timeout=20)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "public, max-age=300")
