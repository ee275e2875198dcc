"""Names of media types, parameters, schemes and units are case-insensitive: RFC 9110, sections 5.6.6, 8.3.1, 11.1
and 14.1; RFC 2045, section 5.1.
"""

from contextlib import closing
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

from tests.app import state
from tests.app.pictures import picture
from tests.app.test_forms import JPEG, form, part


@pytest.mark.parametrize(
    "content_type",
    [
        "Multipart/Form-Data; boundary=b",
        "MULTIPART/FORM-DATA; Boundary=b",
        'multipart/Form-data ; BOUNDARY="b"',
        "Multipart/Form-Data; CharSet=UTF-8; boundary=b",
    ],
)
@pytest.mark.parametrize("disposition", [b"form-data", b"Form-Data", b"FORM-DATA"])
@pytest.mark.parametrize("parameters", [b'name="file"; filename="a.jpg"', b'Name="file"; Filename="a.jpg"'])
def test_a_form_is_accepted_whatever_the_case_of_its_headers(
    api: Client, media: Path, content_type: str, disposition: bytes, parameters: bytes
) -> None:
    one = b"CONTENT-DISPOSITION: " + disposition + b"; " + parameters + b"\r\nCONTENT-TYPE: IMAGE/JPEG\r\n\r\n" + JPEG
    response = api.generic("POST", "/api/photos/", form(one), content_type)
    assert response.status_code == 201, response.json()
    state.check(media, {"a.jpg"})


def test_upload_and_login_forms_are_accepted_whatever_the_case_of_their_type(browser: Client, media: Path) -> None:
    token = str(browser.get("/").context["csrf_token"]).encode()
    body = form(part(b'name="csrfmiddlewaretoken"', token), part(b'name="file"; filename="a.jpg"'))
    assert browser.generic("POST", "/", body, "Multipart/Form-Data; boundary=b").status_code == 302
    state.check(media, {"a.jpg"})
    anonymous = Client()
    login = anonymous.generic("POST", "/login/", "username=ada&password=of+ada", "Application/X-WWW-Form-URLEncoded")
    assert login.status_code == 302


def test_a_part_hidden_by_a_damaged_boundary_is_refused(api: Client, media: Path) -> None:
    hidden = JPEG + b"\r\nContent-Disposition: Form-Data; Name=x; Filename=b.jpg\r\n\r\n" + JPEG
    response = api.generic(
        "POST", "/api/photos/", form(part(b'name="file"; filename="a.jpg"', hidden)), "multipart/form-data; boundary=b"
    )
    assert (response.status_code, response.json()["error"]) == (400, "bad-request")
    state.check(media, set())


def test_a_put_of_a_form_is_refused_whatever_the_case_of_its_type(api: Client, media: Path) -> None:
    response = api.generic(
        "PUT", "/api/photos/a.jpg", form(part(b'filename="a.jpg"')), "Multipart/Form-Data; boundary=b"
    )
    assert response.status_code == 415
    state.check(media, set())


@pytest.mark.parametrize("scheme", ["Token", "token", "TOKEN"])
def test_the_token_scheme_is_accepted_in_any_case(ada: User, scheme: str) -> None:
    _, token = AuthToken.objects.create(user=ada)
    client = Client(headers={"Authorization": f"{scheme} {token}"})
    assert client.put("/api/photos/a.jpg", picture(), content_type="image/jpeg").status_code == 201


def test_the_unit_of_a_range_is_accepted_in_any_case(api: Client) -> None:
    api.put("/api/photos/a.jpg", JPEG, content_type="image/jpeg")
    with closing(api.get("/photos/a.jpg", headers={"Range": "Bytes=0-9"})) as response:
        assert response.status_code == 206
        assert b"".join(response.streaming_content) == JPEG[:10]  # type: ignore[attr-defined]  # a test client's


def test_the_accept_header_is_matched_in_any_case(client: Client) -> None:
    response = client.post("/LOGIN/", headers={"Accept": "Text/HTML"})
    assert (response.status_code, response.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
