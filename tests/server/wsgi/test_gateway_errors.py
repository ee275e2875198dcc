"""PEP 3333: applications that break the rules, and the effects for their clients."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server.wsgi.applications import TEXT, Closing, Exchange, Start, answering, fail, read
from wsgiserver.errors import ApplicationError
from wsgiserver.wsgi.gateway import ResponsePhase


def test_a_body_shorter_than_its_content_length_is_an_error() -> None:
    exchange = fail(answering(b"abc", length=5), "2 bytes shorter", b"abc")
    assert exchange.response.phase is ResponsePhase.HEAD_SENT  # so the client sees the connection cut
    fail(answering(b"ab", b"c", length=5), "2 bytes shorter", b"abc")
    fail(answering(length=5), "5 bytes shorter", b"")


@pytest.mark.parametrize("blocks", [(b"abcdef",), (b"abc", b"def"), (b"ab", b"cd"), (b"aaa", b"", b"x")], ids=repr)
def test_a_body_longer_than_its_content_length_is_cut_off(blocks: tuple[bytes, ...]) -> None:
    exchange = fail(answering(*blocks, length=3), "longer", b"".join(blocks)[:3])
    assert exchange.response.phase is ResponsePhase.FINISHED  # complete for the client
    assert exchange.response.sent == 3


def call(*calls: tuple[Any, ...], blocks: Any = (b"x", b"y")) -> Any:
    """Make an application that calls start_response with each of `calls` first."""

    def application(_: Any, start_response: Start) -> Any:
        for each in calls:
            start_response(*each)
        return blocks

    return application


OK = ("200 OK", TEXT)
NO_ERROR = (None, None, None)


@pytest.mark.parametrize(
    ("application", "match", "error"),
    [
        (call(), "before start_response", ApplicationError),
        (call(blocks=()), "before start_response", ApplicationError),
        (call(blocks=[b""]), "before start_response", ApplicationError),
        (call(OK, OK), "called again", ApplicationError),
        (call(OK, (*OK, None)), "called again", ApplicationError),
        (call(OK, blocks=None), "not iterable", TypeError),
        (call(OK, blocks=["text"]), "not bytes", ApplicationError),
        (call(OK, blocks=["te", "xt"]), "not bytes", ApplicationError),
        (call(OK, blocks=[1]), "not bytes", ApplicationError),
        (call(OK, blocks=[bytearray(b"x"), b"y"]), "not bytes", ApplicationError),
        (call(OK, blocks="text"), "not bytes", ApplicationError),
        (call(("200", TEXT)), "cannot be sent", ApplicationError),
        (call(("100 Continue", [])), "cannot be sent", ApplicationError),
        (call((b"200 OK", TEXT)), "not a string", ApplicationError),
        (call(("200 OK\r\nX: y", TEXT)), "cannot be sent", ApplicationError),
        (call(("200 OK", [("A", "b\r\nC: d")])), "cannot be sent", ApplicationError),
        (call(("200 OK", [("Connection", "close")])), "hop-by-hop", ApplicationError),
        (call(("200 OK", [("Transfer-Encoding", "chunked")])), "hop-by-hop", ApplicationError),
        (call(("200 OK", [("Content-Length", "1"), ("content-length", "1")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "-1")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "1, 1")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "\xb2")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", 5)])), "not a string", ApplicationError),
        (call(("200 OK", None)), "not iterable", TypeError),
        (call(("200 OK", ["ab", "c"])), "not pairs", ApplicationError),
        (call(("200 OK", ["ab", "cd"])), "not pairs", ApplicationError),
    ],
)
def test_an_application_that_breaks_a_rule_sends_nothing(
    application: Any, match: str, error: type[BaseException]
) -> None:
    exchange = fail(application, match, error=error)
    assert exchange.wire == b""
    assert exchange.response.phase in {ResponsePhase.UNSTARTED, ResponsePhase.STARTED}  # a 500 is still possible


INVALID_ARGUMENTS = [
    ("200", TEXT),
    ("200OK", TEXT),
    ("", TEXT),
    ("100 Continue", TEXT),
    ("600 High", TEXT),
    ("200 OK\r\nX: y", TEXT),
    ("200 OK\0", TEXT),
    ("200 \u20ac", TEXT),
    (b"200 OK", TEXT),
    (200, TEXT),
    (None, TEXT),
    ("200 OK", None),
    ("200 OK", 5),
    ("200 OK", "ab"),
    ("200 OK", [None]),
    ("200 OK", ["ab"[:1]]),
    ("200 OK", [("A",)]),
    ("200 OK", [("A", "b", "c")]),
    ("200 OK", [("A", 1)]),
    ("200 OK", [("A", None)]),
    ("200 OK", [("A", b"b")]),
    ("200 OK", [(b"A", "b")]),
    ("200 OK", [("A", "b\r\nC: d")]),
    ("200 OK", [("A", "b\n")]),
    ("200 OK", [("A", "b\r")]),
    ("200 OK", [("A", "b\0")]),
    ("200 OK", [("A", "\x1b")]),
    ("200 OK", [("A", "\u20ac")]),
    ("200 OK", [("A ", "b")]),
    ("200 OK", [("A:", "b")]),
    ("200 OK", [("", "b")]),
    ("200 OK", [("\xe9", "b")]),
    ("200 OK", [("A\r\nB", "b")]),
    ("200 OK", [("Content-Length", "1"), ("content-length", "1")]),
    ("200 OK", [("Content-Length", "-1")]),
    ("200 OK", [("Content-Length", "1, 1")]),
    ("200 OK", [("Content-Length", 5)]),
    *[
        ("200 OK", [(name, "x")])
        for name in ("Connection", "KEEP-ALIVE", "TE", "Trailer", "transfer-encoding", "Upgrade")
    ],
    *[("200 OK", [(name, "x")]) for name in ("Proxy-Authenticate", "Proxy-Authorization")],
]


@pytest.mark.parametrize("arguments", INVALID_ARGUMENTS, ids=repr)
def test_start_response_refuses_invalid_arguments_at_once(arguments: tuple[Any, Any]) -> None:
    """A check when the head is sent would be too late for another response (PEP 3333)."""

    def application(_: Any, start_response: Start) -> list[bytes]:
        with pytest.raises((ApplicationError, TypeError)):
            start_response(*arguments)
        start_response("500 Something Better", TEXT)
        return [b"sorry"]

    exchange = Exchange(application)
    assert exchange.error is None
    assert (read(exchange)[0], read(exchange)[2]) == (500, b"sorry")


@pytest.mark.parametrize("arguments", INVALID_ARGUMENTS, ids=repr)
def test_a_refused_call_of_start_response_changes_nothing(arguments: tuple[Any, Any]) -> None:
    """Neither the first call nor a later call with exc_info changes the earlier status and headers."""

    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response("201 Made", TEXT)
        try:
            int("an error")
        except ValueError:
            with pytest.raises((ApplicationError, TypeError)):
                start_response(*arguments, sys.exc_info())
        return [b"as it was"]

    exchange = Exchange(application)
    assert exchange.error is None
    assert (read(exchange)[0], read(exchange)[2]) == (201, b"as it was")
    assert exchange.response.status == "201 Made"


def test_start_response_refuses_an_invalid_header_before_anything_is_written() -> None:
    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response("200 OK", [("A", "b\r\nC: d")])(b"never")
        return [b"never"]

    exchange = fail(application, "cannot be sent")
    assert (exchange.wire, exchange.response.phase) == (b"", ResponsePhase.UNSTARTED)


def test_start_response_refuses_hop_by_hop_headers_in_a_generator() -> None:
    blocks: list[str] = []

    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        try:
            start_response("200 OK", [("Connection", "close")])
        except ApplicationError as error:
            blocks.append(str(error))
            start_response("500 Oops", TEXT)
        yield b"sorry"

    assert read(Exchange(application))[2] == b"sorry"
    assert "hop-by-hop" in blocks[0]


def test_exc_info_after_the_head_with_invalid_arguments_raises_the_error_itself() -> None:
    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response(*OK)
        yield b"a"
        try:
            int("the error itself")
        except ValueError:
            start_response("no status", [("A", "b\r\n")], sys.exc_info())

    fail(application, "the error itself", b"1\r\na\r\n", error=ValueError)


def test_exc_info_after_the_head_raises_the_error_itself() -> None:
    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response(*OK)
        yield b"a"
        try:
            int("the error itself")
        except ValueError:
            start_response("500 Oops", TEXT, sys.exc_info())
        yield b"never"

    fail(application, "the error itself", b"1\r\na\r\n", error=ValueError)


def test_exc_info_without_an_error_does_not_start_a_second_response() -> None:
    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response(*OK)
        yield b"a"
        start_response("500 Oops", TEXT, NO_ERROR)
        yield b"never"

    fail(application, "called again", b"1\r\na\r\n")


def test_exc_info_after_the_end_raises_the_error_itself() -> None:
    class Complaining(Closing):
        def close(self) -> None:
            try:
                int("the error itself")
            except ValueError:
                start[0]("500 Oops", TEXT, sys.exc_info())

    start: list[Any] = []

    def application(_: Any, start_response: Start) -> Any:
        start.append(start_response)
        start_response("200 OK", [("Content-Length", "1")])
        return Complaining(b"a")

    fail(application, "the error itself", b"a", error=ValueError)


def test_start_response_and_write_after_the_end_send_nothing() -> None:
    """Calls from close() or after the end must not send a second head after a complete response."""
    saved: list[Any] = []

    def application(_: Any, start_response: Start) -> list[bytes]:
        saved.extend([start_response, start_response("200 OK", TEXT)])
        return [b"whole"]

    exchange = Exchange(application)
    wire = exchange.wire
    start_response: Start = saved[0]
    write: Callable[[bytes], None] = saved[1]
    again: list[Callable[[], Any]] = [
        lambda: write(b"more"),
        lambda: start_response(*OK, NO_ERROR),
        lambda: start_response(*OK),
    ]
    for call_again in again:
        with pytest.raises(ApplicationError):
            call_again()
    assert exchange.wire == wire
    assert exchange.response.phase is ResponsePhase.FINISHED


def test_an_error_before_the_head_is_sent_permits_a_500() -> None:
    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response(*OK)
        raise ValueError("early")

    exchange = fail(application, "early", error=ValueError)
    assert exchange.response.phase is ResponsePhase.STARTED
