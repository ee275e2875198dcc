"""The page without JavaScript; tests/stack drives it in a browser."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from pytest_django import Settings

from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture

JPEG = picture(64, 48)


class Tags(HTMLParser):
    """The tags of a page, as (name, attributes)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def tags(response: Any) -> Tags:
    return Tags(response.content.decode())


def send(browser: Client, *files: tuple[str, bytes], token: str | None = None, path: str = "/") -> Any:
    token = token or str(browser.get("/").context["csrf_token"])
    pictures = [SimpleUploadedFile(name, data) for name, data in files]
    return browser.post(path, {"csrfmiddlewaretoken": token, "file": pictures})


def test_several_files_of_the_form_are_stored(browser: Client, media: Path) -> None:
    response = send(browser, ("a.jpg", JPEG), ("b.png", picture(8, 8, "PNG")))
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    page = browser.get("/")
    assert "Stored 2 photos." in page.content.decode()
    state.check(media, {"a.jpg", "b.png"})


@pytest.mark.parametrize(
    ("files", "status", "part"),
    [
        ([], 400, "No file was sent."),
        ([("a.jpg", b"text")], 400, "not a picture in a supported format"),
        ([("good.jpg", JPEG), ("a.jpg", JPEG[:1000])], 400, "damaged or incomplete"),
        ([("a.jpg", bytes(21 * 1024**2))], 413, "larger than 20 MB"),
    ],
)
def test_a_refused_file_is_explained_on_the_page(
    browser: Client, media: Path, files: list[tuple[str, bytes]], status: int, part: str
) -> None:
    response = send(browser, *files)
    assert response.status_code == status
    assert part in response.content.decode()
    state.check(media, set())


def test_a_truncated_form_is_explained_on_the_page(browser: Client, media: Path) -> None:
    browser.get("/")  # for the CSRF cookie
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    response = browser.generic("POST", "/", head + JPEG, "multipart/form-data; boundary=b")
    assert response.status_code == 400
    assert "The upload was incomplete" in response.content.decode()
    state.check(media, set())


def test_without_a_login_nothing_is_stored(media: Path, transactional_db: None) -> None:
    anonymous = Client(enforce_csrf_checks=True)
    token = str(anonymous.get("/login/").context["csrf_token"])
    response = send(anonymous, ("a.jpg", JPEG), token=token)
    assert (response.status_code, response.headers.get("Location")) == (403, None)  # a redirect would lose the form
    assert "Nothing was stored" in response.content.decode()
    assert [link["href"] for link in tags(response).named("a") if link.get("class") == "button"] == ["/login/"]
    state.check(media, set())


def test_a_form_without_a_valid_csrf_token_is_refused(browser: Client, media: Path) -> None:
    response = send(browser, ("a.jpg", JPEG), token="x" * 64)
    assert response.status_code == 403
    assert "Reload the page" in response.content.decode()
    state.check(media, set())


