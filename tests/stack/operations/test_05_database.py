"""A switch to another database in DATABASE_URL and back: photos that it does not know are not deleted."""

import pytest

from tests.stack.operating import PATIENCE, upload
from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.wire import CHUNKED, exchange
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(PATIENCE)

ANOTHER = {"DATABASE_URL": "sqlite:////srv/data/another.sqlite3"}


def up(stack: Stack, **settings: str) -> str:
    """Run make up; returns a token of the database that web uses then."""
    stack.script("up.sh", YES="1", **settings)
    stack.forget()
    return stack.script("token.sh").strip()


def test_photos_survive_a_switch_to_another_database_and_back(stack: Stack, photo: Picture, name: str) -> None:
    for number in range(3):
        upload(stack, f"{number}-{name}", photo)
    stack.sweep()  # files that workers killed in earlier tests have left
    rows, files = stack.state()
    token = up(stack, **ANOTHER)
    try:

        def is_stored() -> bool:
            with stack.nginx("web") as wire:
                return exchange(wire, CHUNKED(name, photo.content), token).status in {200, 201}

        poll(is_stored, "uploads succeed again", 60)
        stack.sweep()
        orphans = set(stack.probe("files")) - set(files)
        assert set(files) <= set(stack.probe("files"))
    finally:
        up(stack)
    stack.sweep()
    assert stack.probe("names") == rows
    assert set(stack.probe("files")) == set(files) | orphans, "the sweep deleted files of an unknown owner"
    for number in range(3):
        assert stack.probe("photo", f"{number}-{name}")["file_sha256"] == photo.sha256
    stack.exec("gunicorn", "python", "manage.py", "adopt_media", "--yes")
    stack.sweep()
    assert stack.state() == (rows, files)
