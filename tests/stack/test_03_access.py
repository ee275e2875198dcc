"""Who may write and read, and which secrets the database holds."""

import re
import uuid
from collections.abc import Iterator

import pytest
import requests

from tests.stack.pictures import Picture
from tests.stack.stack import Stack

API = "/api/photos/"
PASSWORD = "a-password-for-one-test"


@pytest.fixture(scope="module")
def other_user(stack: Stack) -> Iterator[requests.Session]:
    """A client with the token of another user."""
    with requests.Session() as session:
        session.trust_env = False
        token = stack.probe("new_user", f"stranger-{uuid.uuid4().hex[:8]}", PASSWORD)
        session.headers["Authorization"] = f"Token {token}"
        yield session


@pytest.fixture
def visitor(stack: Stack) -> Iterator[requests.Session]:
    """A client with the cookies of a login, as a browser has."""
    with requests.Session() as session:
        session.trust_env = False
        page = session.get(f"{stack.url}/login/", timeout=20)
        form = {"username": stack.user, "password": stack.password, "csrfmiddlewaretoken": form_token(page.text)}
        answer = session.post(f"{stack.url}/login/", data=form, timeout=20)
        assert (answer.status_code, answer.url) == (200, f"{stack.url}/")
        yield session


@pytest.fixture
def own_photo(stack: Stack, api: requests.Session, photo: Picture, name: str) -> str:
    assert api.put(stack.url + API + name, data=photo.content, timeout=20).status_code == 201
    return name


