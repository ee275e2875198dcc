"""Refusals of a connection, and their responses."""

import resource
import select
import socket
from pathlib import Path

import pytest

from tests.server.harness import limited
from tests.server.serving.link import NOW, Events, Link, hang
from tests.wire.building import chunked, request, sized
from tests.wire.polling import PATIENCE, poll
from wsgiserver.serving.connection import LINGER_TIME
from wsgiserver.serving.states import State, Verdict


@pytest.mark.parametrize(
    ("data", "status", "name"),
    [
        (b"GARBAGE\r\n\r\n", 400, "head-malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "host-missing"),
        (request("GET", "/" + "x" * 9000), 414, "uri-too-long"),
        (request("GET", "/", *["X: y"] * 101), 431, "headers-too-large"),
        (request("HEAD", "/", "Content-Length: x"), 400, "content-length-invalid"),
        (request("POST", "/", "Content-Length: 5, 5", body=b"hello"), 400, "content-length-invalid"),
        (request("POST", "/", "Content-Length: 5", "Transfer-Encoding: chunked"), 400, "length-ambiguous"),
        (request("POST", "/", "Transfer-Encoding: gzip, chunked"), 501, "transfer-encoding-unknown"),
        (request("POST", "/", "Expect: miracles", "Content-Length: 5"), 417, "expectation-unknown"),
        (request("GET", "/", version="2.0"), 505, "version-unsupported"),
        (request("POST", "/", "Transfer-Encoding: chunked", body=b"5\r\nhelloX"), 400, "chunk-end-invalid"),
        (sized("/", b"x" * 1001), 413, "body-too-large"),
        (chunked("/", b"x" * 1001), 413, "body-too-large"),
    ],
)
def test_an_invalid_request_is_refused_and_logged_by_name(link: Link, data: bytes, status: int, name: str) -> None:
    link.feed(data, State.LINGERING)
    is_head = data.startswith(b"HEAD")
    answer = link.client.answer(method="HEAD" if is_head else "GET")
    assert answer.status == status
    assert is_head or answer.refused == name
    assert link.client.rest() == b""
    assert answer.headers["connection"] == "close"
    assert "date" in answer.headers
    assert link.calls == []
    (record,) = link.logged()
    assert (record["status"], record["error"]) == (status, name)
    link.client.socket.close()
    link.reach(State.CLOSED)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"HEAD / HTTP/1.1\n", 400),
        (b"HEAD\t/ HTTP/1.1\r\n\r\n", 400),
        (b"HEAD\0", 400),
        (b"HEAD /\r\n\r\n", 400),
        (b"\r\nHEAD  / HTTP/1.1\r\n\r\n", 400),
        (b"\r\n" * 9 + b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (request("HEAD", "/", "Host: a"), 400),
        (request("HEAD", "/", "Range: a", "Range: a"), 400),
        (request("HEAD", "index.html"), 400),
        (request("HEAD", "/" + "x" * 9000), 414),
        (request("HEAD", "/", *["X: y"] * 101), 431),
        (request("HEAD", "/", "X: " + "y" * 70_000), 431),
        (request("HEAD", "/", version="2.0"), 505),
        (request("HEAD", "/", "Expect: miracles"), 417),
        (request("HEAD", "/", "Content-Length: x"), 400),
        (request("HEAD", "/", "Content-Length: 1001"), 413),
        (request("HEAD", "/", "Transfer-Encoding: gzip"), 400),
        (request("HEAD", "/", "Transfer-Encoding: chunked", body=b"z"), 400),
        (request("HEAD", "/raise"), 500),
    ],
)
def test_a_response_to_head_has_no_content(link: Link, data: bytes, status: int) -> None:
    """RFC 9110, section 9.3.2: in responses of the application and of the server."""
    link.client.send(data)
    link.reach(State.CLOSED if status == 500 else State.LINGERING)
    answer = link.client.answer(method="HEAD")
    assert answer.status == status
    assert int(answer.headers["content-length"]) > 0, "the length of the response to GET"
    assert link.client.rest() == b""


@pytest.mark.parametrize(
    "data", [b"HEADER / HTTP/1.1\r\n\r\n", b"head / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHEAD \r\n\r\n"]
)
def test_a_refusal_of_a_method_similar_to_head_has_content(link: Link, data: bytes) -> None:
    link.feed(data, State.LINGERING)
    assert link.client.answer().refused in {"host-missing", "head-malformed"}


def test_a_refusal_of_a_pipelined_head_request_has_no_content(link: Link) -> None:
    link.feed(request("GET", "/big-3") + b"HEAD / HTTP/1.1\r\n\r\n", State.LINGERING)
    assert link.client.answer().body == b"xxx"
    assert link.client.answer(method="HEAD").status == 400
    assert link.client.rest() == b""


@pytest.mark.parametrize(
    ("data", "state"),
    [
        (b"HEAD / HTTP/1.1\r\n", State.HEAD),
        (b"HEAD ", State.HEAD),
        (request("HEAD", "/", "Content-Length: 5"), State.BODY),
        (request("HEAD", "/", "Transfer-Encoding: chunked"), State.BODY),
    ],
)
def test_the_408_for_a_head_request_has_no_content(link: Link, data: bytes, state: State) -> None:
    link.client.send(data)
    poll(lambda: (link.drive(), not link.connection._receiver.is_idle)[1], "the request")  # noqa: SLF001
    link.reach(state)
    link.expire(State.LINGERING)
    assert link.client.answer(method="HEAD").status == 408
    assert link.client.rest() == b""


