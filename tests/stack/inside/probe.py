"""Reads rows and files of the running stack from the inside, without the application.

Runs in a container (see Stack.probe), one JSON question per line on stdin, one JSON answer per line on stdout:
["photo", "cat.jpg"] -> {"size": 3, ...}. It uses Django to access any database, and reads the files itself.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402 - models exist after setup()
from django.db import connection  # noqa: E402
from knox.models import AuthToken  # noqa: E402

from photos.models import Photo  # noqa: E402

MEDIA = Path(os.environ["MEDIA_ROOT"])


def photo(name: str) -> dict[str, Any] | None:
    """The values of the row, and those of the files."""
    row = Photo.objects.filter(name=name).first()
    if row is None:
        return None
    original = MEDIA / row.original
    with original.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "row_sha256": row.sha256,
        "row_size": row.size,
        "file_sha256": digest,
        "file_size": original.stat().st_size,
        "thumbnail_size": (MEDIA / row.thumbnail).stat().st_size,
        "original": row.original,
        "thumbnail": row.thumbnail,
        "storage_keys": row.storage_keys,
    }


def take(ending: str) -> dict[str, str]:
    """Delete the photos whose names end with `ending`; returns name -> SHA-256 of the file."""
    rows = list(Photo.objects.filter(name__endswith=ending))
    digests = {}
    for row in rows:
        with (MEDIA / row.original).open("rb") as file:
            digests[row.name] = hashlib.file_digest(file, "sha256").hexdigest()
    Photo.objects.filter(pk__in=[row.pk for row in rows]).delete()
    for row in rows:
        for path in row.storage_keys:
            (MEDIA / path).unlink()
    return digests


def names() -> list[str]:
    return sorted(Photo.objects.values_list("name", flat=True))


def files() -> list[str]:
    """All files in the media root, except hidden ones, which sweep, backup and restore make."""
    found = (path.relative_to(MEDIA) for path in MEDIA.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def tokens() -> list[dict[str, str]]:
    """Every column of every stored token."""
    return [{key: str(value) for key, value in row.items()} for row in AuthToken.objects.values()]


def new_user(name: str, password: str) -> str:
    """Create a user; returns a token."""
    _, token = AuthToken.objects.create(user=User.objects.create_user(name, password=password))
    return str(token)


ANSWERS: dict[str, Callable[..., Any]] = {
    "photo": photo,
    "take": take,
    "names": names,
    "files": files,
    "tokens": tokens,
    "new_user": new_user,
}

for line in sys.stdin:
    question, *arguments = json.loads(line)
    print(json.dumps(ANSWERS[question](*arguments)), flush=True)
    connection.close()  # so that no answer uses an old transaction or a broken connection
