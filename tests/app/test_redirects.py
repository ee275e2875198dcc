"""No redirect loses the body of a request."""

from pathlib import Path
from typing import Any

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.shortcuts import redirect
from django.test import Client
from django.urls import path
from pytest_django import Settings

from tests.app import state
from tests.app.pictures import picture
from tests.app.test_forms import GOOD, form
from uploadstack.redirects import KeepBodies

JPEG = picture(64, 48)
FORM = "multipart/form-data; boundary=b"


def send(client: Client, method: str, address: str, **options: Any) -> Any:
    body, content_type = (form(GOOD), FORM) if method == "POST" else (JPEG, "image/jpeg")
    path, _, query = address.partition("?")  # set directly: the test client would read // as the start of a host
    return client.generic(method, "/", body, content_type, PATH_INFO=path, QUERY_STRING=query, **options)


@pytest.mark.parametrize("address", ["/api/photos", "/api/photos/", "/api/photos?x=1"])
def test_an_upload_is_accepted_with_and_without_a_final_slash(api: Client, media: Path, address: str) -> None:
    response = send(api, "POST", address)
    assert (response.status_code, response.json()[0]["name"]) == (201, "good.jpg")
    state.check(media, {"good.jpg"})


def test_reading_works_with_and_without_a_final_slash(api: Client) -> None:
    send(api, "POST", "/api/photos")
    responses = [api.get(address) for address in ("/api/photos?page_size=1", "/api/photos/?page_size=1")]
    assert [response.status_code for response in responses] == [200, 200]
    assert responses[0].json() == responses[1].json()
    assert api.head("/api/photos").status_code == 200


