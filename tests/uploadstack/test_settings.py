"""A project from `django-admin startproject` runs in the stack when its settings are completed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from uploadstack.settings import configure

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef" * 4
MODELS = """
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.db import models


def private():
    return FileSystemStorage(Path(settings.MEDIA_ROOT) / "private")


class Picture(models.Model):
    image = models.FileField(upload_to="pictures")


class Framed(Picture):
    frame = models.FileField(db_column="the frame")


class Hung(Picture):
    class Meta:
        proxy = True


class Paper(models.Model):
    file = models.FileField(storage=private)
    elsewhere = models.FileField(storage=FileSystemStorage("/srv/elsewhere"))
"""


def manage(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SECRET_KEY": SECRET, **variables}
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new project with an application that has files, and with completed settings."""
    subprocess.run([sys.executable, "-m", "django", "startproject", "mysite", tmp_path], check=True)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "models.py").write_text(MODELS)
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["shop"]\n')
        settings.write("from uploadstack.settings import configure\n\nconfigure(globals())\n")
    return tmp_path


def test_a_new_project_passes_the_system_check(project: Path) -> None:
    done = manage(project, "check", "--fail-level", "WARNING")
    assert (done.returncode, done.stdout) == (0, "System check identified no issues (0 silenced).\n"), done.stderr


def test_media_columns_lists_the_columns_that_name_media_files(project: Path) -> None:
    (project / "media").mkdir()
    done = manage(project, "media_columns", MEDIA_ROOT=str(project / "media"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"table": "shop_picture", "column": "image", "folder": ""},
        {"table": "shop_framed", "column": "the frame", "folder": ""},
        {"table": "shop_paper", "column": "file", "folder": "private"},
    ]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEBUG", "DATABASE_URL", "MEDIA_ROOT", "UPLOAD_MAX", "ALLOWED_HOSTS", "COMPOSE_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECRET_KEY", SECRET)


@pytest.mark.usefixtures("environment")
def test_the_settings_of_a_project_are_kept_beside_those_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "second")
    settings: dict[str, Any] = {"MIDDLEWARE": ("its.own",), "INSTALLED_APPS": ["shop"], "CSRF_COOKIE_NAME": "its"}
    configure(settings)
    assert (settings["MIDDLEWARE"][0], settings["MIDDLEWARE"][-1]) == ("uploadstack.request_id.RequestId", "its.own")
    assert settings["INSTALLED_APPS"] == ["shop", "uploadstack"]
    assert (settings["SESSION_COOKIE_NAME"], settings["CSRF_COOKIE_NAME"]) == ("sessionid_second", "its")
    assert (settings["SECRET_KEY"], settings["DEBUG"]) == (SECRET, False)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("name", "value"),
    [("SECRET_KEY", ""), ("SECRET_KEY", "change-me"), ("DEBUG", "2"), ("UPLOAD_MAX", "100mb"), ("DATABASE_URL", "x")],
)
def test_an_invalid_variable_is_refused_by_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        configure({})


def test_a_missing_health_check_stops_the_start(project: Path) -> None:
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write('HEALTH_CHECKS = {"shop": "shop.health.check"}\n')
    program = "import uploadstack.wsgi"
    environment = {"PYTHONPATH": f"{ROOT}:{project}", "SECRET_KEY": SECRET, "DJANGO_SETTINGS_MODULE": "mysite.settings"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, "shop.health" in done.stderr) == (1, True), done.stderr
