"""The states of a connection: served requests, 100 Continue, draining, and the table of states."""

import random
import select
import socket
from typing import Any

import pytest

from tests.server.serving.link import BIG, NOW, Link, check
from tests.wire.building import chunked, request, sized
from tests.wire.polling import PATIENCE, poll
from wsgiserver.serving.states import MOVES, State, Verdict


@pytest.mark.parametrize(
    ("data", "bodies", "state"),
    [
        (request("GET", "/"), [b""], State.HEAD),
        (sized("/", b"hello"), [b"hello"], State.HEAD),
        (sized("/", b"x" * 1000), [b"x" * 1000], State.HEAD),  # larger than the limit in memory
        (chunked("/", b"hello"), [b"hello"], State.HEAD),
        (chunked("/", b"x" * 1000, size=7), [b"x" * 1000], State.HEAD),
        (chunked("/", b""), [b""], State.HEAD),
        (sized("/", b""), [b""], State.HEAD),
        # pipelined requests of any framing, in order
        (request("GET", "/big-3") * 3, [b"xxx"] * 3, State.HEAD),
        (sized("/", b"one") + chunked("/", b"two") + request("GET", "/big-1"), [b"one", b"two", b"x"], State.HEAD),
        (request("GET", "/big-100000") + request("GET", "/big-1"), [b"x" * 100_000, b"x"], State.HEAD),
        (request("GET", "/stream-30") + request("GET", "/big-1"), [b"y" * 30_000, b"x"], State.HEAD),
        # none after a request that closes the connection
        (request("GET", "/", "Connection: close"), [b""], State.CLOSED),
        (request("GET", "/") + request("GET", "/", "Connection: close") * 2, [b"", b""], State.LINGERING),
        (request("GET", "/", version="1.0"), [b""], State.CLOSED),
        (request("GET", "/", "Connection: keep-alive", version="1.0"), [b""], State.HEAD),
        (request("GET", "/stream-3", "Connection: keep-alive", version="1.0"), [b"y" * 3000], State.CLOSED),
        (sized("/", b"hi", "Connection: close"), [b"hi"], State.CLOSED),
    ],
)
def test_requests_are_served(link: Link, data: bytes, bodies: list[bytes], state: State) -> None:
    check(link, data, *bodies, state=state)
    assert [record["status"] for record in link.logged()] == [200] * len(bodies)


def test_requests_that_arrive_byte_by_byte_are_served(link: Link) -> None:
    data = chunked("/", b"hello world", size=3) + sized("/", b"again")
    for n in range(len(data)):
        link.client.send(data[n : n + 1])
        select.select([link.connection.socket], [], [], PATIENCE)
        link.drive()
    assert [link.client.answer().body for _ in range(2)] == [b"hello world", b"again"]


