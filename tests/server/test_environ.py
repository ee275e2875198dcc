"""A request as environ: what gets in, what never does, and whom to believe about the client."""

import io
import os
import sys
from typing import Any
from wsgiref.validate import check_environ  # type: ignore[attr-defined] # not in typeshed, and stable since 2006

import pytest

from wsgiserver.environ import _FROM_PROXY, _FROM_STRANGER, Trust, add_body, build, template
from wsgiserver.filewrapper import FileWrapper
from wsgiserver.http1.head import parse_head

CLIENT = ("192.0.2.1", 4711)


def environ(text: str, *, trusted: bool = False, client: tuple[str, int] = CLIENT) -> dict[str, Any]:
    """`text` is a head with "|" for line ends and without Host."""
    first, *lines = text.split("|")
    head = parse_head("\r\n".join([first + " HTTP/1.1", "Host: a:1", *lines, "", ""]).encode("latin-1"))
    base = template("srv", 8000, sys.stderr, threads=True, processes=False)
    return build(base, head, client, trusted=trusted)


def check(text: str, expected: dict[str, Any], *, trusted: bool = False) -> None:
    """`expected` names keys and their values, None for one that must not be there; the whole must be valid."""
    seen = environ(text, trusted=trusted)
    assert {key: seen.get(key) for key in expected} == expected
    add_body(seen, io.BytesIO(b"abc"), 3, {})
    check_environ(seen)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /", {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "", "SCRIPT_NAME": ""}),
        ("GET /", {"SERVER_NAME": "srv", "SERVER_PORT": "8000", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "a:1"}),
        ("GET /", {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711", "wsgi.url_scheme": "http"}),
        ("GET /", {"wsgi.version": (1, 0), "wsgi.multithread": True, "wsgi.multiprocess": False}),
        ("GET /", {"wsgi.run_once": False, "wsgi.input_terminated": True, "wsgi.errors": sys.stderr}),
        ("GET /", {"wsgi.file_wrapper": FileWrapper, "CONTENT_TYPE": None, "HTTP_CONTENT_TYPE": None}),
        # target
        ("GET /a/b?c=d&e", {"PATH_INFO": "/a/b", "QUERY_STRING": "c=d&e", "RAW_URI": "/a/b?c=d&e"}),
        ("GET /?", {"PATH_INFO": "/", "QUERY_STRING": "", "RAW_URI": "/?"}),
        ("GET /a?b?c", {"PATH_INFO": "/a", "QUERY_STRING": "b?c"}),
        ("GET /a%20b%2Fc%C3%A9", {"PATH_INFO": "/a b/c\xc3\xa9"}),  # bytes as latin-1, PEP 3333
        ("GET /%ff%00", {"PATH_INFO": "/\xff\0"}),
        ("GET /%zz%2", {"PATH_INFO": "/%zz%2"}),
        ("GET /a?%20+b", {"QUERY_STRING": "%20+b"}),
        ("GET /a%3Fb", {"PATH_INFO": "/a?b", "QUERY_STRING": ""}),
        ("GET /a+b", {"PATH_INFO": "/a+b"}),
        ("GET //a//b", {"PATH_INFO": "//a//b"}),
        ("GET http://b/c?d", {"PATH_INFO": "/c", "QUERY_STRING": "d", "HTTP_HOST": "b"}),
        ("OPTIONS *", {"PATH_INFO": "", "RAW_URI": "*"}),  # RFC 3875, 4.1.5: empty, or it begins with a slash
        # fields
        ("GET /|Accept: a|X-A-b: c|X: \xe9", {"HTTP_ACCEPT": "a", "HTTP_X_A_B": "c", "HTTP_X": "\xe9"}),
        ("GET /|Content-Type: t", {"CONTENT_TYPE": "t", "HTTP_CONTENT_TYPE": None}),
        ("GET /|Cookie: a=1|Cookie: b=2", {"HTTP_COOKIE": "a=1; b=2"}),
        ("GET /|Content-Length: 5", {"HTTP_CONTENT_LENGTH": None}),
        ("GET /|Transfer-Encoding: chunked", {"HTTP_TRANSFER_ENCODING": None}),
        ("GET /|Expect: 100-continue|Trailer: X", {"HTTP_EXPECT": None, "HTTP_TRAILER": None}),
        ("GET /|Proxy: http://evil|PROXY: x", {"HTTP_PROXY": None}),
        ("GET /|X_A: b", {"HTTP_X_A": None}),
        ("GET /|X-A: good|X_A: evil", {"HTTP_X_A": "good"}),
        ("GET /|X_A: evil|X-A: good", {"HTTP_X_A": "good"}),
        ("GET /|X-Forwarded_For: 1.1.1.1", {"HTTP_X_FORWARDED_FOR": None, "REMOTE_ADDR": "192.0.2.1"}),
        ("GET /|Content_Length: 9", {"HTTP_CONTENT_LENGTH": None}),
        ("GET /|Connection: close|Upgrade: h2c", {"HTTP_CONNECTION": "close", "HTTP_UPGRADE": "h2c"}),
    ],
)
def test_build(text: str, expected: dict[str, Any]) -> None:
    check(text, expected)


