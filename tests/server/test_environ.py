"""A request as environ: what gets in, what never does, and whom to believe about the client."""

import io
import os
import re
import sys
from typing import Any
from wsgiref.validate import check_environ  # type: ignore[attr-defined] # not in typeshed, and stable since 2006

import pytest

from wsgiserver.environ import _FROM_PROXY, _FROM_STRANGER, RequestIds, Trust, add_body, build, template
from wsgiserver.filewrapper import FileWrapper
from wsgiserver.http1.head import parse_head

CLIENT = ("192.0.2.1", 4711)


PROXIES = Trust(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"])
ANYONE = Trust("*")


def environ(text: str, trust: Trust | None = None) -> dict[str, Any]:
    """`text` is a head with "|" for line ends and without Host."""
    first, *lines = text.split("|")
    head = parse_head("\r\n".join([first + " HTTP/1.1", "Host: a:1", *lines, "", ""]).encode("latin-1"))
    base = template("srv", 8000, sys.stderr, threads=True, processes=False)
    return build(base, head, CLIENT, trust)


def check(text: str, expected: dict[str, Any], trust: Trust | None = None) -> None:
    """`expected` names keys and their values, None for one that must not be there; the whole must be valid."""
    seen = environ(text, trust)
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
        "HTTP_HOST": "evil",
        "SERVER_PORT": "1",
    }
    raw = {key: environ("GET /|" + FORWARDED, PROXIES).get(key) for key in FORWARDED_KEYS}
    assert all(raw.values()), "what it said can be seen as well"
    check("GET /|" + FORWARDED, expected, PROXIES)


