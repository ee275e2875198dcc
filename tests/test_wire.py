"""Tests of tests/wire: with a reader that accepts missing bytes, every other test would pass."""

import io

import pytest

from tests.wire.answers import read_answer
from tests.wire.building import chunk, chunked, request, sized
from tests.wire.polling import poll

HEAD = b"HTTP/1.1 200 OK\r\nX-Name: value\r\n"
# Received bytes -> the body, and the rest.
ANSWERS: dict[bytes, tuple[bytes, bytes]] = {
    HEAD + b"Content-Length: 5\r\n\r\nhelloHTTP/1.1": (b"hello", b"HTTP/1.1"),
    HEAD + b"content-length: 0\r\n\r\nmore": (b"", b"more"),
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\nmore": (b"hello", b"more"),
    HEAD + b"\r\nhello": (b"hello", b""),
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD: (b"", HEAD),
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nmore": (b"", b"more"),
}
UNFINISHED = [
    b"",
    b"HTTP/1.1 200 OK",
    HEAD + b"Content-Length: 5\r\n\r\nhell",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhell",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
]
MALFORMED = [
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"hello\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: trailer\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n",
]


@pytest.mark.parametrize("data", ANSWERS)
def test_a_response_is_read_to_its_last_byte_and_no_further(data: bytes) -> None:
    source = io.BytesIO(data)
    assert (read_answer(source).body, source.read()) == ANSWERS[data]


@pytest.mark.parametrize("data", UNFINISHED)
def test_a_truncated_response_is_an_error(data: bytes) -> None:
    with pytest.raises(ConnectionError):
        read_answer(io.BytesIO(data))


@pytest.mark.parametrize("data", MALFORMED)
def test_a_malformed_response_is_an_error(data: bytes) -> None:
    with pytest.raises((AssertionError, ValueError)):
        read_answer(io.BytesIO(data))


def test_a_response_to_head_has_no_body() -> None:
    source = io.BytesIO(HEAD + b"Content-Length: 5\r\n\r\n")
    answer = read_answer(source, method="HEAD")
    assert (answer.status, answer.headers["x-name"], answer.body) == (200, "value", b"")


def test_request_builders_produce_the_expected_bytes() -> None:
    assert request("GET", "/", "X: y") == b"GET / HTTP/1.1\r\nHost: test\r\nX: y\r\n\r\n"
    assert sized("/", b"abc").endswith(b"Content-Length: 3\r\n\r\nabc")
    assert chunked("/", b"abcde", size=3).endswith(
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert chunk(b"abc", b";x") == b"3;x\r\nabc\r\n"


def test_a_poll_that_times_out_names_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match="waited 0 seconds for Godot"):
        poll(lambda: False, "Godot", within=0)
