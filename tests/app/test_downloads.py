from contextlib import closing
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from photos.models import Photo
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


def test_an_original_is_sent_as_it_came_and_can_do_no_harm(client: Client, photo: Photo) -> None:
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


def test_a_thumbnail_may_be_kept_for_ever(client: Client, photo: Photo) -> None:
    response, data = get(client, urls(photo)[1])
    assert (response.status_code, response.headers["Content-Type"], data[8:12]) == (200, "image/webp", b"WEBP")
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "Vary" not in response.headers  # nobody's session was looked at


@pytest.mark.parametrize(
    ("asked", "status", "window"),
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
def test_ranges(client: Client, photo: Photo, asked: str, status: int, window: tuple[int, int] | None) -> None:
    response, data = get(client, urls(photo)[0], Range=asked)
    assert response.status_code == status
    if window is None:
        assert response.headers["Content-Range"] == f"bytes */{SIZE}"
        return
    first, end = window
    assert data == JPEG[first:end]
    assert response.headers["Content-Length"] == str(len(data))
    if status == 206:
        assert response.headers["Content-Range"] == f"bytes {first}-{end - 1}/{SIZE}"


def test_a_range_of_what_it_was_is_not_mixed_with_what_it_is(client: Client, photo: Photo) -> None:
    response, data = get(client, urls(photo)[0], Range="bytes=0-9", If_Range='"another"')
    assert (response.status_code, data) == (200, JPEG)


def test_nginx_sends_the_file_if_there_is_one(client: Client, photo: Photo, settings: Settings) -> None:
    settings.X_ACCEL_PREFIX = "/_originals/"
    for url, place in zip(urls(photo), (photo.original, photo.thumbnail), strict=True):
        response, data = get(client, url)
        assert (response.status_code, data) == (200, b"")
        assert response.headers["X-Accel-Redirect"] == f"/_originals/{place}"
        assert response.headers["Content-Type"].startswith("image/")


@pytest.mark.parametrize("prefix", ["", "/_originals/"])
def test_a_private_gallery(
    client: Client, browser: Client, api: Client, photo: Photo, settings: Settings, prefix: str
) -> None:
    settings.GALLERY_PUBLIC = False
    settings.X_ACCEL_PREFIX = prefix
    for url in urls(photo):
        for stranger in (client, Client(headers={"Authorization": "Token wrong"})):
            response, data = get(stranger, url)
            assert (response.status_code, data) == (302, b"")
            assert response.headers["Location"].startswith("/login/?next=/")
            assert "X-Accel-Redirect" not in response.headers
        for friend in (browser, api):
            response, _ = get(friend, url)
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
def test_where_there_is_nothing(client: Client, transactional_db: None, url: str) -> None:
    response, _ = get(client, url)
    assert response.status_code == 404


def test_a_head_has_the_length(client: Client, photo: Photo) -> None:
    with closing(client.head(urls(photo)[0])) as response:
        assert response.headers["Content-Length"] == str(SIZE)


def test_a_missing_file_is_not_found(client: Client, photo: Photo, ada: User) -> None:
    Photo.objects.update(original="originals/00/gone.jpg")
    assert get(client, urls(photo)[0])[0].status_code == 404
