"""The API: the response to each request; a refused request leaves no file and no row."""

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.test import Client
from knox.models import AuthToken
from pytest_django import Settings

from photos import images, names
from photos.models import Photo
from tests.app import state
from tests.app.pictures import bomb, picture

JPEG = picture(64, 48)


def put(client: Client, name: str, data: bytes = JPEG, content_type: str = "image/jpeg", **options: Any) -> Any:
    return client.put(f"/api/photos/{name}", data, content_type=content_type, **options)


def post(client: Client, *files: tuple[str, bytes], field: str = "file") -> Any:
    return client.post("/api/photos/", {field: [SimpleUploadedFile(name, data) for name, data in files]})


def check_error(response: Any, status: int, code: str, *parts: str) -> None:
    """Check that an error has the shape of all errors, and a sentence as its detail."""
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    assert (response.status_code, answer["error"]) == (status, code), answer
    assert set(answer) == {"error", "detail", "request_id"}
    assert answer["request_id"] == response.headers["X-Request-ID"]
    assert answer["detail"].endswith(".")
    for part in parts:
        assert part in answer["detail"]


def test_a_photo_can_be_put_fetched_replaced_and_deleted(api: Client, media: Path) -> None:
    response = put(api, "a.jpg")
    assert response.status_code == 201
    assert response.headers["Location"] == "/api/photos/a.jpg"
    photo = response.json()
    assert photo["sha256"] == hashlib.sha256(JPEG).hexdigest()
    assert photo == {
        "name": "a.jpg",
        "owner": "ada",
        "size": len(JPEG),
        "content_type": "image/jpeg",
        "width": 64,
        "height": 48,
        "sha256": photo["sha256"],
        "created": photo["created"],
        "url": "/photos/a.jpg",
        "thumbnail": photo["thumbnail"],
        "thumbnail_2x": None,
        "preview": None,
        "position": "none",
    }
    assert api.get("/api/photos/a.jpg").json() == photo
    assert put(api, "a.jpg", picture(10, 10, "PNG")).status_code == 200
    state.check(media, {"a.jpg"})
    response = api.delete("/api/photos/a.jpg")
    assert (response.status_code, response.content) == (204, b"")
    check_error(api.get("/api/photos/a.jpg"), 404, "not-found", "a.jpg")
    check_error(api.delete("/api/photos/a.jpg"), 404, "not-found")
    state.check(media, set())


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "empty-body"),
        (b"Dear server, this is no picture.", 400, "not-an-image"),
        (JPEG[:1000], 400, "image-truncated"),
        (bomb(10_000, 10_000), 400, "image-too-many-pixels"),
        (JPEG + bytes(20 * 1024**2), 413, "body-too-large"),
    ],
)
def test_a_refused_body_stores_nothing(api: Client, media: Path, data: bytes, status: int, code: str) -> None:
    check_error(put(api, "a.jpg", data), status, code)
    if data:
        check_error(post(api, ("good.jpg", JPEG), ("a.jpg", data)), status, code)
    state.check(media, set())


def test_a_refused_body_does_not_replace_a_photo(api: Client, media: Path) -> None:
    put(api, "a.jpg")
    check_error(put(api, "a.jpg", JPEG[:-500]), 400, "image-truncated")
    assert api.get("/api/photos/a.jpg").json()["size"] == len(JPEG)
    state.check(media, {"a.jpg"})


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("%D0%BA%D0%BE%D1%82.jpg", 201),
        ("a%20b.jpg", 201),
        ("%25%3F%23.jpg", 201),
        ("x" * names.MAX_LENGTH, 201),
        ("x" * 1000, 400),
        ("%00", 400),
        ("a%00b", 400),
        ("a/b", 400),
        ("a%2Fb", 400),
        ("..%2Fb", 400),
        ("%2E%2E", 400),
        ("a/", 400),
        ("%FF%FE.jpg", 201),  # not UTF-8: Django keeps the escapes as text
        ("%E2%80%AEgpj.exe", 400),
        ("%0A", 400),
        ("%F0%9F%93%B7.jpg", 201),
    ],
)
def test_valid_names_are_accepted_and_invalid_names_refused(api: Client, media: Path, name: str, status: int) -> None:
    response = put(api, name)
    if status == 400:
        check_error(response, 400, "bad-name")
        check_error(api.get(f"/api/photos/{name}"), 404, "not-found")
        check_error(api.delete(f"/api/photos/{name}"), 404, "not-found")
        return
    assert response.status_code == status
    assert api.get(response.headers["Location"]).json() == response.json()
    with closing(api.get(response.json()["url"])) as original:
        assert original.status_code == 200
    state.check(media, {response.json()["name"]})


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json", "nonsense", "a/b; c=\xff"],
)
def test_the_content_type_of_a_put_does_not_matter(api: Client, content_type: str) -> None:
    assert put(api, "a.jpg", content_type=content_type).status_code == 201


