import hashlib
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from pytest_django import Settings

from photos import library, storage, sweep
from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture

JPEG = picture(64, 48)
SIZE = len(JPEG)


@pytest.fixture
def photo(api: Client) -> Photo:
    assert api.put('/api/photos/näh "x".jpg', JPEG, content_type="image/jpeg").status_code == 201
    return Photo.objects.get()


def urls(photo: Photo) -> tuple[str, str]:
    return f"/photos/{photo.name}", f"/{photo.thumbnail}"


def get(client: Client, url: str, **headers: str) -> tuple[Any, bytes]:
    with closing(
        client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    ) as response:
        return response, response.getvalue()


def test_an_original_is_sent_unchanged_and_sandboxed(client: Client, photo: Photo) -> None:
    response, data = get(client, urls(photo)[0])
    assert (response.status_code, data) == (200, JPEG)
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["Content-Length"] == str(SIZE)
    assert response.headers["Content-Disposition"] == "inline; filename*=utf-8''n%C3%A4h%20%22x%22.jpg"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["Cache-Control"] == "no-cache"
    again, data = get(client, urls(photo)[0], If_None_Match=response.headers["ETag"])
    assert (again.status_code, data) == (304, b"")


def test_a_thumbnail_is_immutable_for_caches(client: Client, photo: Photo) -> None:
    response, data = get(client, urls(photo)[1])
    assert (response.status_code, response.headers["Content-Type"], data[8:12]) == (200, "image/webp", b"WEBP")
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "Vary" not in response.headers  # the response does not depend on a session


@pytest.mark.parametrize(
    ("range_header", "status", "window"),
    [
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=10-", 206, (10, SIZE)),
        ("bytes=-10", 206, (SIZE - 10, SIZE)),
        ("bytes=-999999", 206, (0, SIZE)),
        ("bytes=0-999999", 206, (0, SIZE)),
        (f"bytes={SIZE - 1}-", 206, (SIZE - 1, SIZE)),
        (f"bytes={SIZE}-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-1", 200, (0, SIZE)),
        ("bytes=0-1,5-6", 200, (0, SIZE)),
        ("lines=1-2", 200, (0, SIZE)),
        ("bytes=", 200, (0, SIZE)),
        ("bytes=" + "9" * 5000 + "-", 200, (0, SIZE)),
    ],
)
def test_ranges_of_an_original_are_served_or_refused(
    client: Client, photo: Photo, range_header: str, status: int, window: tuple[int, int] | None
) -> None:
    response, data = get(client, urls(photo)[0], Range=range_header)
    assert response.status_code == status
    if window is None:
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"
        return
    first, end = window
    assert data == JPEG[first:end]
    assert response.headers["Content-Length"] == str(len(data))
    if status == 206:
        assert response.headers["Content-Range"] == f"bytes {first}-{end - 1}/{SIZE}"


def test_a_range_of_an_outdated_version_gets_the_whole_photo(client: Client, photo: Photo) -> None:
    response, data = get(client, urls(photo)[0], Range="bytes=0-9", If_Range='"another"')
    assert (response.status_code, data) == (200, JPEG)