def form_token(page: str) -> str:
    match = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert match, "the page has no form"
    return match[1]


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (None, "login-needed"),
        ("Basic ZGVtbzpkZW1v", "login-needed"),
        ("Bearer x", "login-needed"),
        ("Token", "bad-token"),
        ("Token " + "0" * 64, "bad-token"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_writing_needs_a_valid_token(
    stack: Stack, anonymous: requests.Session, photo: Picture, name: str, method: str, header: str | None, error: str
) -> None:
    target = stack.url + API + (name if method != "POST" else "")
    headers = {"Authorization": header} if header else {}
    with stack.unchanged():
        answer = anonymous.request(method, target, data=photo.content, headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["error"]) == (401, error)
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


def test_a_page_redirects_an_anonymous_visitor_to_the_login(stack: Stack, anonymous: requests.Session) -> None:
    with stack.unchanged():
        answer = anonymous.get(f"{stack.url}/delete/x.jpg", timeout=20, allow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/login/?next=")


@pytest.mark.parametrize(
    ("target", "size", "status"),
    [
        ("/", "small", 401),  # by nginx: no upload without a login
        ("/", "photo", 401),
        ("/delete/", "small", 403),  # by Django
        ("/delete/", "photo", 413),  # by nginx: forms there are small
    ],
)
def test_a_form_of_an_anonymous_visitor_is_refused_and_not_redirected(
    stack: Stack, anonymous: requests.Session, photo: Picture, name: str, target: str, size: str, status: int
) -> None:
    """A redirect to the login would lose it silently."""
    content = photo.content if size == "photo" else photo.content[:1000]
    url = stack.url + (target if target == "/" else target + name)
    with stack.unchanged():
        answer = anonymous.post(url, files={"file": (name, content)}, timeout=20, allow_redirects=False)
    assert answer.status_code == status
    assert "Location" not in answer.headers
    if status == 403:
        assert 'href="/login/"' in answer.text


def test_guessing_a_password_is_slowed_down(stack: Stack) -> None:
    """Django limits attempts for each account from any address; nginx limits each address."""
    if "runserver" not in stack.containers():
        pytest.skip("runserver does not run in this stack; it belongs to the profile demo")
    name, statuses = f"nobody-{uuid.uuid4().hex[:8]}", []
    for _ in range(11):
        with requests.Session() as client:
            client.trust_env = False
            login = f"http://127.0.0.1:{stack.ports['runserver']}/login/"  # the same Django, without the limit of nginx
            token = form_token(client.get(login, timeout=20).text)
            form = {"username": name, "password": "guess", "csrfmiddlewaretoken": token}
            statuses.append(client.post(login, data=form, timeout=20).status_code)
    assert statuses == [200] * 10 + [429]


def test_a_token_ends_when_it_is_deleted(stack: Stack) -> None:
    name = f"leaving-{uuid.uuid4().hex[:8]}"
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Token {stack.probe('new_user', name, PASSWORD)}"
        assert session.delete(f"{stack.url}/api/token", timeout=20).status_code == 204
        answer = session.delete(f"{stack.url}/api/token", timeout=20)
        assert (answer.status_code, answer.json()["error"]) == (401, "bad-token")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_preconditions_are_honoured_through_nginx(
    stack: Stack, api: requests.Session, photo: Picture, own_photo: str, method: str
) -> None:
    target = stack.url + API + own_photo
    etag = api.get(target, timeout=20).headers["ETag"]
    assert etag == f'"{photo.sha256}"'
    for condition in ({"If-None-Match": "*"}, {"If-Match": '"another"'}, {"If-None-Match": etag}):
        with stack.unchanged():
            answer = api.request(method, target, data=photo.content, headers=condition, timeout=20)
        assert (answer.status_code, answer.json()["error"]) == (412, "precondition-failed")
    assert api.get(target, headers={"If-None-Match": etag}, timeout=20).status_code == 304
    assert api.request(method, target, data=photo.content, headers={"If-Match": etag}, timeout=20).ok


def test_a_wrong_password_is_refused(stack: Stack, anonymous: requests.Session) -> None:
    page = anonymous.get(f"{stack.url}/login/", timeout=20)
    form = {"username": stack.user, "password": "wrong", "csrfmiddlewaretoken": form_token(page.text)}
    answer = anonymous.post(f"{stack.url}/login/", data=form, timeout=20)
    assert 'role="alert"' in answer.text
    assert f"sessionid_{stack.project}" not in anonymous.cookies
    anonymous.cookies.clear()


def test_tokens_are_stored_as_hashes(stack: Stack) -> None:
    rows = stack.probe("tokens")
    assert rows
    for value in (value for row in rows for value in row.values()):
        # A few characters are stored to find the row; the rest must not be there.
        assert stack.token[16:] not in value
        assert value not in stack.token or len(value) <= 16


def test_no_serving_container_has_the_password_in_its_environment(stack: Stack) -> None:
    for service in ("nginx", "web", "gunicorn"):
        assert stack.password not in "".join(stack.container(service)["Config"]["Env"])


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_photo_of_another_user_cannot_be_replaced_or_deleted(
    stack: Stack, other_user: requests.Session, photo: Picture, own_photo: str, method: str
) -> None:
    with stack.unchanged():
        answer = other_user.request(method, stack.url + API + own_photo, data=photo.content, timeout=20)
    assert (answer.status_code, answer.json()["error"]) == (403, "not-owner")


def test_a_form_numbers_a_name_that_is_in_use(
    stack: Stack, other_user: requests.Session, photo: Picture, own_photo: str
) -> None:
    answer = other_user.post(stack.url + API, files={"file": (own_photo, photo.content)}, timeout=20)
    assert answer.status_code == 201
    assert answer.json()[0]["name"] == own_photo.replace(".jpg", "-2.jpg")


def test_a_user_can_replace_and_delete_own_photos(
    stack: Stack, api: requests.Session, photo: Picture, own_photo: str
) -> None:
    other = Picture(photo.content + b"another")
    replaced = api.put(stack.url + API + own_photo, data=other.content, timeout=20)
    assert (replaced.status_code, replaced.json()["sha256"]) == (200, other.sha256)
    before = set(stack.probe("files"))
    assert api.delete(stack.url + API + own_photo, timeout=20).status_code == 204
    assert api.get(stack.url + API + own_photo, timeout=20).status_code == 404
    removed = before - set(stack.probe("files"))
    assert {path.partition("/")[0] for path in removed} == {"originals", "thumbs", "renditions"}
    assert len(removed) == 3


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_a_form_without_a_valid_csrf_token_is_refused(
    stack: Stack, visitor: requests.Session, photo: Picture, name: str, token: str
) -> None:
    """A login is not enough: another site could have made the browser send this."""
    with stack.unchanged():
        answer = visitor.post(
            f"{stack.url}/", data={"csrfmiddlewaretoken": token}, files={"file": (name, photo.content)}, timeout=20
        )
    assert answer.status_code == 403


def test_a_session_without_a_csrf_token_cannot_use_the_api(
    stack: Stack, visitor: requests.Session, photo: Picture, name: str
) -> None:
    with stack.unchanged():
        answer = visitor.put(stack.url + API + name, data=photo.content, timeout=20)
    assert answer.status_code == 403
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


def test_a_form_with_its_csrf_token_is_accepted(
    stack: Stack, visitor: requests.Session, photo: Picture, name: str
) -> None:
    token = form_token(visitor.get(f"{stack.url}/", timeout=20).text)
    form = {"csrfmiddlewaretoken": token}
    answer = visitor.post(f"{stack.url}/", data=form, files={"file": (name, photo.content)}, timeout=20)
    assert (answer.status_code, answer.url) == (200, f"{stack.url}/")
    assert stack.probe("photo", name)["file_sha256"] == photo.sha256
    assert f'alt="{name}"' in answer.text


def test_cookies_are_httponly_and_samesite(stack: Stack, visitor: requests.Session) -> None:
    visitor.get(f"{stack.url}/", timeout=20)
    for cookie in visitor.cookies:
        assert cookie.has_nonstandard_attr("HttpOnly"), cookie.name
        assert cookie.get_nonstandard_attr("SameSite") in {"Lax", "Strict"}, cookie.name


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:80", "127.0.0.2"])
def test_an_unknown_host_name_gets_no_response(stack: Stack, anonymous: requests.Session, host: str) -> None:
    with pytest.raises(requests.ConnectionError):
        anonymous.get(f"{stack.url}/", headers={"Host": host}, timeout=20)


def test_a_private_gallery_shows_nothing_to_anonymous_visitors(
    stack: Stack, anonymous: requests.Session, api: requests.Session, own_photo: str
) -> None:
    """GALLERY_PUBLIC=false for runserver only, which is the same Django and quickly recreated."""
    if "runserver" not in stack.containers():
        pytest.skip("runserver does not run in this stack; it belongs to the profile demo")
    base = f"http://127.0.0.1:{stack.ports['runserver']}"
    thumbnail = api.get(stack.url + API + own_photo, timeout=20).json()["thumbnail"]
    targets = ["/", f"/photos/{own_photo}", thumbnail, API, API + own_photo]
    assert [anonymous.get(base + target, timeout=20).status_code for target in targets] == [200] * 5
    stack.compose("up", "-d", "--no-deps", "runserver", GALLERY_PUBLIC="false")
    try:
        stack.wait_until_healthy("runserver")
        closed = [anonymous.get(base + target, timeout=20, allow_redirects=False).status_code for target in targets]
        opened = [api.get(base + target, timeout=20, allow_redirects=False).status_code for target in targets]
    finally:
        stack.compose("up", "-d", "--no-deps", "runserver")
        stack.wait_until_healthy("runserver")
    assert closed == [302, 302, 302, 401, 401]
    assert opened == [302, 200, 200, 200, 200]  # the page needs a login, not a token
