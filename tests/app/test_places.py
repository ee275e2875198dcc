"""The page after a deletion, and the links from one photo to the next."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path
from pytest_django import Settings

from config import urls
from photos import views
from photos.models import Photo
from tests.app.test_pages import tags

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def photos(ada: User) -> list[Photo]:
    """50 photos on three pages, in the gallery's order. Two at a time have the same date."""
    Photo.objects.bulk_create(
        Photo(
            name=f"{number}.jpg",
            owner=ada,
            size=1,
            width=4,
            height=3,
            original=str(number),
            thumbnail=f"thumbs/00/{number:032x}.webp",
            created=NOON + timedelta(seconds=number // 2),
        )
        for number in range(50)
    )
    return list(Photo.objects.all())


def delete(browser: Client, photo: Photo) -> Any:
    csrf = str(browser.get("/").context["csrf_token"])
    return browser.post(f"/delete/{photo.name}", {"csrfmiddlewaretoken": csrf}).headers["Location"]


def test_deleting_a_photo_returns_to_its_place_in_the_gallery(browser: Client, photos: list[Photo]) -> None:
    assert delete(browser, photos[30]) == f"/?page=2#photo-{photos[31].pk}"
    assert delete(browser, photos[0]) == f"/#photo-{photos[1].pk}"


def test_deleting_the_last_photo_of_a_page_returns_to_the_page_before(browser: Client, photos: list[Photo]) -> None:
    assert delete(browser, photos[49]) == f"/?page=3#photo-{photos[48].pk}"
    assert delete(browser, photos[48]) == f"/?page=2#photo-{photos[47].pk}"


def test_deleting_the_only_photo_returns_to_the_start(browser: Client, photos: list[Photo]) -> None:
    Photo.objects.exclude(pk=photos[7].pk).delete()
    assert delete(browser, photos[7]) == "/"


def test_the_anchor_after_deleting_is_a_link_on_the_page(browser: Client, photos: list[Photo]) -> None:
    location = delete(browser, photos[30])
    links = tags(browser.get(location)).named("a")
    assert [link["href"] for link in links if link.get("id") == location.partition("#")[2]] == [
        f"/photo/{photos[31].name}"
    ]


def test_next_and_previous_links_lead_through_all_photos(client: Client, photos: list[Photo]) -> None:
    """The forward links reach all photos, and each page links back to the previous photo."""
    address: str | None = f"/photo/{photos[0].name}"
    seen, before = [], None
    while address:
        links = {link["rel"]: link["href"] for link in tags(client.get(address)).named("a") if link.get("rel")}
        assert links.get("prev") == before
        before = address
        seen.append(address.removeprefix("/photo/"))
        address = links.get("next")
    assert seen == [photo.name for photo in photos]


def test_the_page_of_a_photo_links_back_to_its_place_in_the_gallery(client: Client, photos: list[Photo]) -> None:
    for number, page in ((0, "/"), (23, "/"), (24, "/?page=2"), (49, "/?page=3")):
        links = tags(client.get(f"/photo/{photos[number].name}")).named("a")
        assert [link["href"] for link in links if link.get("id") == "back"] == [f"{page}#photo-{photos[number].pk}"]


def test_the_page_of_a_photo_shows_its_facts_and_a_download(
    browser: Client, client: Client, bob: User, photos: list[Photo]
) -> None:
    response = browser.get(f"/photo/{photos[0].name}")
    page = response.content.decode()
    for words in (photos[0].name, "1 January 2026, 12:00 UTC", "4 \u00d7 3", "1\xa0byte"):
        assert words in page
    found = tags(response)
    assert [image["src"] for image in found.named("img") if image["alt"] == photos[0].name] == [
        f"/photos/{photos[0].name}"
    ]
    assert [link["href"] for link in found.named("a") if "download" in link] == [f"/photos/{photos[0].name}"]
    assert f"/delete/{photos[0].name}" in page
    client.force_login(bob)
    assert "/delete/" not in client.get(f"/photo/{photos[0].name}").content.decode()


def test_a_private_gallery_redirects_the_page_of_a_photo_to_the_login(
    client: Client, photos: list[Photo], settings: Settings
) -> None:
    settings.GALLERY_PUBLIC = False
    for name in (photos[0].name, "nothing.jpg"):
        assert client.get(f"/photo/{name}").headers["Location"] == f"/login/?next=/photo/{name}"


@pytest.mark.parametrize(
    ("width", "height", "digits"),
    [(4, 3, "1333"), (9, 16, "0562"), (1, 1, "1000"), (3, 1, "3000"), (1, 5000, "0100"), (30000, 1, "9999")],
)
def test_the_aspect_ratio_is_encoded_in_css_classes(width: int, height: int, digits: str) -> None:
    classes = Photo(width=width, height=height).shape.split()
    assert classes == [f"w{'_' * index}{digit}" for index, digit in enumerate(digits)]


def test_the_style_sheet_has_a_class_for_each_digit_of_the_aspect_ratio() -> None:
    sheet = (Path(__file__).parents[2] / "app/photos/static/photos/style.css").read_text()
    for index, name in enumerate("abcd"):
        for digit in range(10):
            assert f".w{'_' * index}{digit} {{ --{name}: {digit}; }}" in sheet


def rendition(photo: Photo, column: str) -> str:
    """Set this column to a file name of the photo's current content."""
    key = photo.thumbnail.replace("thumbs/", "renditions/")
    Photo.objects.filter(pk=photo.pk).update(**{column: key})
    return key


def test_dense_screens_get_the_larger_thumbnail_if_it_exists(client: Client, photos: list[Photo]) -> None:
    larger = rendition(photos[0], "thumbnail_2x")
    images = [image for image in tags(client.get("/")).named("img") if image.get("loading")]
    assert images[0]["srcset"] == f"{images[0]['src']} 1x, /{larger} 2x"
    assert all("srcset" not in image for image in images[1:])


def test_a_photo_that_browsers_cannot_show_is_shown_as_its_preview(client: Client, photos: list[Photo]) -> None:
    preview = rendition(photos[0], "preview")
    found = tags(client.get(f"/photo/{photos[0].name}"))
    assert [image["src"] for image in found.named("img") if image["alt"] == photos[0].name] == [f"/{preview}"]
    assert [link["href"] for link in found.named("a") if "download" in link] == [f"/photos/{photos[0].name}"]


def test_favicon_ico_is_served(client: Client) -> None:
    response = client.get("/favicon.ico")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/x-icon")
    assert b"".join(response)[:4] == b"\0\0\1\0"


def test_each_delete_button_is_named_after_its_photo(browser: Client, photos: list[Photo]) -> None:
    found = tags(browser.get("/"))
    for buttons in ([b for b in found.named("button") if b.get("class") == "danger"], found.named("summary")):
        names = {button.get("aria-label") for button in buttons}
        assert len(names) == len(buttons) == 24


class WithPosition:
    """The project's addresses, and the one that shares or hides a position."""

    urlpatterns: ClassVar = [path("photos/<str:name>/position", views.photo, name="position"), *urls.urlpatterns]


def test_only_the_owner_sees_the_form_for_sharing_the_position(
    browser: Client, client: Client, photos: list[Photo], settings: Settings, bob: User
) -> None:
    settings.ROOT_URLCONF = WithPosition
    client.force_login(bob)
    address = f"/photo/{photos[0].name}"
    form = {"method": "post", "action": f"/photos/{photos[0].name}/position", "class": "position"}
    assert form in tags(browser.get(address)).named("form")
    assert [box["name"] for box in tags(browser.get(address)).named("input") if box["type"] == "checkbox"] == [
        "share_position"
    ]
    assert form not in tags(client.get(address)).named("form")