SHA256 = f'"{hashlib.sha256(JPEG).hexdigest()}"'
# Headers, status from Django alone, status behind nginx; None: Django redirects nginx to the file.
CONDITIONS: list[tuple[dict[str, str], int, int | None]] = [
    ({"If_None_Match": SHA256}, 304, 304),
    ({"If_None_Match": f'"x", W/{SHA256}'}, 304, 304),
    ({"If_None_Match": "*"}, 304, 304),
    ({"If_None_Match": '"x"'}, 200, None),
    ({"If_Match": SHA256}, 200, 200),
    ({"If_Match": "*"}, 200, 200),
    ({"If_Match": '"x"'}, 412, 412),
    ({"If_Match": f"W/{SHA256}"}, 412, 412),
    ({"If_Match": SHA256, "Range": "bytes=0-9"}, 206, 206),
    ({"If_Modified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200, None),
    ({"If_Unmodified_Since": "Thu, 01 Jan 1998 00:00:00 GMT"}, 200, 200),
    ({"Range": "bytes=0-9", "If_Range": SHA256}, 206, None),
    ({"Range": "bytes=0-9", "If_Range": '"x"'}, 200, 200),
    ({"Range": "bytes=0-9", "If_Range": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200, 200),
    ({"Range": "bytes=0-9"}, 206, None),
    ({"Range": "bytes=999999-"}, 416, 416),
    ({"Range": "bytes=9-1"}, 200, 200),
    ({"Range": "bytes=0-1,4-5"}, 200, 200),
]


@pytest.mark.parametrize(("headers", "alone", "behind"), CONDITIONS, ids=str)
def test_conditional_requests_are_decided_by_the_application(
    client: Client, photo: Photo, settings: Settings, headers: dict[str, str], alone: int, behind: int | None
) -> None:
    for prefix, status in (("", alone), ("/_originals/", behind)):
        settings.X_ACCEL_PREFIX = prefix
        response, data = get(client, urls(photo)[0], **headers)
        assert (response.status_code, response.headers["ETag"]) == (status or 200, SHA256)
        assert ("X-Accel-Redirect" in response.headers) is (status is None)
        assert data == ({200: JPEG, 206: JPEG[:10]}.get(status, b"") if status else b"")
        assert "Last-Modified" not in response.headers
        assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/_originals/"])
def test_a_photo_is_available_while_it_is_replaced(ada: User, media: Path, settings: Settings, prefix: str) -> None:
    """The file of the redirect exists, or was replaced a moment ago and is where nginx tries next."""
    settings.X_ACCEL_PREFIX = prefix
    versions = {f'"{hashlib.sha256(data).hexdigest()}"': data for data in (picture(size, 9) for size in range(20, 26))}
    seen: list[tuple[int, bool]] = []
    is_over = threading.Event()

    def sent(response: Any) -> Any:
        if not (target := response.headers.get("X-Accel-Redirect")):
            return response.getvalue()
        key = target.removeprefix(prefix)
        try:
            return (media / key).read_bytes()
        except FileNotFoundError:
            return (media / ".outdated" / Path(key).name).read_bytes()

    def download() -> None:
        try:
            while not is_over.is_set():
                with closing(Client().get("/photos/a.jpg")) as response:
                    is_complete = response.status_code == 200 and sent(response) == versions[response.headers["ETag"]]
                    seen.append((response.status_code, is_complete))
        finally:
            connections.close_all()

    def put(data: bytes) -> None:
        with storage.Incoming() as incoming:
            incoming.write(data)
            library.put(ada, "a.jpg", incoming)

    put(picture(20, 9))
    threads = [threading.Thread(target=download) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for data in 8 * list(versions.values()):
            put(data)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {(200, True)}
    state.check(media, {"a.jpg"})


def test_the_old_thumbnail_of_a_replaced_photo_is_available_for_a_while(api: Client, photo: Photo, media: Path) -> None:
    """A page that was loaded just before still refers to it."""
    before = urls(photo)[1]
    assert api.put(f"/api/photos/{photo.name}", picture(9, 9), content_type="image/jpeg").status_code == 200
    assert get(api, before)[0].status_code == 200
    storage.tidy(0)
    assert get(api, before)[0].status_code == 404
    state.check(media)


def test_the_files_of_a_replaced_photo_are_removed_later(api: Client, photo: Photo, media: Path) -> None:
    """The next replacement or the next sweep removes them after two minutes."""
    assert api.put(f"/api/photos/{photo.name}", picture(9, 9), content_type="image/jpeg").status_code == 200
    assert len(list((media / ".outdated").iterdir())) == 2
    sweep.sweep(600)
    for path in (media / ".outdated").iterdir():
        os.utime(path, (1, 1))
    sweep.sweep(600)
    assert list((media / ".outdated").iterdir()) == []


def test_the_file_is_sent_by_nginx_if_a_prefix_is_set(client: Client, photo: Photo, settings: Settings) -> None:
    settings.X_ACCEL_PREFIX = "/_originals/"
    for url, key in zip(urls(photo), (photo.original, photo.thumbnail), strict=True):
        response, data = get(client, url)
        assert (response.status_code, data) == (200, b"")
        assert response.headers["X-Accel-Redirect"] == f"/_originals/{key}"
        assert response.headers["Content-Type"].startswith("image/")


@pytest.mark.parametrize("prefix", ["", "/_originals/"])
def test_a_private_gallery_sends_no_file_without_a_login(
    client: Client, browser: Client, api: Client, photo: Photo, settings: Settings, prefix: str
) -> None:
    settings.GALLERY_PUBLIC = False
    settings.X_ACCEL_PREFIX = prefix
    for url in urls(photo):
        for anonymous in (client, Client(headers={"Authorization": "Token wrong"})):
            response, data = get(anonymous, url)
            assert (response.status_code, data) == (302, b"")
            assert response.headers["Location"].startswith("/login/?next=/")
            assert "X-Accel-Redirect" not in response.headers
        for logged_in in (browser, api):
            response, _ = get(logged_in, url)
            assert response.status_code == 200
            assert "private" in response.headers["Cache-Control"]


@pytest.mark.parametrize(
    "url",
    [
        "/photos/none.jpg",
        "/photos/%00",
        "/photos/" + "x" * 1000,
        "/photos/..%2F..%2Fetc%2Fpasswd",
        "/thumbs/00/" + "0" * 32 + ".webp",
        "/thumbs/00/..%2Fx.webp",
        "/thumbs/%00",
    ],
)
def test_an_unknown_file_is_404(client: Client, transactional_db: None, url: str) -> None:
    response, _ = get(client, url)
    assert response.status_code == 404


def test_a_head_response_has_the_length_of_the_whole_file(client: Client, photo: Photo) -> None:
    """A Range header in the request changes nothing."""
    with closing(client.head(urls(photo)[0], headers={"Range": "bytes=0-9"})) as response:
        assert response.status_code == 200
        assert response.headers["Content-Length"] == str(SIZE)


def test_a_photo_whose_file_is_missing_is_404(client: Client, photo: Photo, ada: User) -> None:
    Photo.objects.update(original="originals/00/gone.jpg")
    assert get(client, urls(photo)[0])[0].status_code == 404
