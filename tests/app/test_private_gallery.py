"""GALLERY_PUBLIC=false: no response to an anonymous client reveals a photo, whatever the request."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone
from pytest_django import Settings

from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture
from tests.app.test_forms import GOOD, form, part

NAME = "a-picture-of-the-house.jpg"
JPEG = picture(61, 43) + bytes(1_234_567)  # with a size that occurs in no random token
CUT = (form(GOOD)[:-300], "multipart/form-data; boundary=b")
BODIES = {
    "nothing": (b"", ""),
    "a form": (form(GOOD), "multipart/form-data; boundary=b"),
    "a form cut inside a file": CUT,
    "a form cut inside a head": (b"--b\r\nContent-Dis", "multipart/form-data; boundary=b"),
    "a form without a boundary": (b"x", "multipart/form-data"),
    "a form with a part of no kind": (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
    "too many fields": (b"&".join([b"a=b"] * 1100), "application/x-www-form-urlencoded"),
    "JSON": (b"{", "application/json"),
    "a picture": (JPEG, "image/jpeg"),
}
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
HEADERS: dict[str, dict[str, str]] = {
    "a stranger": {},
    "a wrong token": {"Authorization": "Token " + "0" * 64},
    "a token that is no text": {"Authorization": "Token \xff\xfe"},
    "another login": {"Authorization": "Basic ZGVtbzpkZW1v"},
    "conditions": {"If-None-Match": "*", "If-Match": '"x"', "Range": "bytes=0-9"},
}


@pytest.fixture
def photo(api: Client, settings: Settings) -> Photo:
    api.put(f"/api/photos/{NAME}", JPEG, content_type="image/jpeg")
    settings.GALLERY_PUBLIC = False
    return Photo.objects.get()


def addresses(name: str, thumbnail: str) -> list[str]:
    return [
        *("/", "/?page=2", "/login/", "/login", "/logout/", f"/delete/{name}", f"/photo/{name}"),
        *(f"/photos/{name}", f"/{thumbnail}"),
        *("/api/photos/", "/api/photos", "/api/photos/?page=9", "/api/photos/?page=x", f"/api/photos/{name}"),
        *(f"/api/photos/{name}/", f"/photos/{name}/", f"/delete/{name}/", f"//photos/{name}", f"/API/photos/{name}"),
        f"/photos/{name}/position",
        *("/api/token", "/api/tokens/", "/api/schema/", "/api/nothing", "/nothing", "/healthz", "/readyz", "/static/x"),
        *("/api/docs/", "/api/token/", "/api/tokens", "/api/tokens/0a", "/api/plain"),
    ]


def test_the_table_has_every_address_of_the_project(photo: Photo) -> None:
    found = addresses(NAME, photo.thumbnail)
    for pattern in get_resolver().url_patterns:
        assert any(pattern.resolve(address.lstrip("/").partition("?")[0]) for address in found), pattern


def check(photo: Photo, address: str, response: Any) -> None:
    """Check that a response reveals nothing about the photo; it may repeat the address of its request."""
    content = b"" if response.streaming else response.content
    text = f"{response.headers} {content.decode()}"
    secrets = [
        photo.name,
        photo.thumbnail,
        photo.original,
        photo.sha256,
        str(photo.size),
        "1.2\xa0MB",
        "thumbs/",
        '"count"',
    ]
    if address != "/api/schema/":
        assert [word for word in secrets if word in text and word not in address] == [], address


@pytest.mark.parametrize("client_headers", HEADERS)
@pytest.mark.parametrize("method", METHODS)
def test_no_response_to_an_anonymous_client_reveals_a_photo(photo: Photo, client_headers: str, method: str) -> None:
    client = Client(enforce_csrf_checks=True, headers=HEADERS[client_headers], raise_request_exception=False)
    csrf = client.get("/login/").cookies["csrftoken"].value
    for address in addresses(NAME, photo.thumbnail):
        for body, content_type in BODIES.values() if method in {"POST", "PUT", "PATCH"} else [(b"", "")]:
            response = client.generic(method, address, body, content_type, headers={"X-CSRFToken": csrf})
            assert response.status_code < 500, (address, response.content)
            check(photo, address, response)
    assert Photo.objects.count() == 1


def test_the_error_page_for_a_broken_form_lists_no_photos(photo: Photo, media: Path) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/login/")  # for the CSRF cookie
    response = client.generic("POST", "/", *CUT)
    assert response.status_code == 403
    assert "<img" not in re.sub(r'<img src="/static/\S+"', "", response.content.decode())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/photo/{}", "/photos/{}", "/api/photos/{}", "/delete/{}", "/photo/{}/"])
def test_responses_do_not_reveal_whether_a_name_exists(photo: Photo, method: str, path: str) -> None:
    """The responses for two names of one length differ only in the names."""
    other = NAME.replace("house", "mouse")
    client = Client(enforce_csrf_checks=True)
    responses = []
    for name in (NAME, other):
        response = client.generic(method, path.format(name), JPEG, headers={"X-Request-ID": "0123456789abcdef"})
        text = re.sub(r'value="\w{64}"', "", response.content.decode())
        headers = {key: value for key, value in response.headers.items() if key != "Set-Cookie"}
        responses.append((response.status_code, str(headers).replace(name, ""), text.replace(name, "")))
    assert responses[0] == responses[1]


def test_responses_do_not_reveal_whether_a_thumbnail_exists(photo: Photo) -> None:
    other = "thumbs/00/" + "0" * 32 + ".webp"
    responses = [Client().get(f"/{key}") for key in (photo.thumbnail, other)]
    assert [(response.status_code, response.headers["Location"]) for response in responses] == [
        (302, f"/login/?next=/{photo.thumbnail}"),
        (302, f"/login/?next=/{other}"),
    ]


def deactivated(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def with_another_password(user: User) -> None:
    User.objects.filter(pk=user.pk).update(password="another")


def expired(user: User) -> None:
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))


def deleted(user: User) -> None:
    user.delete()


@pytest.mark.parametrize("change", [deactivated, with_another_password, expired, deleted])
def test_a_user_without_a_valid_session_sees_no_photos(
    photo: Photo, bob: User, media: Path, change: Callable[[User], None]
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    page = client.get("/")
    assert NAME in page.content.decode()
    csrf = str(page.context["csrf_token"])
    change(bob)
    for address in addresses(NAME, photo.thumbnail):
        check(photo, address, client.get(address))
    sent = form(part(b'name="csrfmiddlewaretoken"', csrf.encode()), GOOD)
    for address, status in (("/", 403), ("/api/photos", 401), (f"/delete/{NAME}", 403)):
        response = client.generic("POST", address, sent, CUT[1], headers={"X-CSRFToken": csrf})
        assert response.status_code == status
        check(photo, address, response)
    state.check(media, {NAME})


def test_a_message_is_not_shown_after_another_login(photo: Photo, browser: Client, bob: User) -> None:
    """The message was still pending when another user logged in."""
    csrf = part(b'name="csrfmiddlewaretoken"', str(browser.get("/").context["csrf_token"]).encode())
    assert browser.generic("POST", "/", form(csrf, GOOD), CUT[1]).status_code == 302
    assert "good.jpg" not in str(browser.cookies)
    browser.cookies.pop("sessionid")
    browser.force_login(bob)
    assert "Stored" not in browser.get("/").content.decode()


def test_a_logged_in_user_sees_all_photos(
    photo: Photo, api: Client, browser: Client, bob: User, client: Client
) -> None:
    assert api.get("/api/photos/").json()["count"] == 1
    client.force_login(bob)
    for user in (browser, client):
        assert NAME in user.get("/").content.decode()
        assert NAME in user.generic("POST", "/", *CUT).content.decode()


def test_a_public_gallery_shows_errors_among_its_photos(photo: Photo, settings: Settings, browser: Client) -> None:
    settings.GALLERY_PUBLIC = True
    browser.get("/")  # for the CSRF cookie
    page = browser.generic("POST", "/", *CUT).content.decode()
    assert NAME in page
    assert "The upload was incomplete" in page


@pytest.mark.parametrize("is_public", [True, False])
def test_a_shared_cache_stores_no_page_of_a_logged_in_user(
    api: Client, photo: Photo, settings: Settings, *, is_public: bool
) -> None:
    """The next client of the cache may be anonymous."""
    settings.GALLERY_PUBLIC = is_public
    browser = Client()
    browser.force_login(photo.owner)
    shown = [
        "/",
        f"/photo/{NAME}",
        "/api/photos/",
        f"/api/photos/{NAME}",
        f"/photos/{NAME}",
        f"/{photo.thumbnail}",
        "/photos/nothing",
    ]
    for client in (api, browser):
        for address in shown:
            response = client.get(address)
            response.close()  # with the file that it has open
            control = response.headers.get("Cache-Control", "")
            assert ("private" in control) is not is_public, (address, control)
            assert is_public or "public" not in control, (address, control)