def test_a_refusal_of_a_head_request_with_a_truncated_body_has_no_content(link: Link) -> None:
    link.client.send(request("HEAD", "/", "Content-Length: 5", body=b"he")).socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)
    assert link.client.answer(method="HEAD").status == 400
    assert link.client.rest() == b""


def test_the_429_for_a_head_request_has_no_content(link: Link) -> None:
    """The request has arrived but is not read yet."""
    link.client.send(request("HEAD", "/"))
    assert select.select([link.connection.socket], [], [], PATIENCE)[0]
    link.verdict = link.connection.turn_away(NOW)
    link.reach(State.LINGERING)
    assert link.client.answer(method="HEAD").status == 429
    link.client.socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)
    assert link.client.rest() == b""


def test_the_504_for_a_head_request_has_no_content(link: Link) -> None:
    thread = hang(link, "/hang", method="HEAD")
    assert link.connection.exchange.time_out(link.connection.exchange.response, 5.0, "")
    link.connection.note_time_out(NOW + 5)
    assert link.client.answer(method="HEAD").status == 504
    assert link.client.rest() == b""
    link.calls.gate.set()
    thread.join(PATIENCE)
    assert link.connection.resume(NOW + 6) is Verdict.CLOSE


def test_a_valid_request_before_an_invalid_one_is_served(link: Link) -> None:
    link.feed(request("GET", "/big-3") + b"GARBAGE\r\n\r\n", State.LINGERING)
    assert [link.client.answer().status for _ in range(2)] == [200, 400]
    assert len(link.calls) == 1


def test_a_request_that_arrives_as_the_keep_alive_time_ends_is_served(link: Link) -> None:
    """The loop is about to close an idle connection and has not read its new request yet."""
    assert link.fetch(request("GET", "/")).status == 200
    link.client.send(request("GET", "/"))
    assert select.select([link.connection.socket], [], [], PATIENCE)[0]
    link.verdict = link.connection.expire(link.connection.deadline)
    link.reach(State.HEAD)
    assert link.client.answer().status == 200
    link.expire(State.CLOSED)
    assert link.client.rest() == b""


def test_a_client_that_is_still_sending_can_read_the_refusal(link: Link) -> None:
    """It reads only after it has sent everything: an immediate close would cause a reset."""
    link.feed(request("POST", "/", "Content-Length: 999999999"), State.LINGERING)
    for _ in range(100):
        link.client.send(b"x" * 65_536)
        link.drive()
    assert link.client.answer().status == 413
    link.expire(State.CLOSED)


def test_a_client_that_sends_more_can_still_read_the_last_response(link: Link) -> None:
    """A close with unread data causes a reset, which destroys responses: RFC 9112, section 9.6."""
    link.feed(request("GET", "/big-9000", "Connection: close") + b"x" * 100_000, State.LINGERING)
    link.feed(b"x" * 100_000, State.LINGERING)
    assert link.client.answer().body == b"x" * 9000
    link.client.socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)


def test_lingering_is_bounded(link: Link) -> None:
    link.feed(b"GARBAGE\r\n\r\n", State.LINGERING)
    link.feed(b"more", State.LINGERING, NOW + 5)
    assert link.connection.deadline == NOW + LINGER_TIME


def test_a_truncated_body_is_logged_and_never_reaches_the_application(link: Link, events: Events) -> None:
    for data, received, expected in (
        (sized("/", b"hello")[:-1], 4, 5),
        (chunked("/", b"hello")[:-1], 5, "unknown"),
        (sized("/", b"x" * 500)[:-1], 499, 500),
    ):
        link = Link()
        link.client.send(data).socket.shutdown(socket.SHUT_WR)
        link.reach(State.CLOSED)
        assert link.client.answer().status == 400
        assert link.calls == []
        assert link.logged()[0]["error"] == "body-incomplete"
        (event,) = events()
        assert event["event"] == "body-incomplete"
        assert (event["received_bytes"], event["expected_bytes"]) == (received, expected)
        link.close()


def test_a_reset_during_a_body_is_logged_and_calls_no_application(link: Link, events: Events) -> None:
    link.feed(sized("/", b"hello")[:-1], State.BODY)
    link.reset()
    link.reach(State.CLOSED)
    assert link.calls == []
    assert [event["event"] for event in events()] == ["body-incomplete"]


@pytest.mark.parametrize("file_limit", [300, 900])
def test_a_body_that_finds_no_disk_space_gets_507(tmp_path: Path, file_limit: int, events: Events) -> None:
    """The client gets 507, and the log has the reason. The application is not called."""
    link = Link(str(tmp_path))
    link.feed(sized("/", b"x" * 1000)[:-800], State.BODY)
    with limited(resource.RLIMIT_FSIZE, file_limit):
        link.feed(b"x" * 800, State.LINGERING)
    assert link.client.answer().status == 507
    assert link.calls == []
    (event,) = events()
    assert event["event"] == "spool-failed"
    assert "File too large" in event["error"]
    link.close()