def test_login_and_logout_work_in_a_browser(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    token = str(client.get("/login/").context["csrf_token"])
    wrong = client.post("/login/", {"username": "ada", "password": "no", "csrfmiddlewaretoken": token})
    assert "name or the password is wrong" in wrong.content.decode()
    right = client.post("/login/", {"username": "ada", "password": "of ada", "csrfmiddlewaretoken": token})
    assert right.headers["Location"] == "/"
    page = client.get("/")
    assert 'type="file"' in page.content.decode()
    client.post("/logout/", {"csrfmiddlewaretoken": str(page.context["csrf_token"])})
    assert 'type="file"' not in client.get("/").content.decode()


def test_the_page_shows_a_photo_with_its_name_and_size(browser: Client) -> None:
    send(browser, ('<b> & "q".jpg', JPEG))
    photo = Photo.objects.get()
    (image,) = [attributes for attributes in tags(browser.get("/")).named("img") if attributes.get("loading")]
    assert (image["alt"], image["width"], image["height"]) == (photo.name, "64", "48")
    assert image["src"] == f"/{photo.thumbnail}"


def test_the_gallery_has_pages_and_tolerates_invalid_page_numbers(browser: Client, ada: User) -> None:
    Photo.objects.bulk_create(
        Photo(name=str(n), owner=ada, size=1, width=1, height=1, original=str(n), thumbnail=f"thumbs/00/{n:032x}.webp")
        for n in range(30)
    )
    first, last = tags(browser.get("/")), tags(browser.get("/?page=2"))
    assert [len([tag for tag in page.named("img") if tag.get("loading")]) for page in (first, last)] == [24, 6]
    assert [link["href"] for link in first.named("a") if link.get("rel") == "next"] == ["?page=2"]
    assert [link["href"] for link in last.named("a") if link.get("rel") == "prev"] == ["?page=1"]
    for odd in ("0", "-1", "99", "x", "9" * 5000, "%00"):
        assert browser.get(f"/?page={odd}").status_code == 200


def test_only_the_owner_can_delete_a_photo_on_the_page(browser: Client, bob: User, client: Client, media: Path) -> None:
    send(browser, ("a.jpg", JPEG))
    assert "Delete for good" in browser.get("/").content.decode()
    client.force_login(bob)
    assert "Delete for good" not in client.get("/").content.decode()
    assert client.post("/delete/a.jpg").status_code == 403
    state.check(media, {"a.jpg"})
    token = str(browser.get("/").context["csrf_token"])
    assert browser.get("/delete/a.jpg").status_code == 405
    assert browser.post("/delete/a.jpg", {"csrfmiddlewaretoken": token}).status_code == 302
    assert browser.post("/delete/a.jpg", {"csrfmiddlewaretoken": token}).status_code == 404
    state.check(media, set())


def test_a_private_gallery_redirects_to_the_login(client: Client, transactional_db: None, settings: Settings) -> None:
    settings.GALLERY_PUBLIC = False
    assert client.get("/").headers["Location"] == "/login/?next=/"


@pytest.mark.parametrize("path", ["/", "/login/", "/nothing-here"])
def test_every_page_complies_with_its_content_security_policy(browser: Client, client: Client, path: str) -> None:
    """No inline script or style, and nothing from other sites."""
    send(browser, ("a.jpg", JPEG))
    response = (client if path == "/login/" else browser).get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    found = tags(response)
    assert not found.named("style")
    assert all(script.get("src", "").startswith("/static/") for script in found.named("script"))  # type: ignore[union-attr]  # None would fail as well
    for name, attributes in found.found:
        assert not [attribute for attribute in attributes if attribute == "style" or attribute.startswith("on")], name
        for address in (attributes.get("src"), attributes.get("href"), attributes.get("action")):
            assert address is None or address.startswith(("/", "?", "#")), name


def test_every_control_has_a_label(browser: Client, client: Client) -> None:
    for page in (tags(browser.get("/")), tags(client.get("/login/"))):
        labelled = {label["for"] for label in page.named("label")}
        fields = [field for field in page.named("input") if field.get("type") != "hidden"]
        assert fields
        assert all(field["id"] in labelled for field in fields)
        assert page.named("html") == [{"lang": "en"}]
        assert len(page.named("h1")) == 1


def test_cookies_are_secure_over_https(browser: Client) -> None:
    assert not browser.get("/").cookies["csrftoken"]["secure"]
    assert browser.get("/", secure=True).cookies["csrftoken"]["secure"]


@pytest.mark.parametrize("path", ["photos/style.css", "photos/upload.js", "photos/icon.svg"])
def test_static_files_need_no_build_step(client: Client, path: str) -> None:
    response = client.get(f"/static/{path}")
    assert response.status_code == 200
    response.close()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.parametrize("path", ["/", "/login/", "/photos/a.jpg", "/delete/a.jpg"])
def test_an_unavailable_database_is_explained_on_a_page(browser: Client, path: str, error: type[Exception]) -> None:
    """Whether the first query comes from the view or from a middleware that reads the session."""

    def unavailable(*_: object) -> None:
        raise error("the server closed the connection unexpectedly")

    browser.raise_request_exception = False
    with connection.execute_wrapper(unavailable):
        response = browser.get(path)
    page = response.content.decode()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "The database is busy or cannot be reached." in page
    assert "database-unavailable" in page
    assert "unexpectedly" not in page
