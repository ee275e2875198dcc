"""Forms of several files, as clients send them: each part with content becomes a photo, or an error names the part."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture

JPEG = picture(64, 48)
PNG = picture(8, 8, "PNG")


def part(disposition: bytes | None, content: bytes = JPEG, *fields: bytes) -> bytes:
    head = [b"Content-Disposition: form-data; " + disposition] if disposition is not None else []
    return b"\r\n".join([*head, *fields, b"", content])


GOOD = part(b'name="file"; filename="good.jpg"')


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


def post(client: Client, body: bytes, boundary: str = "b", path: str = "/api/photos/") -> Any:
    return client.generic("POST", path, body, f"multipart/form-data; boundary={boundary}")


def check(client: Client, media: Path, body: bytes, names: list[str] | None, *details: str) -> None:
    """Check that photos have these names, or (None) that the error has these details and nothing is stored."""
    response = post(client, body)
    if names is None:
        assert response.status_code in {400, 413}, response.json()
        for words in details:
            assert words in response.json()["detail"]
    else:
        assert response.status_code == 201, response.json()
        assert [photo["name"] for photo in response.json()] == names
    state.check(media, set(names or []))


# Parameters of the second part, after good.jpg -> the name of its photo.
STORED = {
    b'name="file"; filename=""': "photo.jpg",
    b'name="file"; filename="."': "photo.jpg",
    b'name="file"; filename=".."': "photo.jpg",
    b'name="file"; filename="/"': "photo.jpg",
    b'name="file"; filename="\\\\"': "photo.jpg",
    b'name="file"; filename="a/"': "photo.jpg",
    b'name="file"; filename="   "': "photo.jpg",
    b'name="file"; filename="\xe2\x80\x8b"': "photo.jpg",
    b'name="file"; filename="caf\xe9.jpg"': "caf_.jpg",
    b'name="file"; filename="\x8e\x90\x5e.jpg"': "__^.jpg",
    b'name="file"; filename="\x95\x5c"': "photo.jpg",
    b'name="file"; filename="\xc4\xe3\xba\xc3.jpg"': "___.jpg",
    b'name="file2"; filename="a.jpg"': "a.jpg",
    b'name="file[]"; filename="a.jpg"': "a.jpg",
    b'name="File"; filename="a.jpg"': "a.jpg",
    b'name="photo"; filename="a.jpg"': "a.jpg",
    b'name=""; filename="a.jpg"': "a.jpg",
    b'filename="a.jpg"': "a.jpg",
    b"name='file'; filename='a.jpg'": "a.jpg",
    b"name=file; filename=a.jpg": "a.jpg",
    b"name=\"file\"; filename*=UTF-8''na%C3%AFve.jpg": "naïve.jpg",
    b'name="file"; filename="C:\\pictures\\a.jpg"': "a.jpg",
    b'name="file"; filename="good.jpg"': "good-2.jpg",
}


@pytest.mark.parametrize("parameters", STORED)
def test_every_part_with_content_becomes_a_photo(api: Client, media: Path, parameters: bytes) -> None:
    names = ["good.jpg", STORED[parameters]]
    check(api, media, form(GOOD, part(parameters)), names)


def test_a_generated_name_has_the_extension_of_the_format(api: Client, media: Path) -> None:
    nameless = part(b'name="file"; filename=""', PNG)
    check(api, media, form(nameless, GOOD, nameless), ["photo.png", "good.jpg", "photo-2.png"])


# Form with good.jpg as its first part -> parts of the error's text.
REFUSED: dict[str, tuple[bytes, list[str]]] = {
    "no filename, a picture": (form(GOOD, part(b'name="file"')), ["part 2 of the form (file)", "filename"]),
    "no filename, in another field": (form(GOOD, part(b'name="picture"')), ["part 2 of the form (picture)"]),
    "no filename, text in the files' field": (form(GOOD, part(b'name="file"', b"x")), ["part 2 of the form (file)"]),
    "no filename, from a canvas": (
        form(GOOD, part(b'name="drawing"', b"data:image/png;base64,iVBORw0KGgo=")),
        ["part 2 of the form (drawing)"],
    ),
    "no filename, but a picture's type": (
        form(GOOD, part(b'name="photo"', b"iVBORw0KGgo=", b"Content-Type: Image/PNG; name=a.png")),
        ["part 2 of the form (photo)", "filename"],
    ),
    "no filename, but a file's type": (
        form(GOOD, part(b'name="photo"', b"x", b"Content-Type: application/octet-stream")),
        ["part 2 of the form (photo)"],
    ),
    "a line break that is LF alone between files": (b"--b\r\n" + GOOD + b"\n" + form(GOOD), ["inside part 1"]),
    "no line break between files": (b"--b\r\n" + GOOD + form(GOOD), ["inside part 1"]),
    "no filename, large": (form(GOOD, part(b'name="file"', JPEG + bytes(2_000_000))), ["filename"]),
    "no Content-Disposition": (form(GOOD, part(None)), ["Part 2"]),
    "no Content-Disposition, but a type": (form(GOOD, part(None, JPEG, b"Content-Type: image/jpeg")), ["Part 2"]),
    "no name at all": (form(GOOD, b"Content-Disposition: form-data\r\n\r\n" + JPEG), ["Part 2"]),
    "an empty file": (form(GOOD, part(b'name="file"; filename="a.jpg"', b"")), ["2 of 2", "a.jpg", "empty"]),
    "a damaged file": (form(GOOD, part(b'name="file"; filename="a.jpg"', JPEG[:900])), ["2 of 2", "a.jpg"]),
    "no picture": (form(GOOD, part(b'name="x"; filename="a.txt"', b"x")), ["2 of 2", "a.txt"]),
    "cut inside a head": (form(GOOD, end=b"--b\r\nContent-Disposition: form-da"), ["headers of part 2"]),
    "cut behind a boundary": (form(GOOD, end=b"--b\r\n"), ["headers of part 2"]),
    "cut inside a file": (form(GOOD, end=b"--b\r\n" + GOOD[:-300]), ["part 2 of the form (good.jpg)"]),
    "no last boundary": (form(GOOD, GOOD, end=b""), ["part 2 of the form (good.jpg)"]),
    "another file behind the end": (form(GOOD) + form(GOOD), ["after the last boundary"]),
    "a form in the form": (
        form(
            GOOD, part(b'name="file"', form(GOOD).replace(b"--b", b"--c"), b"Content-Type: multipart/mixed; boundary=c")
        ),
        ["part 2"],
    ),
    "1001 parts, all empty": (form(*[part(b'name="file"; filename=""', b"")] * 1001), ["more than 1000 parts"]),
    "101 files": (form(*[part(b'name="file"; filename="x"', b"x")] * 101), ["more than 100 files"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_form_with_an_invalid_part_is_refused_and_the_part_named(api: Client, media: Path, case: str) -> None:
    body, details = REFUSED[case]
    check(api, media, body, None, *details)


@pytest.mark.parametrize(
    "nothing", [b'name="file"; filename=""', b'name="file2"; filename=""', b'name="title"', b'name="file"']
)
def test_a_part_without_content_is_ignored(api: Client, media: Path, nothing: bytes) -> None:
    check(api, media, form(part(nothing, b""), GOOD, part(nothing, b"")), ["good.jpg"])


def test_text_fields_beside_the_files_are_ignored(api: Client, media: Path) -> None:
    check(api, media, form(part(b'name="title"', b"By the sea, caf\xe9, 1997.\n"), GOOD), ["good.jpg"])


@pytest.mark.parametrize("boundary", ["b" * 70, "b" * 200, '"b c"', "'()+_,-./:=?"[:1] + "b"])
def test_unusual_boundaries_are_accepted(api: Client, media: Path, boundary: str) -> None:
    body = form(GOOD).replace(b"--b", b"--" + boundary.strip('"').encode())
    assert post(api, body, boundary).status_code == 201
    state.check(media, {"good.jpg"})


def test_a_form_of_a_hundred_files_is_stored(api: Client, media: Path) -> None:
    response = post(api, form(*[part(b'name="file"; filename="image.png"', PNG)] * 100))
    assert (response.status_code, len(response.json())) == (201, 100)
    assert Photo.objects.count() == 100


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/octet-stream", "", "multipart/mixed; boundary=b"])
def test_a_post_that_is_not_a_form_is_a_415(api: Client, media: Path, content_type: str) -> None:
    response = api.generic("POST", "/api/photos/", form(GOOD), content_type)
    assert (response.status_code, response.json()["error"]) == (415, "unsupported-media-type")
    state.check(media, set())


def test_the_form_of_the_page_follows_the_same_rules_as_the_api(browser: Client, media: Path) -> None:
    token = str(browser.get("/").context["csrf_token"]).encode()
    csrf = part(b'name="csrfmiddlewaretoken"', token)
    response = post(browser, form(csrf, part(b'name="x"; filename=""'), GOOD), path="/")
    assert response.status_code == 302
    state.check(media, {"photo.jpg", "good.jpg"})
    response = post(browser, form(csrf, GOOD, part(None)), path="/")
    assert response.status_code == 400
    assert "The server could not read what your browser sent." in response.content.decode()
    state.check(media, {"photo.jpg", "good.jpg"})


@pytest.mark.parametrize("path", ["/login/", "/logout/", "/delete/a.jpg"])
def test_pages_without_uploads_refuse_files(browser: Client, media: Path, path: str) -> None:
    client = Client(enforce_csrf_checks=True) if path == "/login/" else browser
    token = str(client.get("/login/" if path == "/login/" else "/").context["csrf_token"]).encode()
    response = post(client, form(part(b'name="csrfmiddlewaretoken"', token), GOOD), path=path)
    assert response.status_code == 400
    assert "accepts no files" in response.content.decode()
    state.check(media, set())
