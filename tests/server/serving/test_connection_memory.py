"""The state of a waiting connection: memory, deadlines, and responses for slow readers."""

import re
import socket

import pytest

from tests.server.serving.link import NOW, Answers, Link
from tests.wire.building import chunked, request, sized
from tests.wire.polling import poll
from wsgiserver.serving.context import DEFAULT_BUDGET
from wsgiserver.serving.states import State, Verdict

LARGE = request("GET", "/", "X: " + "x" * 10_000)
LARGE_BODY = sized("/", b"hello", "X: " + "x" * 10_000)


@pytest.mark.parametrize(
    ("data", "state", "held"),
    [
        (b"", State.HEAD, 0),
        (LARGE[:-1], State.HEAD, len(LARGE) - 1),
        (LARGE, State.HEAD, 0),
        (LARGE + b"GET", State.HEAD, 3),
        (LARGE_BODY[:-1], State.BODY, len(LARGE_BODY) - 5),
        (LARGE_BODY, State.HEAD, 0),
        (chunked("/", b"hello", size=5)[:-14], State.BODY, len(request("POST", "/", "Transfer-Encoding: chunked")) + 1),
        (LARGE + b"no head\r\n\r\n", State.LINGERING, 0),
        (request("GET", "/big-9000000") + LARGE, State.SENDING, len("/big-9000000") + len(LARGE)),
    ],
)
def test_the_memory_that_a_waiting_connection_holds_is_counted(
    link: Link, data: bytes, state: State, held: int
) -> None:
    link.client.send(data)
    receive = link.connection.socket
    poll(lambda: not data or len(receive.recv(1 << 20, socket.MSG_PEEK)) == len(data), "all data to arrive")
    counted = poll(lambda: (link.drive(), link.connection.state is state)[1] and (link.connection.held,), str(state))
    assert counted == (held,)
    assert link.context.heads.left == DEFAULT_BUDGET - held
    link.reset()
    poll(
        lambda: link.drive(NOW + 1) is Verdict.CLOSE or link.connection.state is State.LINGERING,
        "the connection to end",
    )
    assert link.context.heads.left == DEFAULT_BUDGET


@pytest.mark.parametrize("data", [LARGE[:-1], LARGE_BODY[:-1]], ids=["head", "body"])
def test_a_connection_closed_to_free_memory_gets_503(link: Link, data: bytes) -> None:
    link.client.send(data)
    poll(lambda: (link.drive(), link.connection.held > 10_000)[1], "all data to arrive")
    link.verdict = link.connection.relieve(NOW)
    link.reach(State.LINGERING)
    assert link.context.heads.left == DEFAULT_BUDGET
    answer = link.client.answer()
    assert (answer.status, answer.refused) == (503, "overloaded")
    assert link.client.rest() == b""
    assert link.calls == []


def test_a_pipelined_request_is_dropped_when_memory_is_short(link: Link) -> None:
    """The client gets the first response in full; then the connection ends without a second one."""
    data = request("GET", "/big-9000000") + sized("/", b"x" * 900, "X: " + "x" * 10_000)
    link.client.send(data)
    poll(lambda: len(link.connection.socket.recv(1 << 20, socket.MSG_PEEK)) == len(data), "all data to arrive")
    link.reach(State.SENDING)
    link.verdict = link.connection.relieve(NOW)
    assert link.connection.held == len("/big-9000000")
    answers = Answers(link.client, 1)
    poll(lambda: link.drive() is Verdict.CLOSE, "the connection to end")
    (answer,) = answers.all()
    assert len(answer.body) == 9_000_000
    assert link.client.rest() == b""
    assert [environ["PATH_INFO"] for environ in link.calls] == ["/big-9000000"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_response_not_read_in_time_ends_with_a_reset(link: Link, version: str) -> None:
    """Without a reset, an HTTP/1.0 client would take the end for the end of the response."""
    link.client.send(request("GET", "/stream-9000", version=version))
    link.reach(State.SENDING)
    link.expire(State.CLOSED)
    with pytest.raises(ConnectionResetError):
        link.client.rest()


@pytest.mark.parametrize(
    ("data", "state", "patience", "status"),
    [
        (b"", State.HEAD, 10, 0),
        (b"\r\n", State.HEAD, 10, 0),
        (b"GET", State.HEAD, 10, 408),
        (sized("/", b"hello")[:-1], State.BODY, 20, 408),
        (chunked("/", b"hello")[:-1], State.BODY, 20, 408),
        (request("GET", "/"), State.HEAD, 75, 200),
        (request("GET", "/") + b"GET", State.HEAD, 10, 200),
    ],
)
def test_each_state_has_its_deadline_and_status(
    link: Link, data: bytes, state: State, patience: float, status: int
) -> None:
    if data:
        link.feed(data, state)
    poll(lambda: (link.drive(), link.connection.deadline == NOW + patience)[1], "the deadline")
    link.verdict = link.connection.expire(link.connection.deadline)
    link.drive()
    if status:
        assert link.client.answer().status == status
    if status == 408:
        link.expire(State.CLOSED)
    assert link.client.rest().startswith(b"HTTP/1.1 408" if data.endswith(b"\r\n\r\nGET") else b"")


def test_a_slow_head_has_one_deadline_and_a_slow_body_one_for_each_piece(link: Link) -> None:
    link.feed(b"GET", State.HEAD, NOW + 1)
    poll(lambda: (link.drive(), link.connection.deadline == NOW + 11)[1], "the deadline of the head")
    link.feed(b" / HTTP", State.HEAD, NOW + 5)
    assert link.connection.deadline == NOW + 11
    link.feed(b"/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", State.BODY, NOW + 6)
    assert link.connection.deadline == NOW + 26
    link.feed(b"h", State.BODY, NOW + 20)
    poll(lambda: (link.drive(NOW + 20), link.connection.deadline == NOW + 40)[1], "the deadline of the body")


def test_a_slow_body_has_to_keep_a_minimum_rate(link: Link) -> None:
    """The limit is 60 s plus a second per 1,000 bytes. A piece every 15 s keeps the connection but is too slow."""
    link.feed(request("POST", "/", "Content-Length: 900"), State.BODY, NOW)
    for now in (15, 30, 45):
        link.feed(b"x" * 250, State.BODY, NOW + now)
        assert link.connection.deadline > NOW + now
    poll(lambda: (link.drive(NOW + 45), link.connection.deadline == NOW + 60.75)[1], "the deadline of the whole body")
    link.expire(State.LINGERING)
    assert link.client.answer().refused == "body-too-slow"
    assert link.calls == []


def test_a_valid_request_id_is_kept_and_an_invalid_one_is_replaced(link: Link) -> None:
    """A valid id is reused; other requests get a new id."""
    for sent in ("abc-1", "", "a b", "x" * 129, '"', "caf\xe9"):
        link.fetch(request("GET", "/", f"X-Request-ID: {sent}") if sent else request("GET", "/"))
    ids = [record["request_id"] for record in link.logged()]
    assert ids[0] == "abc-1"
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids[1:])
    assert len(set(ids)) == 6
    assert [environ["HTTP_X_REQUEST_ID"] for environ in link.calls] == ids
