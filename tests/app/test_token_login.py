"""Login of phones: a token for a name and a password over HTTP. Guessing is as slow as on the page."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken
from pytest_django import Settings

from photos.models import LoginAttempts
from tests.app.conftest import client_of
from tests.app.pictures import picture
from tests.app.test_logins import advance, log_in

ADA = {"username": "ada", "password": "of ada"}
MOST = 3


class Counting(MD5PasswordHasher):
    hashed = 0

    def encode(self, password: str, salt: str) -> str:
        type(self).hashed += 1
        return super().encode(password, salt)


def send(body: Any, client: Client | None = None, content_type: str = "application/json", address: str = "") -> Any:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return (client or Client(enforce_csrf_checks=True)).generic("POST", address or "/api/token", data, content_type)


def check_error(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response.json()["error"]) == (status, code), response.content
    assert set(response.json()) == {"error", "detail", "request_id"}
    assert not response.cookies
    assert AuthToken.objects.count() == 0


def upload_status(token: str) -> int:
    client = Client(headers={"Authorization": f"Token {token}"})
    status: int = client.put("/api/photos/a.jpg", picture(), content_type="image/jpeg").status_code
    return status


@pytest.mark.parametrize("address", ["/api/token", "/api/token/"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ADA, "application/json"),
        (ADA, "Application/JSON; charset=UTF-8"),
        ("username=ada&password=of+ada", "application/x-www-form-urlencoded"),
        ({**ADA, "username": " ada "}, "application/json"),
    ],
)
def test_a_name_and_a_password_get_a_token(ada: User, address: str, body: Any, content_type: str) -> None:
    response = send(body, None, content_type, address)
    assert response.status_code == 200
    assert set(response.json()) == {"token", "expiry"}
    assert response.headers["Cache-Control"] == "no-store"
    assert not response.cookies
    assert upload_status(response.json()["token"]) == 201
    expiry = AuthToken.objects.get().expiry
    assert timedelta(days=29) < expiry - timezone.now() < timedelta(days=31)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**ADA, "password": "wrong"}, 401, "wrong-login"),
        ({**ADA, "username": "nobody"}, 401, "wrong-login"),
        ({"username": "ada"}, 400, "bad-request"),
        ({"username": "ada", "password": ""}, 400, "bad-request"),
        ({"username": ["ada"], "password": {"a": 1}}, 400, "bad-request"),
        ({"username": "a\0", "password": "x"}, 400, "bad-request"),
        ({"username": "\ud800", "password": "\ud800"}, 400, "bad-request"),
        ({"username": "x" * 300, "password": "x"}, 400, "bad-request"),
        ([], 400, "bad-request"),
        ("", 400, "bad-request"),
        ("{", 400, "bad-request"),
        (b"\xff", 400, "bad-request"),
        ("null", 400, "bad-request"),
        ("[" * 5000, 400, "bad-request"),
        ({**ADA, "more": "x" * 70_000}, 413, "body-too-large"),
    ],
)
def test_a_failed_login_is_an_error_in_json(ada: User, body: Any, status: int, code: str) -> None:
    check_error(send(body), status, code)


def test_a_login_with_an_unsupported_content_type_is_refused(ada: User) -> None:
    check_error(send(ADA, content_type="text/plain"), 415, "unsupported-media-type")
    check_error(send(b"--b\r\n", content_type="multipart/form-data; boundary=b"), 415, "unsupported-media-type")


def test_unknown_users_and_wrong_passwords_get_the_same_response(ada: User, bob: User) -> None:
    User.objects.filter(username="bob").update(is_active=False)
    answers = [
        send({"username": name, "password": word}) for name, word in [("ada", "x"), ("nobody", "x"), ("bob", "of bob")]
    ]
    assert len({(answer.status_code, answer.json()["detail"], str(sorted(answer.headers))) for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"] == "Token"


def test_the_password_of_an_unknown_user_is_hashed(ada: User, settings: Settings) -> None:
    """The response takes as long as for a known user: the test counts hashes instead of measuring time."""
    settings.PASSWORD_HASHERS = ["tests.app.test_token_login.Counting"]
    Counting.hashed = 0
    send({"username": "nobody", "password": "x"})
    assert Counting.hashed == 1


def test_the_page_and_the_token_login_share_one_limit_per_account(ada: User, settings: Settings) -> None:
    settings.LOGIN_FAILURES = MOST
    for _ in range(MOST - 1):
        assert send({**ADA, "password": "x"}).status_code == 401
    assert log_in(Client(), "ada", "x").status_code == 200
    response = send(ADA)
    check_error(response, 429, "too-many-logins")
    assert response.headers["Retry-After"] == "60"
    assert log_in(Client(), "ada", "of ada").status_code == 429
    advance(60)
    assert send(ADA).status_code == 200
    assert LoginAttempts.objects.count() == 0


def test_login_attempts_for_unknown_accounts_are_limited(ada: User, settings: Settings) -> None:
    settings.LOGIN_FAILURES = MOST
    statuses = [send({"username": "nobody", "password": "x"}).status_code for _ in range(MOST + 1)]
    assert statuses == [401] * MOST + [429]


def test_an_incomplete_login_does_not_count_as_an_attempt(ada: User, settings: Settings) -> None:
    settings.LOGIN_FAILURES = MOST
    for _ in range(MOST + 1):
        send({"username": "ada"})
    assert send(ADA).status_code == 200


def test_a_session_alone_gets_no_token(browser: Client, ada: User) -> None:
    """Another site cannot create a token: its form sends the cookie, but not the password."""
    check_error(send("", browser, "application/x-www-form-urlencoded"), 400, "bad-request")
    check_error(send({**ADA, "password": "x"}, browser), 401, "wrong-login")


def test_a_client_with_an_invalid_token_can_get_a_new_one(ada: User) -> None:
    client = Client(headers={"Authorization": "Token " + "0" * 64})
    assert send(ADA, client).status_code == 200


def test_a_user_can_list_and_revoke_own_tokens(ada: User, api: Client, api_of_bob: Client) -> None:
    phone = send(ADA).json()["token"]
    listed = api.get("/api/tokens").json()
    assert [sorted(item) for item in listed] == [["created", "expiry", "is_current", "key"]] * 2
    assert [item["is_current"] for item in listed] == [False, True]  # the newest first
    key = listed[0]["key"]
    assert phone.startswith(key)
    assert len(key) * 3 < len(phone)
    assert api_of_bob.delete(f"/api/tokens/{key}").json()["error"] == "not-found"
    assert api.delete(f"/api/tokens/{key}").status_code == 204
    assert upload_status(phone) == 401
    assert api.delete(f"/api/tokens/{key}").json()["error"] == "not-found"
    assert [item["key"] for item in api.get("/api/tokens/").json()] == [listed[1]["key"]]


def test_revoking_needs_a_login_and_for_sessions_a_csrf_token(client: Client, browser: Client, api: Client) -> None:
    (token,) = api.get("/api/tokens").json()
    address = f"/api/tokens/{token['key']}"
    assert client.get("/api/tokens").json()["error"] == "login-needed"
    assert client.delete(address).json()["error"] == "login-needed"
    assert browser.delete(address).json()["error"] == "forbidden"
    assert browser.get("/api/tokens").json() == [{**token, "is_current": False}]
    csrf = str(browser.get("/").context["csrf_token"])
    assert browser.delete(address, headers={"X-CSRFToken": csrf}).status_code == 204


def test_a_login_removes_expired_tokens(ada: User) -> None:
    client_of(ada)
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert send(ADA).status_code == 200
    assert AuthToken.objects.count() == 1


def test_a_token_login_updates_last_login(ada: User) -> None:
    assert ada.last_login is None
    send(ADA)
    ada.refresh_from_db()
    assert ada.last_login is not None


def test_a_forged_known_browser_cookie_does_not_lift_the_limit(ada: User, settings: Settings) -> None:
    settings.LOGIN_FAILURES = MOST
    client = Client()
    client.cookies["known_browser"] = signing.dumps(["x", "y"], salt="photos.logins")
    assert [send({**ADA, "password": "x"}, client).status_code for _ in range(MOST + 1)] == [401] * MOST + [429]