FORWARDED = (
    "X-Forwarded-For: 1.1.1.1, 2.2.2.2|X-Forwarded-Proto: https|X-Forwarded-Host: evil|X-Forwarded-Port: 1"
    "|X-Forwarded-Prefix: /p|X-Forwarded-Server: s|X-Forwarded-Ssl: on|X-Real-IP: 3.3.3.3|Forwarded: for=4.4.4.4"
    "|X-Forwarded-Scheme: https|X-Forwarded-Protocol: ssl|X-Forwarded-By: b"
)
FORWARDED_KEYS = ["HTTP_" + line.partition(":")[0].upper().replace("-", "_") for line in FORWARDED.split("|")]


def test_what_a_stranger_says_of_itself_is_dropped() -> None:
    expected = {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711", "wsgi.url_scheme": "http"}
    check("GET /|" + FORWARDED, expected | dict.fromkeys(FORWARDED_KEYS))


def test_what_a_trusted_proxy_says_is_believed() -> None:
    expected = {
        "REMOTE_ADDR": "2.2.2.2",
        "REMOTE_PORT": "",
        "wsgi.url_scheme": "https",
        "HTTP_X_FORWARDED_HOST": "evil",
    }
    check("GET /|" + FORWARDED, expected, trusted=True)


@pytest.mark.parametrize(
    ("fields", "address", "scheme"),
    [
        ("X-Other: 1", "192.0.2.1", "http"),
        ("X-Forwarded-For: 9.9.9.9", "9.9.9.9", "http"),
        ("X-Forwarded-For: 1.1.1.1,9.9.9.9 ", "9.9.9.9", "http"),
        ("X-Forwarded-For: 1.1.1.1|X-Forwarded-For: 9.9.9.9", "9.9.9.9", "http"),
        ("X-Forwarded-For: ::1", "::1", "http"),
        ("X-Forwarded-For:", "192.0.2.1", "http"),
        ("X-Forwarded-Proto: HTTPS", "192.0.2.1", "https"),
        ("X-Forwarded-Proto: http, https", "192.0.2.1", "https"),
        ("X-Forwarded-Proto: javascript", "192.0.2.1", "http"),
    ],
)
def test_the_last_word_is_the_proxys_own(fields: str, address: str, scheme: str) -> None:
    check("GET /|" + fields, {"REMOTE_ADDR": address, "wsgi.url_scheme": scheme}, trusted=True)


@pytest.mark.parametrize(
    ("allowed", "address", "covers"),
    [
        ("", "127.0.0.1", False),
        ("*", "127.0.0.1", True),
        ("*", "", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.0/8, ::1", "10.1.2.3", True),
        ("10.0.0.1/8", "10.1.2.3", True),
        ("10.0.0.0/8, ::1", "::1", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),  # how a dual-stack socket names an IPv4 peer
        ("10.0.0.0/8", "::ffff:11.1.2.3", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.0.0.0/8", "fe80::1%eth0", False),
        ("", "", False),  # a unix socket, and nobody is trusted
        ("127.0.0.1", "", True),
    ],
)
def test_trust(allowed: str, address: str, *, covers: bool) -> None:
    assert Trust(allowed.split(",")).covers(address) is covers


@pytest.mark.parametrize("allowed", ["localhost", "10.0.0.0/33", "10.0.0", "nginx:8000"])
def test_trust_takes_addresses_only(allowed: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Trust([allowed])


def test_nothing_of_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush-hush")
    seen = environ("GET /")
    assert "SECRET_KEY" not in seen
    assert "hush-hush" not in map(str, seen.values())
    assert not (set(seen) & set(os.environ)) - {"SERVER_NAME", "SERVER_PORT", "SERVER_SOFTWARE"}


def test_the_template_is_not_shared() -> None:
    base = template("srv", 1, sys.stderr, threads=True, processes=True)
    before = dict(base)
    head = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n")
    build(base, head, CLIENT, trusted=False)["added"] = 1
    assert base == before


def test_the_body_has_its_true_length_whatever_was_announced() -> None:
    seen = environ("POST /|Transfer-Encoding: chunked")
    body = io.BytesIO(b"hello")
    add_body(seen, body, 5, {})
    assert (seen["CONTENT_LENGTH"], seen["wsgi.input"]) == ("5", body)
    assert "wsgiserver.trailers" not in seen
    add_body(seen, body, 5, {"content-length": "7", "x": "y"})
    assert seen["wsgiserver.trailers"] == {"content-length": "7", "x": "y"}  # apart, never merged
    assert "HTTP_X" not in seen


def test_names_are_not_remembered_without_bound() -> None:
    for n in range(3000):
        assert environ(f"GET /|X-N{n}: y|X_N{n}: z")[f"HTTP_X_N{n}"] == "y"
        environ(f"GET /|X-N{n}: y", trusted=True)
    assert len(_FROM_STRANGER) <= 1024
    assert len(_FROM_PROXY) <= 1024