# Request line -> the status, the error's name, and a part of its text.
WRONG = {
    "PUT /api/photos": (405, "method-not-allowed", "/api/photos/NAME"),
    "PUT /api/photos/": (405, "method-not-allowed", "/api/photos/NAME"),
    "DELETE /api/photos": (405, "method-not-allowed", "/api/photos/NAME"),
    "PUT /api/photos//x": (400, "bad-name", "slash"),
    "PUT /api/photos/a.jpg/": (400, "bad-name", "slash"),
    "POST /api/photos//": (405, "method-not-allowed", ""),
    "POST //api/photos/": (404, "wrong-address", "/api/photos/ "),
    "POST /api//photos": (404, "wrong-address", "/api/photos "),
    "POST /API/Photos/": (404, "wrong-address", "/api/photos/ "),
    "PUT /api//photos/a.jpg": (404, "wrong-address", "/api/photos/a.jpg "),
    "POST /api/schema": (404, "wrong-address", "/api/schema/ "),
    "POST /login": (404, "wrong-address", "/login/ "),
    "POST /Login": (404, "wrong-address", "/login/ "),
    "POST /logout": (404, "wrong-address", "/logout/ "),
    "POST /delete/a.jpg/": (404, "wrong-address", "/delete/a.jpg "),
    "PATCH /login": (404, "wrong-address", "/login/ "),
    "DELETE /login": (404, "wrong-address", "/login/ "),
    "PUT /photos/a.jpg/": (404, "wrong-address", "/photos/a.jpg "),
    "POST /api/nothing": (404, "not-found", ""),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("request_line", WRONG)
def test_an_upload_to_a_wrong_address_is_an_error_in_json(
    api: Client, media: Path, settings: Settings, request_line: str, debug: bool
) -> None:
    settings.DEBUG = debug and "nothing" not in request_line  # Django has its own 404 page in debug mode
    status, error, detail = WRONG[request_line]
    response = send(api, *request_line.split())
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    assert (response.status_code, answer["error"]) == (status, error)
    assert answer["request_id"] == response.headers["X-Request-ID"]
    assert detail in answer["detail"]
    assert answer["detail"].endswith(".")
    state.check(media, set())


# Accept: text/html, as a browser's form sends it.
@pytest.mark.parametrize(
    ("address", "status", "text", "link"),
    [
        ("/login", 404, "/login/", "/"),
        ("/", 403, "Log in and send it again", "/login/"),
        ("/delete/a.jpg", 403, "Log in and send it again", "/login/"),
    ],
)
def test_a_browser_that_posts_to_a_wrong_address_gets_a_page(
    client: Client, transactional_db: None, address: str, status: int, text: str, link: str
) -> None:
    response = send(client, "POST", address, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (response.status_code, response.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    page = response.content.decode()
    assert text in page
    assert f'href="{link}"' in page
    assert response.headers["X-Request-ID"] in page


def test_a_post_of_an_expired_session_is_refused_with_an_explanation(browser: Client, media: Path) -> None:
    token = browser.get("/").context["csrf_token"]
    browser.cookies.pop("sessionid")
    for address in ("/", "/delete/a.jpg"):
        response = browser.post(address, {"csrfmiddlewaretoken": str(token), "file": ""})
        assert response.status_code == 403
        assert "your login has ended" in response.content.decode()
    response = send(browser, "POST", "/api/photos", headers={"X-CSRFToken": str(token)})
    assert (response.status_code, response.json()["error"]) == (401, "login-needed")
    state.check(media, set())


def test_a_get_request_is_still_redirected(client: Client, transactional_db: None) -> None:
    assert client.get("/login").headers["Location"] == "/login/"
    assert client.head("/login").status_code == 301
    assert client.get("/delete/a.jpg").headers["Location"] == "/login/?next=/delete/a.jpg"


# --- in another project -----------------------------------------------------------------------------------------------


@login_required
def private(request: HttpRequest) -> HttpResponse:
    return HttpResponse("private")


@login_required(redirect_field_name="return_to")
def private_with_own_field(request: HttpRequest) -> HttpResponse:
    return HttpResponse("private")


def taken(request: HttpRequest) -> HttpResponse:
    """Redirect, as a view does that has stored something."""
    return redirect(request.GET["to"])


def moved(request: HttpRequest) -> HttpResponse:
    return HttpResponsePermanentRedirect("/elsewhere/")


def preserved(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=308, headers={"Location": "/elsewhere/"})


urlpatterns = [
    path("private/", private),
    path("private-too/", private_with_own_field),
    path("taken/", taken),
    path("moved/", moved),
    path("kept/", preserved),
]

# Request line -> the status, and the error's name or the address of the redirect.
OWN = {
    "POST /private/": (403, "login-needed"),
    "GET /private/": (302, "/login/?next=/private/"),
    "DELETE /private/": (403, "login-needed"),
    "POST /private/?a=b&c=%C3%A9%20": (403, "login-needed"),
    "POST /private-too/?x=y": (403, "login-needed"),
    "GET /private-too/": (302, "/login/?return_to=/private-too/"),
    "POST /private": (404, "wrong-address"),
    "POST /taken/?to=/taken/": (302, "/taken/"),
    "POST /taken/?to=/login/": (302, "/login/"),
    "POST /taken/?to=/login/?next=/elsewhere/": (302, "/login/?next=/elsewhere/"),
    "POST /taken/?to=/elsewhere?next=1": (302, "/elsewhere?next=1"),
    "POST /moved/": (404, "wrong-address"),
    "GET /moved/": (301, "/elsewhere/"),
    "PUT /kept/": (308, "/elsewhere/"),
}


@pytest.mark.parametrize("request_line", OWN)
def test_redirects_that_lose_a_body_are_refused_in_any_project(
    client: Client, transactional_db: None, settings: Settings, request_line: str
) -> None:
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_URL = "/login/"
    method, address = request_line.split()
    response = client.generic(method, address)
    outcome = response.headers.get("Location") or response.json()["error"]
    assert (response.status_code, outcome) == OWN[request_line]


def test_a_redirect_to_a_login_page_on_another_host_is_refused(
    client: Client, transactional_db: None, settings: Settings
) -> None:
    settings.ROOT_URLCONF = __name__
    settings.LOGIN_URL = "https://login.example/in"
    response = client.post("/private/")
    assert (response.status_code, response.json()["error"]) == (403, "login-needed")


def test_redirects_after_forms_work_without_a_login_page(
    client: Client, transactional_db: None, settings: Settings
) -> None:
    """Forms work as before if LOGIN_URL is the name of no view."""
    settings.ROOT_URLCONF = __name__
    assert client.post("/taken/?to=/taken/").headers["Location"] == "/taken/"


def test_a_redirect_to_an_address_with_a_language_is_refused(
    client: Client, transactional_db: None, settings: Settings
) -> None:
    settings.LOGIN_URL = "/login/"
    settings.USE_I18N = True
    settings.ROOT_URLCONF = tuple(i18n_patterns(path("taken/", taken)))
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    assert client.get("/taken/").headers["Location"] == "/en/taken/"
    response = client.post("/taken/")
    assert (response.status_code, response.json()["error"]) == (404, "wrong-address")
    assert "/en/taken/ " in response.json()["detail"]
    assert client.post("/en/taken/?to=/x/").headers["Location"] == "/x/"


@pytest.mark.parametrize("setting", ["SECURE_SSL_REDIRECT", "PREPEND_WWW"])
def test_redirects_of_django_settings_are_refused_for_posts(
    client: Client, transactional_db: None, settings: Settings, setting: str
) -> None:
    setattr(settings, setting, True)
    settings.ALLOWED_HOSTS = ["*"]
    response = client.generic("POST", "/login/", b"a=b", "application/x-www-form-urlencoded")
    assert (response.status_code, response.json()["error"]) == (404, "wrong-address")
    assert "://" in response.json()["detail"]
    assert client.get("/login/").status_code == 301


def test_the_middleware_precedes_all_of_django(settings: Settings) -> None:
    position = settings.MIDDLEWARE.index(f"{KeepBodies.__module__}.{KeepBodies.__name__}")
    assert not [name for name in settings.MIDDLEWARE[:position] if name.startswith("django.")]
