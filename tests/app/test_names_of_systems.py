"""Names from phones, desktops and keyboards: every kind of upload stores the same name, and a request with the name as
the client wrote it finds the photo. Invisible characters without effect are not part of a name.
"""

import unicodedata
from collections.abc import Callable
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from photos import names
from photos.errors import BadName
from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture
from tests.app.test_forms import form, part, post

PNG = picture(8, 8, "PNG")
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

# Name as a system writes it -> name of the photo.
ACCEPTED = {
    "Screenshot 2024-01-01 at 1.23.45\u202fPM.png": "Screenshot 2024-01-01 at 1.23.45 PM.png",
    "Capture d\u2019e\u0301cran\u00a0: 1.png": "Capture d\u2019\u00e9cran : 1.png",
    "\u5199\u771f\u30001.png": "\u5199\u771f 1.png",
    "a\u2009b\u2003c\u1680d.png": "a b c d.png",
    "\u092e\u0939\u0930\u094d\u200d\u0937\u093f.png": "\u092e\u0939\u0930\u094d\u200d\u0937\u093f.png",  # Hindi, virama
    "\u0d05\u0d35\u0d28\u0d4d\u200d.png": "\u0d05\u0d35\u0d28\u0d4d\u200d.png",  # Malayalam, at the end of a word
    "\u09b0\u200d\u09cd\u09af\u09be\u09ac.png": "\u09b0\u200d\u09cd\u09af\u09be\u09ac.png",  # Bengali, before a virama
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3.png": "\u0dc1\u0dca\u200d\u0dbb\u0dd3.png",  # Sinhala
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647.png": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647.png",  # Persian
    "\U0001f468\u200d\U0001f469\u200d\U0001f467.png": "\U0001f468\u200d\U0001f469\u200d\U0001f467.png",
    "\U0001f469\U0001f3fd\u200d\U0001f680.png": "\U0001f469\U0001f3fd\u200d\U0001f680.png",
    "\U0001f3f3\ufe0f\u200d\U0001f308.png": "\U0001f3f3\ufe0f\u200d\U0001f308.png",
    "\U0001f642\u200d\u2194\ufe0f.png": "\U0001f642\u200d\u2194\ufe0f.png",
    "\u2764\ufe0f\u200d\U0001f525.png": "\u2764\ufe0f\u200d\U0001f525.png",
    "1\ufe0f\u20e3.png": "1\ufe0f\u20e3.png",
    f"{ENGLAND}.png": f"{ENGLAND}.png",
    "\U0001faea.png": "\U0001faea.png",  # newer than the Unicode of most Pythons
    "\u845b\U000e0100.png": "\u845b\U000e0100.png",  # a variant of a Han letter
    "\u1820\u180b\u1828\u180e\u1820.png": "\u1820\u180b\u1828\u180e\u1820.png",  # Mongolian
    "\u06dd12.png": "\u06dd12.png",  # a visible format character
    # Invisible characters: two names that look the same become one.
    "Donau\u00addampf.png": "Donaudampf.png",
    "\u200e2024\u200f.png": "2024.png",
    "\ufeffa\u200bb\u2060c\u034fd.png": "abcd.png",
    "a\u200db\u200cc.png": "abc.png",
    "\u200dcat\u200d.png\u200c": "cat.png",
    "\U0001f468\u200d.png": "\U0001f468.png",
    "\U0001f468\u200d\u200d\U0001f469.png": "\U0001f468\U0001f469.png",
    "a\ufe0fb\U000e0100.png": "ab.png",
    "\U0001f44d\ufe0f.png": "\U0001f44d.png",  # shown as an emoji even without U+FE0F
    "cat\U000e0063\U000e0061\U000e0074\U000e007f.png": "cat.png",
    "\U0001f3f4\U000e0067\U000e0062.png": "\U0001f3f4.png",  # tags of a flag without the last tag
    "a\u3164b\u115fc.png": "abc.png",  # fillers
    "e\u034f\u0301.png": "\u00e9.png",
}
# Names with characters that reverse text, end lines, or are invalid -> name of a file in a form, without them.
REFUSED = {
    "a\u202egpj.exe": "agpj.exe",
    "a\u202ab\u202dc\u202cd.png": "abcd.png",
    "a\u2066b\u2067c\u2068d\u2069e.png": "abcde.png",
    "a\u2028b\u2029c.png": "abc.png",
    "a\x7fb\x85c.png": "abc.png",
    "a\ufffeb\ue000.png": "ab.png",
    "a\u200d\u202e\u200db.png": "ab.png",
}


def stored(api: Client, how: str, name: str) -> dict[str, Any]:
    response = WAYS[how](api, name)
    assert response.status_code == 201, response.json()
    facts: Any = response.json()
    return dict(facts if how in {"put", "decomposed"} else facts[0])  # a form has a list


def put(api: Client, name: str) -> Any:
    return api.put(f"/api/photos/{quote(name)}", PNG, content_type="image/png")


WAYS: dict[str, Callable[[Client, str], Any]] = {
    "put": put,
    "filename": lambda api, name: post(api, form(part(f'name="file"; filename="{name}"'.encode(), PNG))),
    "filename*": lambda api, name: post(
        api, form(part(f'name="file"; filename="x"; filename*=UTF-8\'\'{quote(name)}'.encode(), PNG))
    ),
    "decomposed": lambda api, name: put(api, unicodedata.normalize("NFD", name)),
}


