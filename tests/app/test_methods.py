"""HEAD is GET without the body; the response to OPTIONS or to a wrong method lists the allowed methods."""

from contextlib import closing
from urllib.parse import quote

import pytest
from django.test import Client

from photos.models import Photo
from tests.app.pictures import picture

ADDRESSES = [
    *("/", "/login/", "/photos/a.jpg", "/api/photos/", "/api/photos", "/api/photos/a.jpg", "/api/tokens"),
    *("/api/schema/", "/api/docs/", "THUMBNAIL"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_answers_head_and_names_the_allowed_methods(api: Client, address: str) -> None:
    api.put("/api/photos/a.jpg", picture(), content_type="image/jpeg")
    address = f"/{Photo.objects.get().thumbnail}" if address == "THUMBNAIL" else address
    with closing(api.get(address)) as got, closing(api.head(address)) as head:
        assert (got.status_code, head.status_code) == (200, 200)
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert head.streaming or head.content == b""
    for method in ("OPTIONS", "TRACE"):
        answer = api.generic(method, address)
        assert answer.status_code in {200, 405}
        assert {"GET", "HEAD"} <= set(answer.headers["Allow"].split(", "))


def test_the_links_between_pages_of_the_list_are_valid_paths(api: Client) -> None:
    """The paths do not depend on the host, scheme or prefix (/streamed) that a proxy uses for this server."""
    for name in ("a.jpg", f"{quote('1.23' + chr(0x202F) + 'PM')}.jpg"):
        api.put(f"/api/photos/{name}", picture(), content_type="image/jpeg")
    page = api.get("/api/photos?page_size=1", headers={"X-Forwarded-Host": "evil.example"}).json()
    assert page["next"] == "/api/photos?page_size=1&page=2"
    assert api.get(page["next"]).json()["results"][0]["name"] == "a.jpg"