def test_a_put_of_a_form_or_a_partial_body_is_refused(api: Client, media: Path) -> None:
    check_error(
        put(api, "a.jpg", content_type="multipart/form-data; boundary=x"), 415, "unsupported-media-type", "POST"
    )
    check_error(put(api, "a.jpg", headers={"Content-Range": "bytes 0-9/20"}), 400, "bad-request", "Content-Range")
    state.check(media, set())


def test_a_post_stores_several_files_under_free_names(api: Client, media: Path) -> None:
    put(api, "a.jpg")
    response = post(api, ("a.jpg", JPEG), ("b.png", picture(8, 8, "PNG")), ("C:\\x\\\u202ec.gif", picture(8, 8, "GIF")))
    assert response.status_code == 201
    assert [photo["name"] for photo in response.json()] == ["a-2.jpg", "b.png", "c.gif"]
    state.check(media, {"a.jpg", "a-2.jpg", "b.png", "c.gif"})


def form(*lines: str) -> bytes:
    return "\r\n".join(lines).encode()


PART = 'Content-Disposition: form-data; name="file"; filename="a.jpg"'


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{}", "application/json", 415, "unsupported-media-type"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (b"x", "nonsense", 415, "unsupported-media-type"),
        (b"x", "multipart/form-data", 400, "bad-request"),
        (b"x", "multipart/form-data; boundary=", 400, "bad-request"),
        (b"x", "multipart/form-data; boundary=b", 400, "no-file"),
        (form("--b", 'Content-Disposition: form-data; name="x"', "", "y", "--b--"), "", 400, "no-file"),
        (form("--b", 'Content-Disposition: form-data; name="file"', "", "y", "--b--"), "", 400, "no-file"),
        (form("--b", PART, "", "cut", ""), "", 400, "body-incomplete"),
        (form("--b", PART, "", "", "--b--"), "", 400, "empty-body"),
        (form("--b", PART, "Content-Transfer-Encoding: base64", "", "!", "--b--"), "", 400, "bad-request"),
        (form(*["--b", PART, "", "x"] * 101, "--b--"), "", 400, "bad-request"),
        (form(*["--b", 'Content-Disposition: form-data; name="x"', "", "y"] * 1100, "--b--"), "", 400, "bad-request"),
        (form("--b", 'Content-Disposition: form-data; name="x"', "", "y" * 2_000_000, "--b--"), "", 400, "bad-request"),
    ],
)
def test_a_malformed_form_is_refused_and_stores_nothing(
    api: Client, media: Path, body: bytes, content_type: str, status: int, code: str
) -> None:
    content_type = content_type or "multipart/form-data; boundary=b"
    check_error(api.generic("POST", "/api/photos/", body, content_type), status, code)
    state.check(media, set())


def test_a_form_with_a_truncated_file_stores_nothing(api: Client, media: Path) -> None:
    """The first file is complete, the second is not: neither is stored."""
    body = form("--b", PART, "", "") + JPEG + b"\r\n" + form("--b", PART, "", "") + JPEG[:100]
    check_error(api.generic("POST", "/api/photos/", body, "multipart/form-data; boundary=b"), 400, "body-incomplete")
    state.check(media, set())


def test_everyone_may_read_but_only_the_owner_may_write(
    client: Client, api: Client, api_of_bob: Client, media: Path
) -> None:
    put(api, "a.jpg")
    assert client.get("/api/photos/").status_code == 200
    assert client.get("/api/photos/a.jpg").status_code == 200
    for response in (put(client, "b.jpg"), post(client, ("b.jpg", JPEG)), client.delete("/api/photos/a.jpg")):
        check_error(response, 401, "login-needed", "make token")
        assert response.headers["WWW-Authenticate"] == "Token"
    wrong = Client(headers={"Authorization": "Token 0123456789abcdef"})
    check_error(put(wrong, "b.jpg"), 401, "bad-token")
    check_error(wrong.get("/api/photos/"), 401, "bad-token")
    check_error(put(api_of_bob, "a.jpg"), 403, "not-owner")
    check_error(api_of_bob.delete("/api/photos/a.jpg"), 403, "not-owner")
    state.check(media, {"a.jpg"})


