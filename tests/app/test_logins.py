"""Guessing passwords is slow. The owner is not locked out, and no response reveals which accounts exist."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from photos.models import LoginAttempts
from tests.app.test_library import run_concurrently

MOST = 4


@pytest.fixture(autouse=True)
def low_login_limit(settings: Settings, ada: User) -> None:
    settings.LOGIN_FAILURES = MOST


def log_in(client: Client, name: str, password: str) -> Any:
    return client.post("/login/", {"username": name, "password": password})


def fail(name: str, times: int) -> list[int]:
    """Fail to log in, from as many new browsers as `times`."""
    return [log_in(Client(), name, "wrong").status_code for _ in range(times)]


def advance(seconds: int) -> None:
    """Age the stored failures by this time."""
    for attempts in LoginAttempts.objects.all():
        attempts.last -= timedelta(seconds=seconds)
        attempts.save()


@pytest.mark.parametrize("name", ["ada", "nobody", " ADA ", "x" * 10_000])
def test_login_attempts_are_limited_for_existing_and_unknown_accounts(name: str) -> None:
    assert fail(name, MOST + 1) == [200] * MOST + [429]
    response = log_in(Client(), name, "of ada")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
    page = response.content.decode().replace(response.headers["X-Request-ID"], "")  # which may contain "ada"
    assert "too-many-logins" in page
    assert name[:5] == "x" * 5 or name.strip() not in page
    assert "sessionid" not in response.cookies


def test_the_pause_after_failed_logins_grows_up_to_a_limit() -> None:
    fail("ada", MOST)
    for pause in (60, 120, 240, 480, 900, 900):
        assert log_in(Client(), "ada", "of ada").headers["Retry-After"] == str(pause)
        advance(pause)
        assert fail("ada", 1) == [200]
    advance(900)
    assert log_in(Client(), "ada", "of ada").status_code == 302
    assert fail("ada", MOST) == [200] * MOST


def test_attempts_within_the_pause_do_not_extend_the_pause() -> None:
    fail("ada", MOST)
    assert set(fail("ada", 20)) == {429}
    advance(60)
    assert log_in(Client(), "ada", "of ada").status_code == 302


def test_a_blocked_account_does_not_block_other_accounts(bob: User) -> None:
    fail("ada", MOST + 1)
    assert log_in(Client(), "bob", "of bob").status_code == 302


def test_a_successful_login_resets_the_failures() -> None:
    for _ in range(3):
        assert fail("ada", MOST - 1) == [200] * (MOST - 1)
        assert log_in(Client(), "ada", "of ada").status_code == 302


def test_failed_attempts_of_others_do_not_lock_out_a_known_browser(client: Client) -> None:
    """A browser in which the owner has logged in before has a separate limit."""
    log_in(client, "ada", "of ada")
    client.logout()  # deletes all cookies
    known = log_in(Client(), "ada", "of ada").cookies["known_browser"]
    fail("ada", MOST + 1)
    client.cookies["known_browser"] = known.value
    assert log_in(client, "ada", "of ada").status_code == 302
    assert log_in(Client(), "ada", "of ada").status_code == 429
    client.cookies.pop("sessionid")
    assert [log_in(client, "ada", "wrong").status_code for _ in range(MOST + 1)] == [200] * MOST + [429]


def test_a_known_browser_cookie_counts_for_its_own_account_only(bob: User) -> None:
    other_browser = Client()
    other_browser.cookies["known_browser"] = log_in(Client(), "bob", "of bob").cookies["known_browser"].value
    fail("ada", MOST)
    assert log_in(other_browser, "ada", "of ada").status_code == 429


@pytest.mark.parametrize("value", ["", "x", "x:y:z", "W10:1:1"])
def test_an_invalid_known_browser_cookie_is_ignored(value: str) -> None:
    other_browser = Client()
    other_browser.cookies["known_browser"] = value
    fail("ada", MOST)
    assert log_in(other_browser, "ada", "of ada").status_code == 429


def test_the_known_browser_cookie_is_httponly_and_samesite() -> None:
    cookie = log_in(Client(), "ada", "of ada").cookies["known_browser"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/login/")


def test_a_clock_that_was_set_back_does_not_extend_the_pause() -> None:
    fail("ada", MOST)
    advance(-(10**6))
    assert log_in(Client(), "ada", "of ada").headers["Retry-After"] == "60"


def test_old_counts_of_attempts_are_removed(settings: Settings) -> None:
    for number in range(5):
        fail(f"nobody-{number}", 1)
    advance(3601)
    fail("ada", 1)
    assert LoginAttempts.objects.count() == 1


def test_the_typed_account_name_is_not_stored() -> None:
    fail("my-secret-password", 1)
    row = LoginAttempts.objects.get()
    assert "secret" not in str(row.__dict__)
    assert len(row.key) == 64
    assert row.last <= timezone.now()


def test_concurrent_attempts_are_all_counted() -> None:
    def action() -> str:
        return str(log_in(Client(), "ada", "wrong").status_code)

    counted = run_concurrently(*[action] * 12)
    assert counted["200"] == MOST
    assert counted["429"] == 12 - MOST