def test_the_environ_has_the_received_request(link: Link) -> None:
    link.fetch(chunked("/a%20b?c", b"hello", "X-Forwarded-For: 1.1.1.1"))
    (environ,) = link.calls
    assert (environ["CONTENT_LENGTH"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("5", "/a b", "c")
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_X_FORWARDED_FOR"} & set(environ)


def test_trailers_are_kept_apart_from_the_headers(link: Link) -> None:
    link.fetch(
        request("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\nAccept: evil\r\nX-Sum: 7\r\n\r\n")
    )
    (environ,) = link.calls
    assert environ["wsgiserver.trailers"] == {"accept": "evil", "x-sum": "7"}
    assert "HTTP_ACCEPT" not in environ
    assert "HTTP_X_SUM" not in environ


def test_trailers_do_not_carry_over_to_the_next_request(link: Link) -> None:
    link.fetch(request("POST", "/", "Transfer-Encoding: chunked", body=b"0\r\nX: y\r\n\r\n"))
    link.fetch(chunked("/", b"x"))
    assert "wsgiserver.trailers" not in link.calls[1]


def test_a_half_closed_client_gets_its_response(link: Link) -> None:
    link.client.send(sized("/", b"hello")).socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)
    assert link.client.answer().body == b"hello"
    assert link.client.rest() == b""


def test_a_request_is_logged_with_its_sizes_and_times(link: Link) -> None:
    link.feed(sized("/?q", b"x" * 500, "X-Request-ID: abc"), now=NOW + 5)
    (record,) = link.logged()
    expected: dict[str, Any] = {
        "event": "request",
        "client": "127.0.0.1",
        "request_id": "abc",
        "method": "POST",
        "path": "/",
    }
    expected |= {
        "status": 200,
        "received_bytes": 500,
        "sent_bytes": 500,
        "framing": "length",
        "spool": "file",
        "error": "",
    }
    assert {key: record[key] for key in expected} == expected
    assert 0 <= record["receive_seconds"] < 1


def test_pipelined_requests_do_not_inherit_the_time_of_earlier_requests(link: Link) -> None:
    link.client.send(request("GET", "/"))
    link.reach(State.HEAD)
    link.client.answer()
    link.client.send(request("GET", "/") + b"GET")
    poll(lambda: (link.drive(NOW + 50), not link.connection._receiver.is_idle)[1], "a part of a head")  # noqa: SLF001
    assert link.connection.deadline == NOW + 60, "a partial head has a head's deadline"
    link.feed(request("GET", "/")[3:], now=NOW + 55)
    assert link.logged()[-1]["receive_seconds"] == pytest.approx(5)


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_client_that_expects_100_continue_gets_it(link: Link, framing: str) -> None:
    link.feed(request("PUT", "/", "Expect: 100-continue", framing), State.BODY)
    assert (answer := link.client.answer()).status == 100
    assert (dict(answer.headers), answer.body) == ({}, b"")
    link.feed(b"hello" if "Length" in framing else b"5\r\nhello\r\n0\r\n\r\n")
    assert link.client.answer().body == b"hello"


def test_a_client_that_sends_its_body_at_once_gets_no_100_continue(link: Link) -> None:
    assert link.fetch(sized("/", b"hello", "Expect: 100-continue")).body == b"hello"


def test_a_body_that_is_too_large_is_refused_instead_of_100_continue(link: Link) -> None:
    link.feed(request("PUT", "/", "Expect: 100-continue", "Content-Length: 1001"), State.LINGERING)
    assert link.client.answer().status == 413
    assert link.client.rest() == b""


def test_draining_closes_the_connection_after_the_response(link: Link) -> None:
    link.context.drain()
    link.feed(request("GET", "/") + request("GET", "/"), State.LINGERING)
    assert link.client.answer().headers["connection"] == "close"
    assert link.client.rest() == b""


@pytest.mark.parametrize(
    ("data", "state", "deadline"),
    [
        (b"", State.HEAD, 1),
        (request("GET", "/"), State.HEAD, 1),
        (b"GET", State.HEAD, 10),
        (b"GET\r\n\r\n", State.LINGERING, 1),
        (sized("/", b"ab")[:-1], State.BODY, 20),
    ],
)
def test_draining_shortens_the_deadline_of_idle_connections_only(
    link: Link, data: bytes, state: State, deadline: float
) -> None:
    if data:
        link.feed(data, state)
        poll(lambda: (link.drive(), data != b"GET" or not link.connection._receiver.is_idle)[1], "all data to arrive")  # noqa: SLF001
    link.connection.drain(NOW, 1)
    assert link.connection.deadline == NOW + deadline


def test_the_table_of_state_transitions_is_complete() -> None:
    assert set(MOVES) == set(State)
    assert MOVES[State.CLOSED] == frozenset()
    assert all(State.CLOSED in MOVES[state] for state in State if state is not State.CLOSED)


def random_walk(chance: random.Random) -> None:
    """A client that acts at random, and a clock that does the same."""
    link = Link(memory=chance.choice([0, 100]), max_body=100_000)
    pieces = [
        request("GET", "/"),
        request("GET", "/big-200000"),
        request("GET", f"/big-{BIG // 4}"),
        request("GET", "/stream-300"),
        request("GET", "/raise"),
        request("GET", "/cut-5000"),
        request("GET", "/badclose"),
        request("GET", "/long-1"),
        request("GET", "/", "Connection: close"),
        sized("/", b"x" * 90_000),
        chunked("/", b"x" * 5000, size=100),
        request("PUT", "/", "Expect: 100-continue", "Content-Length: 10"),
        b"GARBAGE\r\n\r\n",
        b"\r\n",
    ]
    is_connected, now = True, NOW
    client = link.client.socket
    client.setblocking(False)
    for _ in range(chance.randrange(1, 30)):
        if link.drive(now) is Verdict.CLOSE:
            break
        now += chance.choice([0, 0, 1])
        action = chance.randrange(12)
        try:
            if action < 6 and is_connected:
                piece = chance.choice(pieces)
                client.send(piece[: chance.choice([len(piece), len(piece), chance.randrange(len(piece))])])
            elif action < 9 and is_connected:
                client.recv(chance.choice([100, 1 << 20]))
            elif action == 9 and is_connected:
                client.shutdown(socket.SHUT_WR)
            elif action == 10 and is_connected and chance.random() < 0.5:
                link.reset() if chance.random() < 0.5 else client.close()
                is_connected = False
            elif action == 11 and link.connection.state is not State.APPLICATION:
                now = max(now, link.connection.deadline)
                link.verdict = link.connection.expire(now)
        except OSError:
            continue
    link.close()


def test_random_clients_cause_only_legal_state_transitions(capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(150):
        random_walk(random.Random(seed))
    capfd.readouterr()
