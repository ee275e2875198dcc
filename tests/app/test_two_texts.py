"""Visitors get no technical terms: each problem has one text for visitors and one for the operator of the site.

Two tables. The first has requests, as visitors and programs send them. The second has the sources: each line that
raises a problem, whether or not a request of the first table reaches it.
"""

import ast
import logging
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from photos import errors
from photos.errors import Problem
from tests.app import state
from tests.app.pictures import picture

APP = Path(errors.__file__).parent
JPEG = picture(64, 48)
# Commands, headers, settings, parts of HTTP and of forms, programs and files of the project, and terms of Python.
TECHNICAL = re.compile(
    r"\.env|\bmake |`|authorization|token|curl|proxy|manage\.py|readme|traceback|exception|(?-i:\b[A-Z]+_[A-Z_]+\b"
    r"|\b(?:GET|POST|PUT|DELETE|HTTP)\b)|/api/|content-|if-match|\bheaders?\b|csrf|boundary|\bbody\b|base64|wsgi",
    re.IGNORECASE,
)


class Text(HTMLParser):
    """The visible text of a page's main part, without the line with the error's name and the request id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self._hidden = False
        main = page.partition("<main")[2] or page
        self.feed(re.sub(r'<p class="facts">.*?</p>', "", main.partition("</main>")[0]))

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in {"script", "style"}

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else data


def visitor(browser: Client) -> tuple[Client, str]:
    browser.raise_request_exception = False
    return browser, str(browser.get("/").context["csrf_token"])


def expired(browser: Client) -> tuple[Client, str]:
    """The page is open, and its session has ended."""
    found = visitor(browser)
    browser.session.flush()
    return found


def out_of_date(browser: Client) -> tuple[Client, str]:
    return visitor(browser)[0], "x" * 64


Login = Callable[[Client], tuple[Client, str]]
LARGE = bytes(21 * 1024**2)
# login, method, address, files of the form, status
BY_THE_FORM: dict[str, tuple[Login, str, str, list[tuple[str, bytes]], int]] = {
    "the session has ended": (expired, "POST", "/", [("a.jpg", JPEG)], 403),
    "the session has ended before deleting": (expired, "POST", "/delete/a.jpg", [], 403),
    "the page is out of date": (out_of_date, "POST", "/", [("a.jpg", JPEG)], 403),
    "the page is out of date at the logout": (out_of_date, "POST", "/logout/", [], 403),
    "no file": (visitor, "POST", "/", [], 400),
    "an empty file": (visitor, "POST", "/", [("a.jpg", b"")], 400),
    "no picture": (visitor, "POST", "/", [("a.jpg", b"text")], 400),
    "half a picture": (visitor, "POST", "/", [("a.jpg", JPEG[:900])], 400),
    "too large": (visitor, "POST", "/", [("a.jpg", LARGE)], 413),
    "too much for the quota": (visitor, "POST", "/", [("a.jpg", JPEG), ("b.jpg", JPEG), ("c.jpg", JPEG)], 413),
    "too many files": (visitor, "POST", "/", [("a.jpg", JPEG)] * 101, 400),
    "a file where none belongs": (visitor, "POST", "/logout/", [("a.jpg", JPEG)], 400),
    "nothing at the address": (visitor, "GET", "/nothing", [], 404),
    "a photo that is not there": (visitor, "GET", "/photo/nothing.jpg", [], 404),
    "deleting what is not there": (visitor, "POST", "/delete/nothing.jpg", [], 404),
    "deleting by an address": (visitor, "GET", "/delete/a.jpg", [], 405),
    "logging out by an address": (visitor, "GET", "/logout/", [], 405),
    "a slash too few": (visitor, "POST", "/login", [], 404),
}


def send(client: Client, csrf: str, method: str, address: str, files: list[tuple[str, bytes]], **headers: str) -> Any:
    pictures = [SimpleUploadedFile(name, data) for name, data in files]
    form: dict[str, Any] = {"csrfmiddlewaretoken": csrf} | ({"file": pictures} if files else {})
    if method == "GET":
        return client.get(address, headers=headers)
    return client.post(address, form, headers=headers)


@pytest.mark.parametrize("case", BY_THE_FORM)
def test_no_error_page_has_technical_terms(browser: Client, media: Path, settings: Settings, case: str) -> None:
    login, method, address, files, status = BY_THE_FORM[case]
    settings.USER_QUOTA = 2 * len(JPEG) + 10
    client, csrf = login(browser)
    response = send(client, csrf, method, address, files, Accept="text/html")
    text = Text(response.content.decode()).text
    assert response.status_code == status
    assert TECHNICAL.findall(text) == []
    assert len(text.split()) > 5, "a page without a sentence"
    if method == "POST" and status != 404:
        assert re.search("[Nn]othing was (stored|changed)", text), text
    state.check(media, set())


@pytest.mark.parametrize(
    ("login", "files", "headers", "status", "error"),
    [
        (expired, [("a.jpg", JPEG)], {}, 401, "login-needed"),
        (out_of_date, [("a.jpg", JPEG)], {}, 403, "forbidden"),
        (visitor, [], {}, 400, "no-file"),
        (visitor, [("a.jpg", LARGE)], {}, 413, "body-too-large"),
        (visitor, [("a.jpg", b"")], {}, 400, "empty-body"),
        (visitor, [("a.jpg", b"text")], {}, 400, "not-an-image"),
        (visitor, [("a.jpg", JPEG)] * 101, {}, 400, "bad-request"),
    ],
)
def test_errors_for_the_script_of_the_page_have_no_technical_terms(
    browser: Client, login: Login, files: list[tuple[str, bytes]], headers: dict[str, str], status: int, error: str
) -> None:
    client, csrf = login(browser)
    response = send(client, csrf, "POST", "/api/photos/", files, **{"X-CSRFToken": csrf})
    assert (response.status_code, response.json()["error"]) == (status, error)
    assert TECHNICAL.findall(response.json()["detail"]) == []
    assert response.headers["X-Text-For"] == "people"  # otherwise the script would not show the text


@pytest.mark.parametrize(("method", "status"), [("PATCH", 405), ("PUT", 405)])
def test_errors_of_the_framework_have_no_technical_terms(browser: Client, method: str, status: int) -> None:
    client, csrf = visitor(browser)
    response = client.generic(method, "/api/photos/", headers={"X-CSRFToken": csrf})
    assert response.status_code == status
    assert TECHNICAL.findall(response.json()["detail"]) == []


@pytest.mark.parametrize(
    ("headers", "word"),
    [({}, "`Authorization: Token ...`"), ({"Authorization": "Token " + "0" * 64}, "`make token`")],
    ids=["without a token", "with a wrong token"],
)
def test_errors_for_programs_name_what_to_send(transactional_db: None, headers: dict[str, str], word: str) -> None:
    """The request may also have the CSRF header of a page beside its token."""
    for more in ({}, {"X-CSRFToken": "x"}) if headers else ({},):
        response = Client().put("/api/photos/a.jpg", JPEG, headers=headers | more)
        assert response.status_code == 401
        assert word in response.json()["detail"]
        assert "X-Text-For" not in response.headers


def test_the_page_about_too_many_logins_has_no_technical_terms(
    client: Client, transactional_db: None, settings: Settings
) -> None:
    settings.LOGIN_FAILURES = 1
    for _ in range(2):
        response = client.post("/login/", {"username": "ada", "password": "no"})
    text = Text(response.content.decode()).text
    assert response.status_code == 429
    assert "Try again in" in text
    assert TECHNICAL.findall(text) == []


def test_the_page_for_an_unknown_host_names_no_setting(client: Client) -> None:
    response = client.get("/", headers={"Host": "elsewhere.example"})
    assert response.status_code == 400
    assert TECHNICAL.findall(Text(response.content.decode()).text) == []


@pytest.mark.parametrize(
    ("login", "words"),
    [(out_of_date, "CSRF_TRUSTED_ORIGINS"), (expired, "without a valid session"), (visitor, "UPLOAD_MAX")],
)
def test_the_technical_text_of_an_error_is_logged(
    browser: Client, caplog: pytest.LogCaptureFixture, login: Login, words: str
) -> None:
    client, csrf = login(browser)
    with caplog.at_level(logging.WARNING, "photos"):
        send(client, csrf, "POST", "/", [("a.jpg", LARGE if login is visitor else JPEG)])
    assert words in caplog.text


def test_the_error_page_names_the_refused_file_of_several(browser: Client, media: Path) -> None:
    client, csrf = visitor(browser)
    files = [("one.jpg", JPEG), ("two.jpg", b"text"), ("three.jpg", JPEG)]
    text = Text(send(client, csrf, "POST", "/", files).content.decode()).text
    assert "two.jpg (file 2 of 3): This is not a picture" in text
    assert "Nothing was stored. The other files were not stored either." in text
    state.check(media, set())


def test_the_error_page_names_the_refused_file(browser: Client, media: Path) -> None:
    client, csrf = visitor(browser)
    text = Text(send(client, csrf, "POST", "/", [("alone.jpg", b"text")]).content.decode()).text
    assert "alone.jpg: This is not a picture" in text
    assert "Nothing was stored." in text


# --- The sources ------------------------------------------------------------------------------------------------------

PROBLEMS = {
    name: found for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Problem)
}


def raised() -> Iterator[tuple[str, str, str]]:
    """Yield line, class and text for visitors of each problem that the application raises."""
    for path in sorted(APP.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PROBLEMS):
                continue
            argument = next((keyword.value for keyword in node.keywords if keyword.arg == "visitor_text"), None)
            default = PROBLEMS[node.func.id].visitor_text
            text = default if argument is None and default else _constants(argument or node)
            yield f"{path.name}:{node.lineno}", node.func.id, text


def _constants(node: ast.AST) -> str:
    """Return the string constants of an expression; the requests above cover texts behind a name."""
    return " ".join(part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and type(part.value) is str)


def test_no_error_text_for_people_in_the_sources_is_technical() -> None:
    found = list(raised())
    assert len(found) > 50
    assert [(line, text) for line, _, text in found if TECHNICAL.search(text)] == []


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_default_error_text_for_people_is_technical(name: str) -> None:
    assert TECHNICAL.findall(PROBLEMS[name].visitor_text) == []
