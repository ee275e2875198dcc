"""Preconditions of a request (RFC 9110, section 13) hold inside the transaction; else 412, and nothing changes."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.http import http_date

from photos import images, library, storage
from photos.errors import PreconditionFailed
from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture

OLD, NEW = picture(32, 24), picture(48, 36)
URL = "/api/photos/a.jpg"


@pytest.fixture
def etag(api: Client) -> str:
    """The ETag of a stored photo."""
    response = put(api, OLD)
    assert response.status_code == 201
    return str(response.headers["ETag"])


def put(api: Client, data: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.put(URL, data, content_type="image/jpeg", headers=named)


def in_seconds(seconds: float) -> str:
    return http_date((timezone.now() + timedelta(seconds=seconds)).timestamp())


# Headers, with TAG for the photo's ETag; the status of PUT and DELETE if the photo exists, and of PUT if it does not.
CONDITIONS: dict[str, tuple[dict[str, str], int, int]] = {
    "none": ({}, 200, 201),
    "create only": ({"If_None_Match": "*"}, 412, 201),
    "create only, with spaces": ({"If_None_Match": " * "}, 412, 201),
    "not this version": ({"If_None_Match": "TAG"}, 412, 201),
    "not this version, weak": ({"If_None_Match": "W/TAG"}, 412, 201),
    "not these versions": ({"If_None_Match": '"x", TAG'}, 412, 201),
    "not another version": ({"If_None_Match": '"x"'}, 200, 201),
    "replace only": ({"If_Match": "*"}, 200, 412),
    "this version": ({"If_Match": "TAG"}, 200, 412),
    "one of these": ({"If_Match": '"x",TAG'}, 200, 412),
    "one of these, with an empty one": ({"If_Match": ', "x" ,, TAG'}, 200, 412),
    "a comma in a tag": ({"If_Match": '"a,b", TAG'}, 200, 412),
    "this version, weak": ({"If_Match": "W/TAG"}, 412, 412),
    "another version": ({"If_Match": '"x"'}, 412, 412),
    "part of a tag": ({"If_Match": '"TA"'}, 412, 412),
    "unchanged for long": ({"If_Unmodified_Since": in_seconds(-3600)}, 412, 201),
    "unchanged since now": ({"If_Unmodified_Since": in_seconds(3600)}, 200, 201),
    "a date that is none": ({"If_Unmodified_Since": "yesterday"}, 200, 201),
    "a tag before a date": ({"If_Match": "TAG", "If_Unmodified_Since": in_seconds(-3600)}, 200, 412),
    "a wrong tag before a date": ({"If_Match": '"x"', "If_Unmodified_Since": in_seconds(3600)}, 412, 412),
    "both": ({"If_Match": "*", "If_None_Match": "TAG"}, 412, 412),
    "changed since, for GET only": ({"If_Modified_Since": in_seconds(3600)}, 200, 201),
    "a tag without quotes": ({"If_Match": "TAGWITHOUT"}, 400, 400),
    "a star among tags": ({"If_Match": '*, "x"'}, 400, 400),
    "commas without end": ({"If_Match": '"x"' + " , " * 2000 + "x"}, 400, 400),
    "nothing in it": ({"If_Match": ""}, 400, 400),
    "a tag without quotes to be none of": ({"If_None_Match": "abc"}, 400, 400),
}


def filled(case: str, etag: str) -> dict[str, str]:
    headers = CONDITIONS[case][0]
    return {name: value.replace("TAGWITHOUT", etag.strip('"')).replace("TAG", etag) for name, value in headers.items()}


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_photo_is_replaced_only_if_the_preconditions_hold(api: Client, media: Path, etag: str, case: str) -> None:
    response = put(api, NEW, **filled(case, etag))
    assert response.status_code == CONDITIONS[case][1], response.content
    if response.status_code == 412:
        assert response.json()["error"] == "precondition-failed"
    after = api.get(URL).headers["ETag"]
    assert (after == etag) is (response.status_code != 200)
    state.check(media, {"a.jpg"})


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_photo_is_created_only_if_the_preconditions_hold(api: Client, media: Path, case: str) -> None:
    response = put(api, NEW, **filled(case, '"0123"'))
    assert response.status_code == CONDITIONS[case][2], response.content
    state.check(media, {"a.jpg"} if response.status_code == 201 else set())


@pytest.mark.parametrize("case", CONDITIONS)
def test_a_photo_is_deleted_only_if_the_preconditions_hold(api: Client, media: Path, etag: str, case: str) -> None:
    headers = {name.replace("_", "-"): value for name, value in filled(case, etag).items()}
    response = api.delete(URL, headers=headers)
    expected = CONDITIONS[case][1]
    assert response.status_code == (204 if expected == 200 else expected), response.content
    state.check(media, set() if expected == 200 else {"a.jpg"})


@pytest.mark.parametrize("case", CONDITIONS)
def test_the_page_deletes_a_photo_only_if_the_preconditions_hold(
    browser: Client, media: Path, etag: str, case: str
) -> None:
    token = str(browser.get("/").context["csrf_token"])
    headers = {name.replace("_", "-"): value for name, value in filled(case, etag).items()}
    response = browser.post("/delete/a.jpg", {"csrfmiddlewaretoken": token}, headers=headers)
    expected = CONDITIONS[case][1]
    assert response.status_code == (302 if expected == 200 else expected), response.content
    state.check(media, set() if expected == 200 else {"a.jpg"})


def test_each_version_of_a_photo_has_its_own_date(api: Client, etag: str) -> None:
    """The date of a version does not match the next version, even in the same second."""
    dates = [api.get(URL).headers["Last-Modified"]]
    for size in range(20, 24):
        response = put(api, picture(size, size), If_Unmodified_Since=dates[-1])
        assert response.status_code == 200
        dates.append(response.headers["Last-Modified"])
        assert api.get(URL, headers={"If-Modified-Since": dates[-2]}).status_code == 200
        assert api.get(URL, headers={"If-Modified-Since": dates[-1]}).status_code == 304
        assert api.delete(URL, headers={"If-Unmodified-Since": dates[-2]}).status_code == 412
    assert len(set(dates)) == len(dates)
    assert api.delete(URL, headers={"If-Unmodified-Since": dates[-1]}).status_code == 204


def test_a_missing_photo_is_404_whatever_the_precondition(api: Client) -> None:
    """RFC 9110, section 13.2.1: a request that fails without its preconditions fails with them in the same way."""
    assert api.delete(URL, headers={"If-Match": '"x"'}).status_code == 404


def test_a_photo_of_another_user_is_refused_before_the_precondition(api_of_bob: Client, etag: str) -> None:
    for condition in ({"If_Match": etag}, {"If_None_Match": "*"}):
        assert put(api_of_bob, NEW, **condition).json()["error"] == "not-owner"


def test_the_precondition_is_checked_before_the_body_is_read(api: Client, etag: str) -> None:
    assert put(api, b"no picture at all", If_None_Match="*").status_code == 412


def test_the_precondition_is_checked_again_if_the_photo_has_changed(
    api: Client, ada: User, etag: str, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another upload replaces the photo while the picture of this one is inspected."""
    inspect = images.inspect

    def meanwhile(file: Any, seconds: float) -> images.Picture:
        monkeypatch.setattr(images, "inspect", inspect)
        with storage.Incoming() as incoming:
            incoming.write(picture(20, 20))
            library.put(ada, "a.jpg", incoming)
        return inspect(file, seconds)

    monkeypatch.setattr(images, "inspect", meanwhile)
    assert put(api, NEW, If_Match=etag).status_code == 412
    assert Photo.objects.get().width == 20
    state.check(media, {"a.jpg"})