def test_a_private_gallery_needs_a_login_for_reading(client: Client, api: Client, settings: Settings) -> None:
    put(api, "a.jpg")
    settings.GALLERY_PUBLIC = False
    check_error(client.get("/api/photos/"), 401, "login-needed")
    check_error(client.get("/api/photos/a.jpg"), 401, "login-needed")
    assert api.get("/api/photos/").status_code == 200


def test_a_session_needs_its_csrf_token(browser: Client, media: Path) -> None:
    check_error(put(browser, "a.jpg"), 403, "forbidden", "CSRF")
    check_error(post(browser, ("a.jpg", JPEG)), 403, "forbidden", "CSRF")
    state.check(media, set())
    token = browser.get("/").context["csrf_token"]
    assert put(browser, "a.jpg", headers={"X-CSRFToken": str(token)}).status_code == 201


def test_tokens_are_hashed_at_rest(ada: User) -> None:
    _, token = AuthToken.objects.create(user=ada)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM knox_authtoken")
        assert token not in repr(cursor.fetchall())


def test_the_list_of_photos_has_pages_linked_in_both_directions(api: Client) -> None:
    for number in range(5):
        put(api, f"{number}.jpg", picture(8, 8))
    first = api.get("/api/photos/?page_size=2").json()
    assert (first["count"], first["previous"]) == (5, None)
    assert [photo["name"] for photo in first["results"]] == ["4.jpg", "3.jpg"]
    second = api.get(first["next"]).json()
    assert [photo["name"] for photo in second["results"]] == ["2.jpg", "1.jpg"]
    last = api.get(second["next"]).json()
    assert [photo["name"] for photo in last["results"]] == ["0.jpg"]
    assert last["next"] is None
    assert api.get(last["previous"]).json() == second


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("page=1", 200),
        ("page_size=100", 200),
        ("unknown=1", 200),
        ("page=2", 404),
        ("page=999999999", 404),
        ("page=0", 400),
        ("page=-1", 400),
        ("page=x", 400),
        ("page=1.0", 400),
        ("page=%00", 400),
        ("page=%D9%A3", 400),  # not an ASCII digit
        (f"page={'9' * 5000}", 404),
        (f"page_size={'9' * 5000}", 400),
        ("page_size=0", 400),
        ("page_size=101", 400),
        ("page_size=", 400),
    ],
)
def test_an_invalid_page_is_refused_in_json(api: Client, query: str, status: int) -> None:
    response = api.get(f"/api/photos/?{query}")
    assert response.status_code == status
    if status != 200:
        check_error(response, status, {400: "bad-request", 404: "not-found"}[status])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/", 404, "not-found"),
        ("GET", "/api/nothing", 404, "not-found"),
        ("GET", "/api/photos/%0A", 404, "not-found"),
        ("PATCH", "/api/photos/", 405, "method-not-allowed"),
        ("POST", "/api/photos/a.jpg", 405, "method-not-allowed"),
        ("OPTIONS", "/api/photos/a.jpg", 405, "method-not-allowed"),
        ("PUT", "/api/photos/", 405, "method-not-allowed"),
        ("TRACE", "/api/photos/", 405, "method-not-allowed"),
    ],
)
def test_an_unknown_address_is_404_or_405_in_json(api: Client, method: str, path: str, status: int, code: str) -> None:
    check_error(api.generic(method, path), status, code)


def test_responses_are_json_whatever_the_accept_header(api: Client) -> None:
    response = put(api, "a.jpg", headers={"Accept": "image/png"})
    assert (response.status_code, response.headers["Content-Type"]) == (201, "application/json")


def test_an_internal_error_is_a_500_in_json(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    api.raise_request_exception = False
    monkeypatch.setattr(images, "inspect", broken)
    check_error(put(api, "a.jpg"), 500, "internal-error", "request id")


def test_an_unavailable_database_is_a_503_and_not_a_500(api: Client) -> None:
    def unavailable(*_: object) -> None:
        raise OperationalError("the database is locked")

    with connection.execute_wrapper(unavailable):
        response = api.get("/api/photos/")
    check_error(response, 503, "database-unavailable")
    assert response.headers["Retry-After"] == "5"


def test_deleting_a_user_deletes_the_rows_of_the_photos(api: Client, ada: User) -> None:
    put(api, "a.jpg")
    ada.delete()
    assert not Photo.objects.exists()
