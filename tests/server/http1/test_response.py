"""Response heads: no text from an application or a refusal adds an unexpected line."""

import json
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiserver.errors import REFUSALS, ApplicationError, Refusal
from wsgiserver.http1.response import (
    _HEADS,
    _NAMES,
    CONTINUE,
    LAST_CHUNK,
    MAX_CACHED_HEADS,
    date_line,
    encode_chunk,
    encode_head,
    refusal_answer,
)


def check(status: Any, headers: Any, expected: bytes | None) -> None:
    """`expected` is the head, or None for one that must not be sent. The second call reads it from the cache."""
    for _ in range(2):
        if expected is None:
            with pytest.raises(ApplicationError):
                encode_head(status, headers)
        else:
            assert encode_head(status, headers)[0] == expected


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        ("200 OK", [], b"HTTP/1.1 200 OK\r\n"),
        ("200 ", [], b"HTTP/1.1 200 \r\n"),
        ("299 Any \xe9", [], b"HTTP/1.1 299 Any \xe9\r\n"),
        ("200 OK", [("A", "b"), ("C", "d")], b"HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n"),
        ("200 OK", [("S", "a=1"), ("S", "b=2")], b"HTTP/1.1 200 OK\r\nS: a=1\r\nS: b=2\r\n"),
        ("200 OK", [("A", "")], b"HTTP/1.1 200 OK\r\nA: \r\n"),
        ("200 OK", [("A", "\xe9\t ~")], b"HTTP/1.1 200 OK\r\nA: \xe9\t ~\r\n"),
        ("200 OK", [["A", "b"]], b"HTTP/1.1 200 OK\r\nA: b\r\n"),
        # injected
        ("200 OK\r\nX: y", [], None),
        ("200 OK\nX: y", [], None),
        ("200 OK\rX: y", [], None),
        ("200 OK\0", [], None),
        ("200 OK\r\n\r\n<script>", [], None),
        ("200 OK", [("A", "b\r\nX: y")], None),
        ("200 OK", [("A", "b\nX: y")], None),
        ("200 OK", [("A", "b\rX: y")], None),
        ("200 OK", [("A", "b\r\n\r\nbody")], None),
        ("200 OK", [("A", "b\r\n")], None),
        ("200 OK", [("A", "b\0")], None),
        ("200 OK", [("A", "b\x0b")], None),
        ("200 OK", [("A", "b\x7f")], None),
        ("200 OK", [("A", "b\r\n folded")], None),
        ("200 OK", [("A: b\r\nX", "y")], None),
        ("200 OK", [("A\n", "y")], None),
        ("200 OK", [("A ", "y")], None),
        ("200 OK", [("", "y")], None),
        ("200 OK", [("A:", "y")], None),
        ("200 OK", [("Transfer-Encoding: chunked; x", "y")], None),
        ("200 OK", [("\xe9", "y")], None),
        # an invalid status
        ("200", [], None),
        ("OK", [], None),
        ("", [], None),
        ("99 Low", [], None),
        ("100 Continue", [], None),
        ("101 Switching Protocols", [], None),
        ("600 High", [], None),
        ("2000 Long", [], None),
        ("20x No", [], None),
        ("200OK", [], None),
        (" 200 OK", [], None),
        ("200 \u20ac", [], None),
        # neither strings nor pairs
        (b"200 OK", [], None),
        (200, [], None),
        (None, [], None),
        ("200 OK", [("A", 1)], None),
        ("200 OK", [("A", b"b")], None),
        ("200 OK", [(b"A", "b")], None),
        ("200 OK", [(1, "b")], None),
        ("200 OK", [("A", None)], None),
        ("200 OK", [("A",)], None),
        ("200 OK", [("A", "b", "c")], None),
        ("200 OK", ["Ab"[:1]], None),
        ("200 OK", [None], None),
        ("200 OK", [("A", "\u20ac")], None),
        # the server manages the connection
        *(
            ("200 OK", [(name, "x")], None)
            for name in (
                "Connection",
                "KEEP-ALIVE",
                "Proxy-Authenticate",
                "Proxy-Authorization",
                "TE",
                "Trailer",
                "transfer-encoding",
                "Upgrade",
            )
        ),
    ],
)
def test_a_response_head_is_encoded_or_refused(status: Any, headers: Any, expected: bytes | None) -> None:
    check(status, headers, expected)


