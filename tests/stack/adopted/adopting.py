"""Another project, which replaces the sample by following README.md word for word.

The project is made by `django-admin startproject`, with one app: pictures in the admin, on a page and, if they are
private, by a view. Commands and code between ``` in the section "Your own project" of the README are run, or written
into the project, unchanged. Steps that the README describes in prose are here.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.stack.stack import ROOT, clean_environment, run

MODELS = """
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.db import models


class Picture(models.Model):
    image = models.ImageField(upload_to="pictures")


class Attachment(models.Model):
    file = models.FileField(upload_to="attachments")
"""
VIEWS = """
from urllib.parse import quote

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from pictures.models import Paper, Picture


def home(request):
    return render(request, "home.html", {"pictures": Picture.objects.all()})
"""
HOME = """<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>Pictures</title>
<h1>Pictures</h1>
{% for picture in pictures %}<img src="{{ picture.image.url }}" alt="a picture" width="300">{% endfor %}
</html>
"""
ADMIN = """
from django.contrib import admin

from pictures.models import Attachment, Paper, Picture

admin.site.register([Attachment, Paper, Picture])
"""
URLS = """
from django.contrib import admin
from django.http import HttpResponse, JsonResponse
from django.urls import path

from pictures import views

urlpatterns = [
    path("", views.home),
    path("papers/<int:pk>/", views.paper),
    path("seen/", lambda request: JsonResponse(dict(request.headers))),
    path("admin/", admin.site.urls),
    path("favicon.ico", lambda request: HttpResponse(status=204)),
]
"""
FILES = {"admin.py": ADMIN, "templates/home.html": HOME}


SETTINGS_MODULE = "mysite.settings"  # as the README's first step says


def section() -> str:
    return re.search(r"(?s)\n## Your own project\n(.*?)\n## ", (ROOT / "README.md").read_text())[1]  # type: ignore[index]  # a missing one fails


def code(first: str) -> str:
    """The block of the section that begins with `first`, without its fence and indentation."""
    blocks = [dedent(block) for block in re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```$", section())]
    (found,) = [block for block in blocks if block.startswith(first)]
    return found


def copy_to(folder: Path) -> Path:
    """Copy the files of a checkout, except tests/, which no image of the stack needs."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("no git, or no checkout of it")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def own_project(home: Path) -> Path:
    """~/mysite."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["django-admin", "startproject", "mysite"], cwd=home, env=environment, check=True)
    project = home / "mysite"
    models, views = code("# models.py").split("# views.py\n")
    for name, text in {**FILES, "__init__.py": "", "models.py": MODELS + models, "views.py": VIEWS + views}.items():
        (project / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "pictures" / name).write_text(text)
    (project / "mysite" / "urls.py").write_text(URLS)
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["pictures"]\n')
    subprocess.run([sys.executable, "manage.py", "makemigrations", "-v0", "pictures"], cwd=project, check=True)
    (project / "db.sqlite3").write_bytes(b"of the developer's machine")
    return project


def adopt(copy: Path, home: Path) -> None:
    """Steps 1 and 2 of the README; its requirements are those of the sample, so 3 is left out."""
    environment = {**clean_environment(), "HOME": str(home)}
    subprocess.run(["bash", "-euc", code("mv app")], cwd=copy, env=environment, check=True)
    assert f"DJANGO_SETTINGS_MODULE={SETTINGS_MODULE}" in (copy / ".env").read_text()
    with (copy / "app" / "mysite" / "settings.py").open("a") as settings:
        settings.write(code("from uploadstack.settings import"))
