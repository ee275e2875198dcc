"""Files of a photo besides the original and its thumbnail: the columns that name them, and when they are removed."""

from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.test import Client
from PIL import Image
from pytest_django import Settings

from photos import library, pairing, storage, sweep
from photos.models import FILES, Photo, known
from tests.app import state
from tests.app.pictures import picture


def put(owner: User, name: str, data: bytes) -> Photo:
    with storage.Incoming() as incoming:
        incoming.write(data)
        return library.put(owner, name, incoming)[0]


def file_beside(thumbnail: str, folder: str = storage.RENDITIONS) -> str:
    with storage.Incoming() as incoming:
        incoming.write(b"a rendition")
        key = incoming.publish(folder, ".webp", thumbnail)
        incoming.keep()
    return key


def test_models_and_migrations_agree(transactional_db: None) -> None:
    loader = MigrationLoader(connection)
    detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
    assert "photos" not in detector.changes(graph=loader.graph)


@pytest.mark.parametrize("column", sorted(FILES))
def test_a_file_named_by_a_row_is_kept_until_the_row_is_deleted(ada: User, media: Path, column: str) -> None:
    photo = put(ada, "a.jpg", picture())
    key = getattr(photo, column) or file_beside(photo.thumbnail, FILES[column])
    Photo.objects.update(**{column: key})
    assert known([key]) == {key}
    assert sweep.sweep(-1) == []
    state.check(media, {"a.jpg"})
    library.delete(ada, "a.jpg")
    assert not (media / key).exists()


def test_a_rendition_without_a_row_is_swept(ada: User, media: Path) -> None:
    key = file_beside(put(ada, "a.jpg", picture()).thumbnail)
    assert sweep.sweep(-1) == [media / key]


def test_a_folder_with_only_a_rendition_is_not_adopted_as_empty(transactional_db: None, media: Path) -> None:
    """A row of another database names the rendition."""
    file_beside("")
    pairing.announce()
    assert not (media / pairing.FILE).exists()


def test_a_photo_replaced_by_the_previous_version_shows_no_old_rendition(ada: User, media: Path) -> None:
    photo = put(ada, "a.jpg", picture())
    Photo.objects.update(thumbnail_2x=file_beside(photo.thumbnail))
    assert Photo.objects.get().thumbnail_2x
    with storage.Incoming() as incoming:  # the older version writes the columns that it knows
        Photo.objects.update(thumbnail=incoming.publish(storage.THUMBS, ".webp"))
        assert not Photo.objects.get().thumbnail_2x
    assert Photo.objects.defer("thumbnail").get().thumbnail_2x
    put(ada, "a.jpg", picture(20, 20))
    sweep.sweep(-1)
    state.check(media, {"a.jpg"})


def test_a_photo_larger_than_its_thumbnail_has_a_thumbnail_2x(ada: User, media: Path) -> None:
    small, large = put(ada, "small.jpg", picture(480, 100)), put(ada, "large.jpg", picture(481, 100))
    assert (small.thumbnail_2x, small.preview, large.preview) == ("", "", "")
    with Image.open(media / large.thumbnail_2x) as image:
        assert (image.format, image.size) == ("WEBP", (481, 100))
    huge = put(ada, "huge.jpg", picture(600, 3000))
    with Image.open(media / huge.thumbnail_2x) as image:
        assert image.size == (192, 960)
    state.check(media, {"small.jpg", "large.jpg", "huge.jpg"})


def test_replacing_a_photo_removes_its_old_renditions(ada: User, media: Path) -> None:
    before = put(ada, "a.jpg", picture(1000, 700)).thumbnail_2x
    assert put(ada, "a.jpg", picture(20, 20)).thumbnail_2x == ""
    assert not (media / before).exists()
    state.check(media, {"a.jpg"})


def test_renditions_are_served_like_thumbnails(ada: User, api: Client, settings: Settings) -> None:
    put(ada, "a.jpg", picture(1000, 700))
    address = api.get("/api/photos/a.jpg").json()["thumbnail_2x"]
    answer = Client().get(address)
    assert (answer.status_code, answer["Content-Type"], answer.getvalue()[:4]) == (200, "image/webp", b"RIFF")
    assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
    settings.GALLERY_PUBLIC = False
    assert Client().get(address).status_code == 302
    private = api.get(address)
    assert ("private" in private["Cache-Control"], private.getvalue()[:4]) == (True, b"RIFF")
    assert api.get("/api/photos/a.jpg").json()["preview"] is None


def test_make_renditions_adds_the_renditions_of_older_photos(
    ada: User, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("a.jpg", 1000), ("b.jpg", 20), ("c.jpg", 1000)):
        put(ada, name, picture(size, size // 2))
    for photo in Photo.objects.exclude(thumbnail_2x=""):
        (media / photo.thumbnail_2x).unlink()
    Photo.objects.update(thumbnail_2x="")
    call_command("make_renditions")
    assert capsys.readouterr().err == "Photos completed: 2\n"
    state.check(media, {"a.jpg", "b.jpg", "c.jpg"})
    assert [bool(photo.thumbnail_2x) for photo in Photo.objects.order_by("name")] == [True, False, True]
    call_command("make_renditions")
    assert capsys.readouterr().err == "Photos completed: 0\n"


def test_make_renditions_names_a_failed_photo_and_goes_on(
    ada: User, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, _ = put(ada, "a.jpg", picture(1000, 700)), put(ada, "b.jpg", picture(1000, 700))
    (media / lost.original).unlink()
    Photo.objects.update(thumbnail_2x="")
    with pytest.raises(CommandError, match="Photos that failed: 1"):
        call_command("make_renditions")
    assert "a.jpg: " in capsys.readouterr().err
    assert Photo.objects.get(name="b.jpg").thumbnail_2x
