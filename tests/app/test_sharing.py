"""The owner downloads a photo with its position; other users download it without, unless the owner shares it."""

import hashlib
import json
from contextlib import closing
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db.models import F
from django.test import Client
from PIL import Image
from pytest_django import Settings

from photos import library, sharing, storage, sweep
from photos.models import Photo
from tests.app import positions, state
from tests.app.pictures import encoded, picture, rotated_photo

HOME = positions.jpeg_with(positions.segment(0xE1, b"Exif\0\0" + positions.tiff()))
OTHER = positions.jpeg_with(positions.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + positions.XMP))
NAME, URL, API = "a.jpg", "/photos/a.jpg", "/api/photos/a.jpg"


@pytest.fixture
def photo(api: Client) -> Photo:
    return put(api)


def put(api: Client, data: bytes = HOME, query: str = "") -> Photo:
    assert api.put(f"{API}{query}", data, content_type="image/jpeg").status_code in {200, 201}
    return Photo.objects.get(name=NAME)


def get(client: Client, url: str = URL, **headers: str) -> tuple[Any, bytes]:
    with closing(
        client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    ) as response:
        return response, response.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def share(client: Client, is_shared: object, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.patch(API, json.dumps({"share_position": is_shared}), content_type="application/json", headers=named)


def test_only_the_owner_downloads_the_position(
    api: Client, browser: Client, api_of_bob: Client, client: Client, photo: Photo, media: Path
) -> None:
    for owner in (api, browser):
        response, data = get(owner)
        assert (data, response.headers["ETag"]) == (HOME, f'"{sha256(HOME)}"')
        assert response.headers["Cache-Control"] == "private, no-cache"
    for other in (client, api_of_bob, Client(headers={"Authorization": "Token wrong"})):
        response, data = get(other)
        assert (positions.traces(data), len(data)) == ([], len(HOME))
        assert response.headers["ETag"] == f'"{sha256(data)}"'
        assert response.headers["Cache-Control"] == "no-cache"
        assert {"Cookie", "Authorization"} <= set(response.headers["Vary"].split(", "))
        with Image.open(BytesIO(data)) as image, Image.open(BytesIO(HOME)) as original:
            assert image.tobytes() == original.tobytes()
            assert image.getexif()[0x0112] == positions.ORIENTATION
    state.check(media, {NAME})


def test_ranges_and_conditions_apply_to_the_file_that_is_sent(api: Client, client: Client, photo: Photo) -> None:
    etags = {}
    for downloader in (api, client):
        response, whole = get(downloader)
        etags[downloader] = response.headers["ETag"]
        response, part = get(downloader, Range="bytes=100-449", If_Range=etags[downloader])
        assert (response.status_code, part) == (206, whole[100:450])
        assert get(downloader, If_None_Match=etags[downloader])[0].status_code == 304
    for downloader, other in ((api, client), (client, api)):
        response, data = get(downloader, If_None_Match=etags[other])
        assert (response.status_code, response.headers["ETag"]) == (200, etags[downloader])
        assert get(downloader, If_Match=etags[other])[0].status_code == 412
        response, data = get(downloader, Range="bytes=0-9", If_Range=etags[other])
        assert (response.status_code, len(data)) == (200, len(HOME))


def test_the_redirect_for_nginx_names_the_file_for_this_client(
    api: Client, client: Client, photo: Photo, settings: Settings
) -> None:
    settings.X_ACCEL_PREFIX = "/_originals/"
    assert get(api)[0].headers["X-Accel-Redirect"] == f"/_originals/{photo.original}"
    assert get(client)[0].headers["X-Accel-Redirect"] == f"/_originals/{photo.shared}"


def test_the_api_describes_the_file_that_this_client_downloads(
    api: Client, client: Client, api_of_bob: Client, photo: Photo
) -> None:
    own = api.get(API)
    assert (own.json()["sha256"], own.json()["position"]) == (sha256(HOME), "hidden")
    assert own.headers["ETag"] == f'"{sha256(HOME)}"'
    assert "private" in own.headers["Cache-Control"]
    for other in (client, api_of_bob):
        _, data = get(other)
        for facts in (other.get(API).json(), other.get("/api/photos/").json()["results"][0]):
            assert (facts["sha256"], facts["size"], facts["position"]) == (sha256(data), len(data), None)
        response = other.get(API)
        assert response.headers["ETag"] == f'"{sha256(data)}"'
        assert other.get(API, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
        failed = other.get(API, headers={"If-Match": '"x"'})
        assert failed.status_code == 412
        assert sha256(HOME) not in failed.content.decode()


def test_preconditions_of_the_owner_apply_to_the_original(api: Client, client: Client, photo: Photo) -> None:
    shared = get(client)[0].headers["ETag"]
    assert api.delete(API, headers={"If-Match": shared}).status_code == 412
    assert share(api, True, If_Match=shared).status_code == 412
    assert share(api, True, If_Match=photo.etag).status_code == 200
    assert api.put(API, OTHER, content_type="image/jpeg", headers={"If-Match": photo.etag}).status_code == 200


def test_the_owner_can_share_and_hide_the_position(api: Client, client: Client, photo: Photo, media: Path) -> None:
    for is_shared, position in ((True, "shared"), (True, "shared"), (False, "hidden")):
        answer = share(api, is_shared)
        assert (answer.status_code, answer.json()["position"]) == (200, position)
        response, data = get(client)
        assert (data == HOME) is is_shared
        assert response.headers["ETag"] == f'"{sha256(data)}"'
        # A 304 would leave the owner with the old position.
        assert api.get(API, headers={"If-None-Match": photo.etag}).json()["position"] == position
    state.check(media, {NAME})


def test_sharing_the_position_changes_last_modified_for_others(api: Client, client: Client, photo: Photo) -> None:
    before = client.get(API).headers["Last-Modified"]
    assert client.get(API, headers={"If-Modified-Since": before}).status_code == 304
    share(api, True)
    assert client.get(API, headers={"If-Modified-Since": before}).status_code == 200


def test_only_the_owner_can_share_the_position(api: Client, client: Client, api_of_bob: Client, photo: Photo) -> None:
    for other, status, code in ((api_of_bob, 403, "not-owner"), (client, 401, "login-needed")):
        response = share(other, True)
        assert (response.status_code, response.json()["error"]) == (status, code)
    assert api.patch("/api/photos/none.jpg", "{}", content_type="application/json").status_code == 400
    none = api.patch("/api/photos/none.jpg", '{"share_position": true}', content_type="application/json")
    assert none.status_code == 404
    assert get(client)[1] != HOME


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", "{}", '{"share_position": "true"}', '{"share_position": 1}', '{"share": true}']
)
def test_an_invalid_patch_of_share_position_changes_nothing(
    api: Client, client: Client, photo: Photo, body: str
) -> None:
    assert api.patch(API, body, content_type="application/json").status_code == 400
    assert get(client)[1] != HOME


def test_a_patch_of_a_megabyte_is_refused(api: Client, photo: Photo) -> None:
    assert api.patch(API, " " * 1_000_000, content_type="application/json").status_code == 413


@pytest.mark.parametrize(("query", "is_shared"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_a_put_can_share_the_position(api: Client, client: Client, query: str, is_shared: bool) -> None:
    put(api, HOME, f"?share_position={query}")
    assert (get(client)[1] == HOME) is is_shared


def test_a_put_with_an_invalid_share_position_stores_nothing(api: Client, media: Path) -> None:
    assert api.put(f"{API}?share_position=maybe", HOME, content_type="image/jpeg").status_code == 400
    state.check(media, set())


def test_the_position_of_a_replacement_is_hidden_by_default(api: Client, client: Client) -> None:
    put(api, HOME, "?share_position=true")
    put(api, OTHER)
    assert positions.traces(get(client)[1]) == []


@pytest.mark.parametrize(("field", "is_shared"), [({}, False), ({"share_position": "on"}, True)])
def test_a_form_can_share_the_positions_of_its_files(
    api: Client, client: Client, field: dict[str, str], is_shared: bool
) -> None:
    files = {"file": [SimpleUploadedFile(NAME, HOME), SimpleUploadedFile("b.jpg", OTHER)]}
    assert api.post("/api/photos/", files | field).status_code == 201
    for url, data in ((URL, HOME), ("/photos/b.jpg", OTHER)):
        assert (get(client, url)[1] == data) is is_shared


def test_the_forms_of_the_page_share_and_hide_the_position(ada: User, client: Client, photo: Photo) -> None:
    browser = Client()
    browser.force_login(ada)
    for field, is_shared in (({"share_position": "true"}, True), ({}, False)):
        assert browser.post(f"{URL}/position", field).status_code == 302
        assert (get(client)[1] == HOME) is is_shared
    assert browser.post("/photos/none.jpg/position").status_code == 404
    assert browser.get(f"{URL}/position").status_code == 405
    assert Client().post(f"{URL}/position").status_code == 403
    assert Client(enforce_csrf_checks=True).post(f"{URL}/position").status_code == 403
    browser.post("/", {"file": SimpleUploadedFile("b.jpg", HOME), "share_position": "on"})
    assert get(client, "/photos/b.jpg")[1] == HOME


def test_the_page_offers_sharing_only_for_a_photo_with_a_position(api: Client, ada: User) -> None:
    browser = Client()
    browser.force_login(ada)
    for data, is_offered in ((HOME, True), (picture(), False)):
        put(api, data)
        assert (b"/position" in get(browser, f"/photo/{NAME}")[1]) is is_offered


def test_another_user_cannot_share_the_position_by_the_page(bob: User, client: Client, photo: Photo) -> None:
    browser = Client()
    browser.force_login(bob)
    assert browser.post(f"{URL}/position", {"share_position": "true"}).status_code == 403
    assert get(client)[1] != HOME


def test_a_photo_without_a_position_is_the_same_for_everyone(api: Client, client: Client, media: Path) -> None:
    data = picture()
    photo = put(api, data)
    assert (photo.position, photo.shared) == ("none", "")
    for downloader in (api, client):
        response, got = get(downloader)
        assert (got, response.headers["Cache-Control"]) == (data, "no-cache")
    assert api.get(API, headers={"If-None-Match": photo.etag}).status_code == 304
    state.check(media, {NAME})


def test_the_shared_file_is_removed_with_its_photo(api: Client, photo: Photo, media: Path) -> None:
    assert (media / photo.shared).exists()
    second = put(api, OTHER)
    assert not (media / photo.shared).exists()
    assert sweep.sweep(-1) == []
    state.check(media, {NAME})
    assert api.delete(API).status_code == 204
    assert not (media / second.shared).exists()


def test_a_missing_shared_file_is_404_and_not_the_original(client: Client, photo: Photo, media: Path) -> None:
    (media / photo.shared).unlink()
    assert get(client)[0].status_code == 404


def as_stored_by_an_older_version(photo: Photo) -> None:
    """Leave the photo as a version without positions stored it."""
    Photo.objects.update(shared="", shared_sha256="", examined="")
    storage.remove(photo.shared)


@pytest.mark.parametrize("first", [URL, API, "/api/photos/"])
def test_an_unexamined_photo_is_examined_at_the_first_request_of_others(
    api: Client, client: Client, photo: Photo, media: Path, first: str
) -> None:
    as_stored_by_an_older_version(photo)
    assert api.get(API).json()["position"] == "unknown"
    assert get(client, first)[0].status_code == 200
    _, data = get(client)
    assert positions.traces(data) == []
    assert client.get(API).json()["sha256"] == sha256(data)
    assert get(api)[1] == HOME
    state.check(media, {NAME})


def test_a_photo_replaced_by_an_older_version_is_examined_again(
    api: Client, client: Client, ada: User, photo: Photo, media: Path
) -> None:
    """The older version writes the columns that it knows, and leaves the rest unchanged."""
    with storage.Incoming() as incoming:
        incoming.write(OTHER)
        key = incoming.publish(storage.ORIGINALS, ".jpg")
        incoming.keep()
    storage.remove(photo.original)
    Photo.objects.update(original=key, sha256=sha256(OTHER), size=len(OTHER))
    _, data = get(client)
    assert (positions.traces(data), len(data)) == ([], len(OTHER))
    assert not (media / photo.shared).exists()
    state.check(media, {NAME})


def test_a_photo_that_cannot_be_examined_is_hidden_and_the_list_works(
    api: Client, client: Client, photo: Photo, media: Path
) -> None:
    as_stored_by_an_older_version(photo)
    (media / photo.original).write_bytes(HOME[:300])
    response, data = get(client)
    assert response.status_code in {400, 503}
    assert positions.traces(data) == []
    assert client.get("/api/photos/").status_code == 200
    assert client.get(API).status_code == 200
    assert client.get("/").status_code == 200


def test_hide_positions_examines_all_photos_and_can_be_repeated(api: Client, ada: User, media: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        with storage.Incoming() as incoming:
            incoming.write(HOME)
            library.put(ada, name, incoming)
    for photo in Photo.objects.all():
        storage.remove(photo.shared)
    Photo.objects.update(shared="", shared_sha256="", examined="")
    output = StringIO()
    call_command("hide_positions", stderr=output)
    assert output.getvalue().splitlines() == ["3 of 3 photos", "Photos examined: 3"]
    assert Photo.objects.filter(examined=F("original")).exclude(shared="").count() == 3
    state.check(media, {"a.jpg", "b.jpg", "c.jpg"})
    call_command("hide_positions", stderr=output)
    assert output.getvalue().splitlines()[2:] == ["Photos examined: 0"]


def test_hide_positions_names_a_photo_that_cannot_be_examined(api: Client, photo: Photo, media: Path) -> None:
    as_stored_by_an_older_version(photo)
    (media / photo.original).unlink()
    output = StringIO()
    with pytest.raises(CommandError, match="Photos not examined: 1"):
        call_command("hide_positions", stderr=output)
    assert "a.jpg" in output.getvalue()


@pytest.mark.parametrize("case", positions.pictures())
def test_every_kind_of_picture_is_shared_without_its_position(
    api: Client, client: Client, media: Path, case: str
) -> None:
    data = positions.pictures()[case][1]
    put(api, data)
    assert get(api)[1] == data
    assert positions.traces(get(client)[1]) == []
    state.check(media, {NAME})


def test_a_thumbnail_has_no_position_and_no_metadata(api: Client, media: Path) -> None:
    for data in (HOME, OTHER, rotated_photo(64, 48, 6), encoded(Image.new("RGB", (9, 9)), "WEBP", xmp=positions.XMP)):
        thumbnail = media / put(api, data).thumbnail
        with Image.open(thumbnail) as image:
            assert not image.getexif()
            assert set(image.info) <= {"loop", "background", "timestamp", "duration", "icc_profile"}
        assert positions.traces(thumbnail.read_bytes()) == []


def test_the_result_of_examining_a_replaced_photo_is_dropped(ada: User, photo: Photo, media: Path) -> None:
    as_stored_by_an_older_version(photo)
    before = Photo.objects.get()
    with storage.Incoming() as incoming:
        incoming.write(OTHER)
        library.put(ada, NAME, incoming)
    with pytest.raises(FileNotFoundError):
        sharing.examined(before)
    assert Photo.objects.get().position == "hidden"
    state.check(media, {NAME})