@pytest.mark.parametrize(
    ("fields", "address", "port"),
    [
        ("X-Other: 1", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9", "9.9.9.9", ""),
        ("X-Forwarded-For: 1.1.1.1,9.9.9.9 ", "9.9.9.9", ""),
        ("X-Forwarded-For: 1.1.1.1|X-Forwarded-For: 9.9.9.9", "9.9.9.9", ""),
        ("X-Forwarded-For: ::1", "::1", ""),
        ("X-Forwarded-For: 2001:DB9::A", "2001:DB9::A", ""),
        ("X-Forwarded-For:", "192.0.2.1", "4711"),
        # with a port, as some load balancers have it
        ("X-Forwarded-For: 9.9.9.9:1234", "9.9.9.9", "1234"),
        ("X-Forwarded-For: [::1]:1234", "::1", "1234"),
        ("X-Forwarded-For: [::1]", "::1", ""),
        # past trusted ones, and no further
        ("X-Forwarded-For: 9.9.9.9, 10.1.1.1", "9.9.9.9", ""),
        ("X-Forwarded-For: 1.1.1.1, 9.9.9.9, 10.1.1.1, 10.2.2.2", "9.9.9.9", ""),
        ("X-Forwarded-For: 9.9.9.9, 2001:db8::1, 10.1.1.1:80", "9.9.9.9", ""),
        ("X-Forwarded-For: 9.9.9.9, ::ffff:10.1.1.1", "9.9.9.9", ""),
        ("X-Forwarded-For: 10.0.0.1, 10.0.0.2", "10.0.0.1", ""),  # all of them: the client is the farthest
        # up to what is none: then it is the proxy that passed it on
        ("X-Forwarded-For: 9.9.9.9, unknown", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9,", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9, unknown, 10.1.1.1", "10.1.1.1", ""),
        ("X-Forwarded-For: 9.9.9.9, , 10.1.1.1", "10.1.1.1", ""),
        ("X-Forwarded-For: 9.9.9.9, <script>", "192.0.2.1", "4711"),
        ("X-Forwarded-For: fe80::1%<script>", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 256.1.1.1", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 09.9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9:http", "192.0.2.1", "4711"),
        ("X-Forwarded-For: [9.9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 1:2:3:4:5:6:7:8:9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: \xb9.9.9.9", "192.0.2.1", "4711"),
        (f"X-Forwarded-For: {'1.1.1.1, ' * 1000}9.9.9.9", "9.9.9.9", ""),
    ],
)
def test_the_client_is_the_first_that_is_not_trusted(fields: str, address: str, port: str) -> None:
    for _ in range(2):  # the second time it is remembered
        check("GET /|" + fields, {"REMOTE_ADDR": address, "REMOTE_PORT": port}, PROXIES)


@pytest.mark.parametrize(
    ("value", "address"),
    [("9.9.9.9", "9.9.9.9"), ("1.1.1.1, 9.9.9.9", "9.9.9.9"), ("1.1.1.1, x", "192.0.2.1"), ("1.1.1.1,", "192.0.2.1")],
)
def test_who_trusts_anyone_trusts_the_last_word_only(value: str, address: str) -> None:
    check("GET /|X-Forwarded-For: " + value, {"REMOTE_ADDR": address}, ANYONE)


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ("X-Forwarded-Proto: HTTPS", "wsgi.url_scheme", "https"),
        ("X-Forwarded-Proto: http, https", "wsgi.url_scheme", "https"),
        ("X-Forwarded-Proto: https, http", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Proto: https|X-Forwarded-Proto: http", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Proto: javascript", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Proto:", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Host: b.example:8443", "HTTP_HOST", "b.example:8443"),
        ("X-Forwarded-Host: [::1]:80", "HTTP_HOST", "[::1]:80"),
        ("X-Forwarded-Host: evil, b.example", "HTTP_HOST", "b.example"),
        ("X-Forwarded-Host: b/c", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: u@b", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: b.example,", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: b:http", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: b c", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host:", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Port: 443", "SERVER_PORT", "443"),
        ("X-Forwarded-Port: 1, 65535", "SERVER_PORT", "65535"),
        ("X-Forwarded-Port: 65536", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: 0", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: 080", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: https", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: \xb2", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port:", "SERVER_PORT", "8000"),
    ],
)
@pytest.mark.parametrize("trust", [PROXIES, ANYONE])
def test_what_was_asked_of_the_proxy(fields: str, key: str, value: str, trust: Trust) -> None:
    check("GET /|" + fields, {key: value}, trust)


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    trust = Trust(["10.0.0.0/8"])
    for n in range(3000):
        trust.client(f"1.1.{n >> 8}.{n & 255}, 10.0.0.1")
        assert not trust.covers(f"1.1.{n >> 8}.{n & 255}")
        trust.client(f"{'1.1.1.1, ' * 100}2.{n >> 8}.{n & 255}.1")
    for remembered in (trust.covers, trust.clients):
        assert remembered.cache_info().currsize <= 1024
    before = trust.clients.cache_info().misses
    trust.client("1.1.1.1, " * 1000)
    assert trust.clients.cache_info().misses == before, "what is long is not kept"


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
    build(base, head, CLIENT, None)["added"] = 1
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
        environ(f"GET /|X-N{n}: y", PROXIES)
    assert len(_FROM_STRANGER) <= 1024
    assert len(_FROM_PROXY) <= 1024


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [
        ("0af7651916cd43dd8448eb211c80319c", True),
        ("Root=1-67891233-abcdef012345678912345678", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("two words", False),
        ("a, b", False),
        ('"', False),
        ("\xe9", False),
    ],
)
def test_a_request_id_is_kept_where_it_is_fit_to_be_repeated(sent: str, *, is_kept: bool) -> None:
    head = parse_head(f"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: {sent}\r\n\r\n".encode("latin-1"))
    assert (RequestIds().of(head) == sent) is is_kept


def test_request_ids_of_our_own_are_all_different() -> None:
    head = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    one, other = RequestIds(), RequestIds()
    made = [ids.of(asked) for ids in (one, other) for asked in (head, head, None, None)]
    assert len(set(made)) == 8
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in made)
