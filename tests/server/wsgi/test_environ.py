"""A request as environ: included and excluded keys."""

import io
import os
import re
import sys
from typing import Any
from wsgiref.validate import check_environ  # type: ignore[attr-defined] # not in typeshed, and stable since 2006

import pytest

from wsgiserver.http1.head import parse_head
from wsgiserver.wsgi.environ import _FROM_CLIENT, _FROM_PROXY, RequestIds, add_body, build, template
from wsgiserver.wsgi.filewrapper import FileWrapper
from wsgiserver.wsgi.forwarded import Trust

CLIENT = ("192.0.2.1", 4711)


PROXIES = Trust(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"])


def environ(text: str, trust: Trust | None = None) -> dict[str, Any]:
    """`text` is a head with "|" for line ends and without Host."""
    first, *lines = text.split("|")
    head = parse_head("\r\n".join([first + " HTTP/1.1", "Host: a:1", *lines, "", ""]).encode("latin-1"))
    base = template("srv", 8000, sys.stderr, threads=True, processes=False)
    return build(base, head, CLIENT, trust)


def check(text: str, expected: dict[str, Any], trust: Trust | None = None) -> None:
    """`expected` has keys and values, None for an absent key; the environ must be valid."""
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
        ("OPTIONS *", {"PATH_INFO": "", "RAW_URI": "*"}),  # RFC 3875, 4.1.5: empty or with a leading slash
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
def test_the_environ_is_built_from_the_request(text: str, expected: dict[str, Any]) -> None:
    check(text, expected)


def test_the_environ_has_nothing_of_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush-hush")
    seen = environ("GET /")
    assert "SECRET_KEY" not in seen
    assert "hush-hush" not in map(str, seen.values())
    assert not (set(seen) & set(os.environ)) - {"SERVER_NAME", "SERVER_PORT", "SERVER_SOFTWARE"}


def test_each_environ_is_a_copy_of_the_template() -> None:
    base = template("srv", 1, sys.stderr, threads=True, processes=True)
    before = dict(base)
    head = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n")
    build(base, head, CLIENT, None)["added"] = 1
    assert base == before


def test_content_length_is_the_length_of_the_received_body() -> None:
    seen = environ("POST /|Transfer-Encoding: chunked")
    body = io.BytesIO(b"hello")
    add_body(seen, body, 5, {})
    assert (seen["CONTENT_LENGTH"], seen["wsgi.input"]) == ("5", body)
    assert "wsgiserver.trailers" not in seen
    add_body(seen, body, 5, {"content-length": "7", "x": "y"})
    assert seen["wsgiserver.trailers"] == {"content-length": "7", "x": "y"}  # separate, never merged
    assert "HTTP_X" not in seen


def test_the_caches_of_variable_names_are_bounded() -> None:
    for n in range(3000):
        assert environ(f"GET /|X-N{n}: y|X_N{n}: z")[f"HTTP_X_N{n}"] == "y"
        environ(f"GET /|X-N{n}: y", PROXIES)
    assert len(_FROM_CLIENT) <= 1024
    assert len(_FROM_PROXY) <= 1024


@pytest.mark.parametrize(
    ("sent", "is_valid"),
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
def test_only_a_valid_request_id_is_kept(sent: str, *, is_valid: bool) -> None:
    head = parse_head(f"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: {sent}\r\n\r\n".encode("latin-1"))
    assert (RequestIds().of(head) == sent) is is_valid


def test_generated_request_ids_are_all_different() -> None:
    head = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    one, other = RequestIds(), RequestIds()
    generated = [ids.of(argument) for ids in (one, other) for argument in (head, head, None, None)]
    assert len(set(generated)) == 8
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in generated)
