"""USER_QUOTA: the total size of one user's photos. Concurrent uploads do not exceed it either."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import Sum
from django.test import Client
from pytest_django import Settings

from photos.models import Photo
from tests.app import state
from tests.app.conftest import client_of
from tests.app.pictures import picture
from tests.app.test_forms import form, part, post
from tests.app.test_library import run_concurrently

JPEG = picture(64, 48)
SIZE = len(JPEG)


@pytest.fixture(autouse=True)
def quota_of_three_photos(settings: Settings) -> None:
    settings.USER_QUOTA = 3 * SIZE


def put(client: Client, name: str, data: bytes = JPEG) -> Any:
    return client.put(f"/api/photos/{name}", data, content_type="image/jpeg")


def check_refused(response: Any) -> None:
    assert (response.status_code, response.json()["error"]) == (413, "quota-exceeded")
    assert "USER_QUOTA" in response.json()["detail"]
    assert "Retry-After" not in response.headers


def test_the_quota_can_be_used_up_but_not_exceeded(api: Client, api_of_bob: Client, media: Path) -> None:
    for name in "abc":
        assert put(api, name).status_code == 201
    check_refused(put(api, "d", b"x"))  # refused by its length, so it is not inspected
    check_refused(post(api, form(part(b'name="file"; filename="d"'))))
    assert put(api_of_bob, "d").status_code == 201
    assert api.delete("/api/photos/a").status_code == 204
    assert put(api, "a").status_code == 201
    state.check(media, {"a", "b", "c", "d"})


def test_a_replacement_counts_only_its_additional_bytes(api: Client, media: Path, settings: Settings) -> None:
    for name in "abc":
        put(api, name)
    assert put(api, "a").status_code == 200
    check_refused(put(api, "a", JPEG + b"x"))
    assert put(api, "a", JPEG[:-2] + b"\xff\xd9").status_code == 200
    settings.USER_QUOTA = 1
    assert put(api, "b", picture(8, 8)).status_code == 200  # a smaller replacement is always allowed
    state.check(media, {"a", "b", "c"})


def test_a_form_beyond_the_quota_stores_nothing(api: Client, media: Path) -> None:
    one = part(b'name="file"; filename="a"')
    check_refused(post(api, form(*[one] * 4)))
    state.check(media, set())
    assert post(api, form(*[one] * 3)).status_code == 201


def test_the_page_explains_a_used_up_quota(browser: Client, media: Path) -> None:
    csrf = part(b'name="csrfmiddlewaretoken"', str(browser.get("/").context["csrf_token"]).encode())
    response = post(browser, form(csrf, *[part(b'name="file"; filename="a"')] * 4), path="/")
    assert response.status_code == 413
    page = response.content.decode()
    assert "Delete some first." in page
    assert "USER_QUOTA" not in page
    state.check(media, set())


def test_a_quota_of_zero_is_no_limit(api: Client, settings: Settings) -> None:
    settings.USER_QUOTA = 0
    assert [put(api, str(number)).status_code for number in range(5)] == [201] * 5


def test_concurrent_uploads_do_not_exceed_the_quota(ada: User, media: Path) -> None:
    def puts(number: int) -> str:
        return str(put(client_of(ada), f"put-{number}").status_code)

    def posts(number: int) -> str:
        return str(post(client_of(ada), form(part(f'name="file"; filename="post-{number}"'.encode()))).status_code)

    actions = [lambda number=number, how=how: how(number) for number in range(4) for how in (puts, posts)]
    assert run_concurrently(*actions) == {"201": 3, "413": 5}
    assert Photo.objects.aggregate(bytes=Sum("size")) == {"bytes": 3 * SIZE}
    state.check(media)