def test_a_failed_precondition_undoes_a_deletion(ada: User, api: Client, etag: str, media: Path) -> None:
    def refuse(photo: Photo | None) -> None:
        raise PreconditionFailed("no")

    with pytest.raises(PreconditionFailed):
        library.delete(ada, "a.jpg", refuse)
    state.check(media, {"a.jpg"})


def test_responses_have_etag_and_last_modified(api: Client, etag: str) -> None:
    assert etag == '"{}"'.format(api.get(URL).json()["sha256"])
    posted = api.post("/api/photos/", {"file": BytesIO(NEW)})
    assert posted.headers["ETag"] == '"{}"'.format(posted.json()[0]["sha256"])
    assert api.get(posted.headers["Location"]).json() == posted.json()[0]
    for response in (put(api, NEW), api.get(URL), api.head(URL)):
        photo = Photo.objects.get(name="a.jpg")
        assert response.headers["ETag"] == photo.etag != etag
        assert response.headers["Last-Modified"] == http_date(int(photo.modified.timestamp()))
    assert photo.modified > photo.created


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "TAG"}, 304),
        ({"If-None-Match": "W/TAG"}, 304),
        ({"If-None-Match": '"x", TAG'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": in_seconds(3600)}, 200),
        ({"If-Modified-Since": in_seconds(3600)}, 304),
        ({"If-Modified-Since": in_seconds(-3600)}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": "TAG"}, 200),
        ({"If-Unmodified-Since": in_seconds(-3600)}, 412),
    ],
)
def test_a_conditional_get_is_304_412_or_200(
    api: Client, etag: str, method: str, headers: dict[str, str], status: int
) -> None:
    filled_in = {name: value.replace("TAG", etag) for name, value in headers.items()}
    response = api.generic(method, URL, headers=filled_in)
    assert response.status_code == status
    if status != 412:
        assert response.headers["ETag"] == etag
        assert response.headers["Cache-Control"] == "no-cache"
    if status == 304:
        assert response.content == b""