def check_found(client: Client, requested: str, name: str) -> None:
    """Check that a request for `requested` finds the photo `name`."""
    facts = client.get(f"/api/photos/{quote(requested)}").json()
    assert facts["name"] == name
    with closing(client.get(f"/photos/{quote(requested)}")) as response:
        assert response.status_code == 200
        assert quote(name, safe="") in quote(_filename(response.headers["Content-Disposition"]), safe="")


def _filename(disposition: str) -> str:
    message = Message()
    message["Content-Disposition"] = disposition
    return str(message.get_filename(""))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("original", ACCEPTED)
def test_a_name_is_found_again_however_it_was_uploaded(api: Client, media: Path, how: str, original: str) -> None:
    name = ACCEPTED[original]
    facts = stored(api, how, original)
    assert facts["name"] == name
    assert facts["url"] == f"/photos/{quote(name, safe='/~:@!$&' + chr(39) + '()*+,;=')}"
    for requested in (original, name, unicodedata.normalize("NFD", original)):
        check_found(api, requested, name)
    assert name in api.get("/").content.decode().replace("&#x27;", "'")
    state.check(media, {name})
    assert put(api, original).status_code == 200  # replaces the photo
    assert api.delete(f"/api/photos/{quote(original)}").status_code == 204


@pytest.mark.parametrize("original", REFUSED)
def test_characters_that_reverse_text_are_refused_or_replaced(api: Client, media: Path, original: str) -> None:
    response = put(api, original)
    assert (response.status_code, response.json()["error"]) == (400, "bad-name")
    assert "U+" in response.json()["detail"]
    for how in ("filename", "filename*"):
        assert stored(api, how, original)["name"] == REFUSED[original]
        assert api.delete(f"/api/photos/{quote(REFUSED[original])}").status_code == 204


def test_the_page_deletes_a_photo_by_the_name_its_client_wrote(browser: Client, api: Client, media: Path) -> None:
    put(api, "1.23\u202fPM.png")
    token = str(browser.get("/").context["csrf_token"])
    response = browser.post(f"/delete/{quote('1.23' + chr(0x202F) + 'PM.png')}", {"csrfmiddlewaretoken": token})
    assert response.status_code == 302
    state.check(media, set())


@pytest.mark.parametrize("old", ["a\ufe0f.png", "a\u3164b.png", "a\u034fb.png"])
def test_a_photo_of_an_older_version_keeps_its_name(api: Client, ada: User, media: Path, old: str) -> None:
    """An older version accepted this name."""
    facts = stored(api, "put", "x.png")
    Photo.objects.filter(name=facts["name"]).update(name=old)
    check_found(api, old, old)
    assert put(api, old).status_code == 200
    state.check(media, {old})
    assert api.delete(f"/api/photos/{quote(old)}").status_code == 204
    state.check(media, set())


def test_an_invisible_name_is_refused_or_replaced(api: Client) -> None:
    for original in ("\u200d", "\u00ad\u200b", "\ufe0f", "\u3164", "\U000e0041", "\u00a0"):
        assert put(api, original).json()["error"] == "bad-name"
        assert stored(api, "filename", original)["name"].startswith("photo")


ODD = st.text(
    st.one_of(
        st.sampled_from("".join(ACCEPTED) + "".join(REFUSED)),
        st.characters(exclude_categories=()),
    ),
    max_size=12,
)


@given(ODD)
def test_cleaning_a_clean_name_does_not_change_it(original: str) -> None:
    try:
        name = names.clean(original)
    except BadName:
        return
    assert names.clean(name) == name


@given(ODD, st.integers(1, 10**6))
def test_cleaning_a_generated_name_does_not_change_it(original: str, number: int) -> None:
    name = names.variant(names.sanitised(original), number)
    assert names.clean(name) == name


@pytest.mark.parametrize(
    "whole",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
        "\U0001f469\U0001f3fd\u200d\U0001f680",
        "\U0001f1e9\U0001f1ea",
        ENGLAND,
        "\u0915\u094d\u200d\u0937\u093f",
        "q\u0323\u0307",
        "1\ufe0f\u20e3",
        "\u1112\u1161\u11f0",
        "\ud55c",
        "\u845b\U000e0100",
    ],
)
@pytest.mark.parametrize("before", range(12))
def test_a_long_name_is_never_cut_inside_a_grapheme(whole: str, before: int) -> None:
    whole = unicodedata.normalize("NFC", whole)
    assert len(names.sanitised(whole * 130)) > names.MAX_LENGTH - len(whole)
    for name in (names.sanitised("x" * before + whole * 60 + ".png"), names.variant("x" * before + whole, 2)):
        stem = name.removesuffix(".png").removesuffix("-2").removeprefix("x" * before)
        assert stem == whole * (len(stem) // len(whole))
        assert len(name) <= names.MAX_LENGTH


def test_a_grapheme_longer_than_a_name_is_replaced() -> None:
    assert names.sanitised("q" + "\u0323\u0307" * 200 + ".png") == "photo.png"