@pytest.mark.parametrize(
    ("status", "headers", "length", "has_date"),
    [
        ("200 OK", [], None, False),
        ("200 OK", [("A", "b")], None, False),
        ("200 OK", [("Content-Length", "5"), ("DATE", "x")], 5, True),
        ("200 OK", [("content-lengtH", "0")], 0, False),
        ("304 Not Modified", [("Content-Length", "5")], 5, False),
        ("204 No Content", [("Content-Length", "5"), ("Date", "x")], None, True),
    ],
)
def test_the_encoder_reports_content_length_and_date(
    status: str, headers: Any, *, length: int | None, has_date: bool
) -> None:
    for _ in range(2):
        lines, *rest = encode_head(status, headers)
        assert rest == [length, has_date]
        assert (b"engt" in lines) is (length is not None)


@pytest.mark.parametrize(
    "values",
    [
        ["1", "1"],
        ["1", "2"],
        ["-1"],
        ["+1"],
        ["1, 1"],
        ["\xb2"],
        [""],
        ["0x1"],
        [" 1"],
        ["1 "],
        ["9" * 19],
        ["9" * 5000],
    ],
    ids=lambda values: repr(values)[:30],
)
def test_a_content_length_that_is_not_one_number_is_refused(values: list[str]) -> None:
    check("200 OK", [("Content-Length", value) for value in values], None)


BREAKING = "\r\n\0\x0b\x7f \t:;,\xe9\u20acaA-1"
texts = st.text(BREAKING, max_size=6)


@given(
    reason=texts,
    headers=st.lists(st.tuples(st.one_of(texts, st.sampled_from(["X-A", "content-type", "DATE"])), texts), max_size=4),
)
def test_a_client_reads_exactly_the_headers_that_the_application_set(
    reason: str, headers: list[tuple[str, str]]
) -> None:
    """No text from an application adds, removes or changes a header, or starts a body."""
    try:
        lines, length, _ = encode_head(f"200 {reason}", headers)
    except ApplicationError:
        return
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(lines + b"Content-Length: 0\r\n\r\n")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert length is None
    assert response.reason == reason.encode("latin-1")
    read = [(name.decode(), value.decode("latin-1")) for name, value in response.headers.raw_items()]
    assert read == [*((name, value.strip(" \t")) for name, value in headers), ("Content-Length", "0")]
    assert isinstance(client.next_event(), h11.EndOfMessage)
    assert client.trailing_data == (b"", False)


def test_the_cache_of_response_heads_is_bounded_and_holds_no_cookies() -> None:
    for n in range(3000):
        encode_head("200 OK", [(f"X-{n}", "")])
    assert len(_NAMES) <= 1024
    assert len(_HEADS) <= MAX_CACHED_HEADS
    encode_head("200 OK", [("X", "y" * 3000)])
    encode_head("200 OK", [("X", "y"), ("SET-cookie", "secret")])
    cached = b"".join(head[0] for head in _HEADS.values())
    assert b"yyy" not in cached
    assert b"secret" not in cached


def test_the_cache_of_response_heads_does_not_mix_up_similar_heads() -> None:
    """The keys are equal or almost equal, but the lines differ."""
    assert encode_head("200 OK", [("A", "b")])[0] == b"HTTP/1.1 200 OK\r\nA: b\r\n"
    check("200 OK", [("A", "b\r\n")], None)
    check("200 OK", [("A", b"b")], None)
    check("200 OK", [("a", "b")], b"HTTP/1.1 200 OK\r\na: b\r\n")
    check("200 OK", [("A", "b"), ("A", "b")], b"HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\n")
    check("201 OK", [("A", "b")], b"HTTP/1.1 201 OK\r\nA: b\r\n")


def test_chunks_are_encoded_with_their_size() -> None:
    assert encode_chunk(b"x" * 255) == b"ff\r\n" + b"x" * 255 + b"\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"


def test_the_date_header_has_the_format_of_the_rfc() -> None:
    assert date_line(784111777) == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"  # the example of RFC 9110, section 5.6.7


def read_by_h11(answer: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response.status_code, dict(response.headers), body


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal_is_a_complete_response_in_json(name: str) -> None:
    status, headers, body = read_by_h11(refusal_answer(Refusal(name), "some-id", 784111777))
    assert status == REFUSALS[name][0]
    assert 400 <= status < 600
    document = json.loads(body)
    assert (document["error"], document["request_id"]) == (name, "some-id")
    assert document["detail"].lower() == f"{REFUSALS[name][1]}.".lower()
    assert document["detail"][0].isupper()
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"date"] == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"connection"] == b"close"


def test_a_100_continue_response_has_no_headers() -> None:
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"
