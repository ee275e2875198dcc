"""What nginx accepts from clients without token and session, and what counts as one client.

Behind the nginx of these tests is the echo application (echo.py), which refused requests never reach.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.echo import Backends, Edge, ask, request
from tests.wire.answers import Answer, read_answer
from tests.wire.polling import poll

SERVERS = ["web", "gunicorn"]
FORM = 64 << 10  # the largest form in bytes
LIMIT = 100_000  # bytes; bodies of anonymous clients have to be smaller, where they are accepted
HTML = "Accept: text/html,*/*;q=0.8"


@pytest.fixture(scope="module")
def edge_for_users(backends: Backends) -> Iterator[Edge]:
    """With the default settings, but without a limit for logins."""
    with Edge(backends, {"ANONYMOUS_UPLOADS": "off", "LOGIN_RATE": "100000r/s"}) as running:
        yield running


def length(size: int) -> str:
    return f"Content-Length: {size}"


CHUNKED = "Transfer-Encoding: chunked"
# Method, target, fields; no body is sent.
REFUSED: dict[str, tuple[str, str, list[str]]] = {
    "PUT": ("PUT", "/api/photos/@", [length(95_000_000)]),
    "a small one": ("PUT", "/api/photos/@", [length(1)]),
    "in chunks": ("PUT", "/api/photos/@", [CHUNKED]),
    "expecting to be told": ("PUT", "/api/photos/@", [length(1000), "Expect: 100-continue"]),
    "in chunks, expecting to be told": ("PUT", "/api/photos/@", [CHUNKED, "Expect: 100-continue"]),
    "POST": ("POST", "/api/photos/", [length(1000)]),
    "POST without the last slash": ("POST", "/api/photos", [CHUNKED]),
    "POST with a query": ("POST", "/api/photos/?x=y", [length(1000)]),
    "PATCH": ("PATCH", "/api/photos/@", [length(1000)]),
    "DELETE": ("DELETE", "/api/photos/@", []),
    "an unknown method": ("FROB", "/api/photos/@", [length(1000)]),
    "streamed": ("PUT", "/streamed/api/photos/@", [length(1000)]),
    "streamed in chunks": ("PUT", "/streamed/api/photos/@", [CHUNKED]),
    "the page's form": ("POST", "/", [length(1000)]),
    "the page's form with a query": ("POST", "/?page=2", [CHUNKED]),
    "with escapes": ("PUT", "/%61pi/photo%73/@", [length(1000)]),
    "with two slashes": ("PUT", "//api//photos/@", [length(1000)]),
    "with dots": ("PUT", "/x/../api/./photos/@", [length(1000)]),
    "streamed, with escapes": ("PUT", "/stream%65d/api/photos/@", [length(1000)]),
    "an empty token": ("PUT", "/api/photos/@", [length(1000), "Authorization:"]),
    "an empty session": ("PUT", "/api/photos/@", [length(1000), "Cookie: sessionid="]),
    "other cookies": ("POST", "/", [length(1000), "Cookie: csrftoken=x; xsessionid=y; sessionid2=z"]),
    "GET with a large body": ("GET", "/api/photos/", [length(LIMIT)]),
    "a large body elsewhere": ("POST", "/elsewhere/@", [length(LIMIT)]),
    "a large body at a page": ("GET", "/", [length(95_000_000)]),
}
TAKEN: dict[str, tuple[str, str, list[str]]] = {
    "looking": ("GET", "/api/photos/@", []),
    "looking at the head": ("HEAD", "/api/photos/@", []),
    "OPTIONS": ("OPTIONS", "/api/photos/@", []),
    "a page": ("GET", "/", []),
    "looking, streamed": ("GET", "/streamed/api/photos/@", []),
    "a token, good or not": ("PUT", "/api/photos/@", ["Authorization: Token x", length(0)]),
    "a token, streamed": ("PUT", "/streamed/api/photos/@", ["Authorization: Token x", length(0)]),
    "another scheme": ("PUT", "/api/photos/@", ["Authorization: Basic eDp5", length(0)]),
    "a session": ("POST", "/", ["Cookie: csrftoken=y; sessionid=x", length(0)]),
    "logging in": ("POST", "/login/", [length(0)]),
    "a form elsewhere": ("POST", "/elsewhere/@", [length(0)]),
}


def check_refused(answer: Answer | None, status: int, error: str) -> None:
    assert answer is not None, "closed without an answer"
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json"), answer.body
    problem = answer.json()
    assert problem["error"] == error
    assert [problem["request_id"]] == answer.headers.get_all("X-Request-ID")
    assert answer.headers.get_all("WWW-Authenticate", []) == (["Token"] if status == 401 else [])


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", REFUSED)
def test_an_anonymous_client_gets_401_before_it_sends_a_body(edge_for_users: Edge, case: str, server: str) -> None:
    """The 401 comes instead of "100 Continue", and the application does not see the request."""
    method, target, fields = REFUSED[case]
    key = uuid.uuid4().hex
    check_refused(
        ask(edge_for_users.wire(server), request(target.replace("@", key), *fields, method=method)), 401, "login-needed"
    )
    seen = ask(edge_for_users.wire(server), request("/_seen/photos"))
    assert seen
    assert key not in seen.body.decode()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", TAKEN)
def test_a_request_with_credentials_or_without_a_body_is_passed_on(
    edge_for_users: Edge, case: str, server: str
) -> None:
    method, target, fields = TAKEN[case]
    answer = ask(edge_for_users.wire(server), request(target.replace("@", "x"), *fields, method=method))
    assert answer
    assert answer.status == 200, answer.body


def test_an_anonymous_browser_gets_a_page(edge_for_users: Edge) -> None:
    answer = ask(edge_for_users.wire("web"), request("/", length(1000), HTML, method="POST"))
    assert answer
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Token")
    assert b"<h1>Please log in first</h1>" in answer.body


def test_the_connection_is_kept_after_a_refused_body_was_sent(edge_for_users: Edge) -> None:
    """The answer comes first, and a body that is sent anyway is discarded."""
    body = b"x" * 200_000
    first = request("/api/photos/x", length(len(body)), method="PUT").replace(b"Connection: close\r\n", b"")
    with edge_for_users.wire("web") as wire:
        wire.send(first)
        check_refused(read_answer(wire.reader), 401, "login-needed")
        wire.send(body + request("/x"))
        assert read_answer(wire.reader).status == 200


@pytest.mark.parametrize("target", ["/elsewhere/x", "/api/elsewhere", "/"])
def test_the_chunks_of_an_anonymous_client_are_counted(edge_for_users: Edge, target: str) -> None:
    """Where chunks are accepted. (A body of GET has no meaning, and is received as any other.)"""
    method = "GET" if target == "/" else "POST"
    few, many = (f"{size:x}\r\n{'x' * size}\r\n0\r\n\r\n".encode() for size in (LIMIT - 1, LIMIT))
    answer = ask(edge_for_users.wire("web"), request(target, CHUNKED, method=method) + few)
    assert answer
    assert answer.status == 200, answer.body
    check_refused(ask(edge_for_users.wire("web"), request(target, CHUNKED, method=method) + many), 401, "login-needed")


@pytest.mark.parametrize("case", [name for name in REFUSED if "large" not in name and "expecting" not in name])
def test_anonymous_uploads_are_passed_on_if_the_setting_allows_them(edge: Edge, case: str) -> None:
    """ANONYMOUS_UPLOADS=on: the application gets the request, and decides."""
    method, target, fields = REFUSED[case]
    fields = [field for field in fields if not field.startswith(("Content-Length", "Transfer"))]
    answer = ask(edge.wire("web"), request(target.replace("@", "x"), *fields, length(0), method=method))
    assert answer
    assert answer.status == 200, answer.body


# Target, size, options of curl -> status.
HTTP_2 = {
    "an upload": ("/api/photos/x", 200_000, [], 401),
    "an upload without a length": ("/api/photos/x", 200_000, ["-HContent-Length:"], 401),
    "an upload, streamed": ("/streamed/api/photos/x", 200_000, ["-HContent-Length:"], 401),
    "a large body elsewhere": ("/elsewhere", 200_000, [], 401),
    "a large body without a length elsewhere": ("/elsewhere", 200_000, ["-HContent-Length:"], 401),
    "a small body elsewhere": ("/elsewhere", 50_000, ["-HContent-Length:"], 200),
    "an upload with a token": ("/api/photos/x", 200_000, ["-HAuthorization: Token x"], 200),
}


@pytest.fixture(scope="module")
def edge_with_tls_for_users(backends: Backends) -> Iterator[Edge]:
    with Edge(backends, {"TLS": "on", "ANONYMOUS_UPLOADS": "off"}) as running:
        yield running


@pytest.mark.parametrize("case", HTTP_2)
def test_anonymous_uploads_are_limited_over_http2(edge_with_tls_for_users: Edge, case: str, tmp_path: Path) -> None:
    """In HTTP/2 a body needs no length."""
    target, size, fields, status = HTTP_2[case]
    (tmp_path / "body").write_bytes(b"x" * size)
    url = f"https://127.0.0.1:{edge_with_tls_for_users.ports['tls']}{target}"
    command = ["curl", "-sSk", "--noproxy", "*", "--http2", "--max-time", "60", "-T", str(tmp_path / "body"), *fields]
    written = ["-o", str(tmp_path / "answer"), "-w", "%{http_version} %{http_code}"]
    done = subprocess.run([*command, *written, url], capture_output=True, text=True, check=False, timeout=90)
    assert done.stdout == f"2 {status}", done.stderr
    if status != 200:
        assert json.loads((tmp_path / "answer").read_text())["error"] == "login-needed"


# --- forms ------------------------------------------------------------------------------------------------------------

FORMS = [
    *("/login/", "/%6cogin/", "//login/", "/admin/login/"),
    *("/logout/", "/delete/x.jpg", "/photos/x", "/healthz", "/static/x"),
]
TOKEN = "Authorization: Token x"  # an invalid one


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("target", FORMS)
def test_a_form_of_the_pages_beyond_its_limit_is_refused(edge_for_users: Edge, target: str, server: str) -> None:
    large = request(target, length(FORM + 1), TOKEN, method="POST")
    check_refused(ask(edge_for_users.wire(server), large), 413, "body-too-large")
    counted = (
        request(target, CHUNKED, TOKEN, method="POST") + f"{FORM + 1:x}\r\n{'x' * (FORM + 1)}\r\n0\r\n\r\n".encode()
    )
    check_refused(ask(edge_for_users.wire(server), counted), 413, "body-too-large")


def test_a_form_of_the_pages_within_its_limit_is_accepted(edge: Edge) -> None:
    for target in ("/logout/", "/delete/x.jpg"):
        answer = ask(edge.wire("web"), request(target, length(FORM), method="POST") + b"x" * FORM)
        assert answer
        assert (answer.status, answer.json()["length"]) == (200, FORM)


# --- what counts as one client ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def edge_that_limits_logins(backends: Backends, edge: Edge) -> Iterator[Edge]:
    """Trusts this machine as a proxy, and allows few attempts to log in."""
    gateway = ask(edge.wire("web"), request("/gateway/"))
    assert gateway
    peer = gateway.json()["environ"]["REMOTE_ADDR"]
    with Edge(backends, {"TRUSTED_PROXIES": peer, "LOGIN_RATE": "1r/m"}) as running:
        poll(lambda: is_answered(running), "nginx has resolved the name of the server", 60)
        yield running


def is_answered(edge: Edge) -> bool:
    answer = ask(edge.wire("web"), request("/x"))
    return answer is not None and answer.status == 200


ATTEMPTS = 9  # a burst of five, the first, one for each minute of the test, and one too many
# Addresses, used in turn -> whether they count as one client.
CLIENTS = {
    "one of IPv4": (["192.0.2.1"], True),
    "several of IPv4": ([f"192.0.2.{number}" for number in range(10, 19)], False),
    "one network of IPv6": ([f"2001:db9:0:1:{number}::1" for number in range(9)], True),
    "one network, its ends": (["2001:db9:0:2::", "2001:db9:0:2:ffff:ffff:ffff:ffff"], True),
    "several networks": ([f"2001:db9:1:{number:x}::1" for number in range(9)], False),
    "networks with line ends in them": ([f"2001:a0a:d0a:a{number:02x}::1" for number in range(9)], False),
    "one with line ends in it": (["2001:a0a:d0a:0a0a:a0a::1", "2001:a0a:d0a:0a0a::a0a"], True),
    "one with zeros in it": (["2001::1", "2001::2", "2001:0:0:0:1::"], True),
    "networks with zeros in them": ([f"200{number}::1" for number in range(2, 9)] + ["2009::", "200a::1"], False),
    "one whose bytes are no text": (["2a02:ff80:fffe:c3a9::1", "2a02:ff80:fffe:c3a9:ffff::2"], True),
    "IPv4 as IPv6": ([f"::ffff:198.51.100.{number}" for number in range(1, 10)], False),
    "one of IPv4, in either way": (["::ffff:198.51.100.77", "198.51.100.77"], True),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(edge_that_limits_logins: Edge, case: str) -> None:
    addresses, is_one = CLIENTS[case]
    statuses = []
    for number in range(ATTEMPTS):
        fields = [length(0), f"X-Forwarded-For: {addresses[number % len(addresses)]}"]
        answer = ask(edge_that_limits_logins.wire("web"), request("/login/", *fields, method="POST"))
        statuses.append(answer and answer.status)
    assert set(statuses) == ({200, 429} if is_one else {200}), statuses
