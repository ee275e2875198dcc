"""A sweep removes expired rows (sessions, tokens, login attempts) and no others."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken
from pytest_django import Settings

from photos import expired, sweep
from photos.models import LoginAttempts, TokenBinding
from tests.app.pictures import picture

HOUR = timedelta(hours=1)


def rows(user: User, age: timedelta, count: int = 1) -> None:
    """Store rows of each kind that expired this long ago (negative: that will expire)."""
    then = timezone.now() - age
    for number in range(count):
        name = f"{age.total_seconds():.0f}-{number}"
        Session.objects.create(session_key=name, session_data="", expire_date=then)
        token, _ = AuthToken.objects.create(user=user)
        token.expiry = then
        token.save()
        LoginAttempts.objects.create(key=name, number=3, last=then - HOUR)


def counts() -> list[int]:
    return [model.objects.count() for model in (Session, AuthToken, TokenBinding, LoginAttempts)]


def test_only_expired_rows_are_removed(ada: User) -> None:
    rows(ada, HOUR, count=2)
    rows(ada, -HOUR / 2)
    assert expired.remove() == 6
    assert counts() == [1, 1, 1, 1]


def test_a_token_without_an_expiry_is_kept(ada: User) -> None:
    AuthToken.objects.create(user=ada, expiry=None)
    assert expired.remove() == 0
    assert AuthToken.objects.count() == 1


def test_a_run_removes_a_bounded_number_of_rows_oldest_first(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expired, "BATCH", 2)
    rows(ada, HOUR, count=2)
    rows(ada, 2 * HOUR)
    assert expired.remove() == 6
    assert counts() == [1, 1, 1, 1]
    assert Session.objects.get().session_key.startswith("3600-")


def test_an_upload_removes_expired_rows(api: Client, ada: User, settings: Settings) -> None:
    settings.SWEEP_INTERVAL = 0
    rows(ada, HOUR)
    response = api.put("/api/photos/a.jpg", picture(), content_type="image/jpeg")
    assert response.status_code == 201
    assert [Session.objects.count(), LoginAttempts.objects.count()] == [0, 0]


def test_a_sweep_that_is_not_due_removes_no_rows(ada: User) -> None:
    sweep.sweep_if_due()
    rows(ada, HOUR)
    sweep.sweep_if_due()
    assert counts() == [1, 1, 1, 1]


def test_the_sweep_command_removes_expired_rows(ada: User, capsys: pytest.CaptureFixture[str]) -> None:
    rows(ada, HOUR)
    call_command("sweep")
    assert counts() == [0, 0, 0, 0]
    assert "login attempts removed: 3" in capsys.readouterr().err
