"""Fixtures of the Django project's tests: real files below a temporary MEDIA_ROOT, a real SQLite file.

pyproject.toml names no settings module, because the server's tests run with app/ deleted; so the environment and
Django are set up here, when these tests are collected. The environment is restored at once: other tests of the same
run start Compose, which would take these values for the user's. TEST_DATABASE_URL runs them on another database.
"""

# ruff: noqa: E402 - Django can be imported only after the environment is set

import os
import tempfile
from pathlib import Path

# In memory if possible: the database syncs every commit, and every test starts with an empty one.
_shm = Path("/dev/shm")
_folder = Path(tempfile.mkdtemp(prefix="photos-tests-", dir=_shm if os.access(_shm, os.W_OK) else None))
(_folder / "static").mkdir()
_environment = dict(os.environ)
os.environ.update(
    DJANGO_SETTINGS_MODULE="config.settings",
    SECRET_KEY="0123456789abcdef-a-secret-of-the-tests-0123456789abcdef",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL", f"sqlite:///{_folder}/db.sqlite3"),
    MEDIA_ROOT=str(_folder / "media"),
    STATIC_ROOT=str(_folder / "static"),
    UPLOAD_MAX="20m",
    GALLERY_PUBLIC="true",
    X_ACCEL_PREFIX="",
    DEBUG="false",
    ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
)

import django

django.setup()
os.environ.clear()
os.environ.update(_environment)

import shutil

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from knox.models import AuthToken
from pytest_django import Settings


def pytest_sessionfinish() -> None:
    shutil.rmtree(_folder, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """Use a file, not SQLite in memory, so that threads and forked processes share the database as in production."""
    test = connections["default"].settings_dict["TEST"]
    if connections["default"].vendor == "sqlite":
        test["NAME"] = str(_folder / "test.sqlite3")


@pytest.fixture
def environment(media: Path) -> dict[str, str]:
    """The environment of a `manage.py` in a separate process, with the database and media folder of the tests."""
    database = connections["default"].settings_dict
    return {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "0123456789abcdef-a-secret-of-the-tests-0123456789abcdef",
        "DATABASE_URL": os.environ.get("TEST_DATABASE_URL", f"sqlite:///{database['NAME']}"),
        "MEDIA_ROOT": str(media),
        "STATIC_ROOT": str(_folder / "static"),
    }


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Settings) -> Path:
    """An empty media folder for each test."""
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MEDIA_ROOT.mkdir()
    return tmp_path / "media"


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def ada(transactional_db: None) -> User:
    return User.objects.create_user("ada", password="of ada")


@pytest.fixture
def bob(transactional_db: None) -> User:
    return User.objects.create_user("bob", password="of bob")


def client_of(user: User) -> Client:
    """Return a client of the API: with a token, without a session."""
    _, token = AuthToken.objects.create(user=user)
    return Client(headers={"Authorization": f"Token {token}"})


@pytest.fixture
def api(ada: User) -> Client:
    return client_of(ada)


@pytest.fixture
def api_of_bob(bob: User) -> Client:
    return client_of(bob)


@pytest.fixture
def browser(ada: User) -> Client:
    """A logged-in session, with the CSRF check that test clients usually skip."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    return client
