"""One client's socket through its states, over real TCP, driven the way the loop drives it.

`Link` holds both ends. Its `drive` does what the last verdict asked for as long as the socket allows; clocks are
arguments, so deadlines are met by saying that it is later.
"""

import json
import os
import random
import re
import resource
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.harness import PATIENCE, Answer, Client, chunked, limited, poll, request, sized
from wsgiserver.accesslog import AccessLog
from wsgiserver.connection import LINGER, Connection
from wsgiserver.environ import Trust, template
from wsgiserver.receiver import Limits
from wsgiserver.service import ENOUGH, Service
from wsgiserver.states import MOVES, State, Verdict

Start = Callable[..., Callable[[bytes], None]]
NOW = 1000.0
RESET = struct.pack("ii", 1, 0)


class Asked(list[dict[str, Any]]):
    """An application that remembers what it was asked, and answers by path. /hang lasts until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()

    def hang(self) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE)

    def hanging(self, where: str, start_response: Start) -> Iterator[bytes]:
        if where == "middle":
            start_response("200 OK", [])
            yield b"first"
        self.hang()
        if where == "fail":
            raise ValueError("on purpose")
        if where != "middle":
            start_response("200 OK", [])
        yield b"second"

    path = Path("/nowhere")  # the file that is downloaded

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Any:
        body = environ["wsgi.input"].read()
        self.append(environ | {"body": body})
        name, _, size = environ["PATH_INFO"].strip("/").partition("-")
        if name == "raise":
            raise ValueError("on purpose")
        if name == "exit":
            raise GeneratorExit
        if name == "hint":
            environ["wsgi.early_hints"]([("Link", "</a>")])
        if name == "hang":
            return self.hanging(size, start_response)
        start_response("200 OK", [("Content-Length", size)] if name in {"short", "long"} else [])
        if name == "stream":
            return stream(int(size))
        if name == "cut":
            return cut(int(size))
        if name == "file":
            return environ["wsgi.file_wrapper"](self.path.open("rb"))
        if name in {"badclose", "slowclose"}:
            return BadClose() if name == "badclose" else SlowClose([b"x" * BIG])
        return [b"x" * int(size or 0)] if name == "big" else [b"ab" if name in {"short", "long"} else body]


def stream(size: int) -> Iterator[bytes]:
    for _ in range(size):
        yield b"y" * 1000


def cut(size: int) -> Iterator[bytes]:
    yield b"z" * size
    raise ValueError("in the middle")


class BadClose(list[bytes]):
    def __iter__(self) -> Iterator[bytes]:
        yield b"whole"

    def close(self) -> None:
        raise ValueError("in close")


class Link:
    """A connection, its client, the application's memory and the log. `wrap` may put something round its socket."""

    def __init__(
        self,
        folder: str | None = None,
        wrap: Callable[[socket.socket], socket.socket] = lambda sock: sock,
        **limits: int,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = Client(socket.create_connection(listener.getsockname()))
            sock, address = listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = wrap(sock)
        self.asked = Asked()
        self._log_reader, self._log_writer = os.pipe2(os.O_NONBLOCK)
        self.service = Service(
            application=self.asked,
            log=AccessLog(self._log_writer),
            trust=Trust([]),
            limits=Limits(limits.get("max_body", 1000), limits.get("memory", 100), folder),
            head_timeout=10,
            body_idle_timeout=20,
            body_timeout=60,
            body_rate=1000,
            keep_alive=75,
            send_timeout=30,
        )
        base = template("srv", 80, sys.stderr, threads=True, processes=False)
        self.connection = Connection(sock, address, base, self.service, NOW)
        self.verdict = Verdict.READ

    def drive(self, now: float = NOW) -> Verdict:
        """Go on until the socket has to be waited for, or it is over."""
        connection = self.connection
        while True:
            if self.verdict is Verdict.RUN:
                connection.exchange.respond()
                self.verdict = connection.resume(now)
            elif self.verdict is Verdict.CLOSE:
                connection.socket.close()
                return self.verdict
            elif self.verdict is Verdict.READ:
                if not select.select([connection.socket], [], [], 0)[0]:
                    return self.verdict
                self.verdict = connection.receive(now)
            else:
                if not select.select([], [connection.socket], [], 0)[1]:
                    return self.verdict
                self.verdict = connection.flush(now)

    def reach(self, state: State, now: float = NOW) -> None:
        poll(lambda: (self.drive(now), self.connection.state is state)[1], f"{state}, now {self.connection.state}")

    def say(self, data: bytes | str, state: State = State.HEAD, now: float = NOW) -> None:
        """Send, and wait until the connection has made of it what it will."""
        self.client.send(data)
        assert select.select([self.connection.socket], [], [], PATIENCE)[0]
        self.reach(state, now)

    def expire(self, state: State) -> None:
        self.verdict = self.connection.expire(self.connection.deadline)
        self.reach(state)

    def ask(self, data: bytes | str, *, method: str = "GET") -> Answer:
        self.say(data)
        return self.client.answer(method=method)

    def logged(self) -> list[dict[str, Any]]:
        self.service.log.flush()
        try:
            return [json.loads(line) for line in os.read(self._log_reader, 1 << 20).splitlines()]
        except BlockingIOError:
            return []

    def reset(self) -> None:
        self.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.client.socket.close()

    def close(self) -> None:
        self.client.socket.close()
        if self.connection.state is not State.CLOSED:
            for later in range(1, 5):
                self.verdict = self.connection.expire(self.connection.deadline + later)
                if self.drive() is Verdict.CLOSE:
                    break
        assert self.connection.state is State.CLOSED
        self.connection.socket.close()
        os.close(self._log_reader)
        os.close(self._log_writer)
        os.close(self.service.log._fd)  # noqa: SLF001 - its own of the pipe, which it keeps while the process lives


class Answers(threading.Thread):
    """Reads some answers while the connection is driven."""

    def __init__(self, client: Client, count: int) -> None:
        super().__init__()
        self._client, self._count = client, count
        self._answers: list[Answer] = []
        self.start()

    def run(self) -> None:
        self._answers += [self._client.answer() for _ in range(self._count)]

    def all(self) -> list[Answer]:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self._answers


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link()
    yield made
    made.close()


@pytest.fixture
def events(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """Return what the server said of itself since the last call."""
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]


Events = Callable[[], list[dict[str, Any]]]


# --- Requests that are served -----------------------------------------------------------------------------------


def check(link: Link, data: bytes, *bodies: bytes, state: State = State.HEAD) -> None:
    """Each body is what an answer to the next of the requests in `data` holds."""
    link.say(data, state)
    for body in bodies:
        answer = link.client.answer()
        assert (answer.status, answer.body) == (200, body)
    assert len(link.asked) == len(bodies)
    for environ in link.asked:
        assert environ.get("CONTENT_LENGTH", "0") == str(len(environ["body"]))


@pytest.mark.parametrize(
    ("data", "bodies", "state"),
    [
        (request("GET", "/"), [b""], State.HEAD),
        (sized("/", b"hello"), [b"hello"], State.HEAD),
        (sized("/", b"x" * 1000), [b"x" * 1000], State.HEAD),  # larger than is kept in memory
        (chunked("/", b"hello"), [b"hello"], State.HEAD),
        (chunked("/", b"x" * 1000, size=7), [b"x" * 1000], State.HEAD),
        (chunked("/", b""), [b""], State.HEAD),
        (sized("/", b""), [b""], State.HEAD),
        # one after the other, in order, whatever their framing
        (request("GET", "/big-3") * 3, [b"xxx"] * 3, State.HEAD),
        (sized("/", b"one") + chunked("/", b"two") + request("GET", "/big-1"), [b"one", b"two", b"x"], State.HEAD),
        (request("GET", "/big-100000") + request("GET", "/big-1"), [b"x" * 100_000, b"x"], State.HEAD),
        (request("GET", "/stream-30") + request("GET", "/big-1"), [b"y" * 30_000, b"x"], State.HEAD),
        # and no more once one of them closes
        (request("GET", "/", "Connection: close"), [b""], State.CLOSED),
        (request("GET", "/") + request("GET", "/", "Connection: close") * 2, [b"", b""], State.LINGERING),
        (request("GET", "/", version="1.0"), [b""], State.CLOSED),
        (request("GET", "/", "Connection: keep-alive", version="1.0"), [b""], State.HEAD),
        (request("GET", "/stream-3", "Connection: keep-alive", version="1.0"), [b"y" * 3000], State.CLOSED),
        (sized("/", b"hi", "Connection: close"), [b"hi"], State.CLOSED),
    ],
)
def test_served(link: Link, data: bytes, bodies: list[bytes], state: State) -> None:
    check(link, data, *bodies, state=state)
    assert [record["status"] for record in link.logged()] == [200] * len(bodies)


def test_byte_by_byte(link: Link) -> None:
    data = chunked("/", b"hello world", size=3) + sized("/", b"again")
    for n in range(len(data)):
        link.client.send(data[n : n + 1])
        select.select([link.connection.socket], [], [], PATIENCE)
        link.drive()
    assert [link.client.answer().body for _ in range(2)] == [b"hello world", b"again"]


def test_environ_has_what_was_received(link: Link) -> None:
    link.ask(chunked("/a%20b?c", b"hello", "X-Forwarded-For: 1.1.1.1"))
    (environ,) = link.asked
    assert (environ["CONTENT_LENGTH"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("5", "/a b", "c")
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_X_FORWARDED_FOR"} & set(environ)


def test_trailers_are_offered_apart(link: Link) -> None:
    link.ask(
        request("POST", "/", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\nAccept: evil\r\nX-Sum: 7\r\n\r\n")
    )
    (environ,) = link.asked
    assert environ["wsgiserver.trailers"] == {"accept": "evil", "x-sum": "7"}
    assert "HTTP_ACCEPT" not in environ
    assert "HTTP_X_SUM" not in environ


def test_no_trailers_of_the_request_before(link: Link) -> None:
    link.ask(request("POST", "/", "Transfer-Encoding: chunked", body=b"0\r\nX: y\r\n\r\n"))
    link.ask(chunked("/", b"x"))
    assert "wsgiserver.trailers" not in link.asked[1]


def test_half_closed_client_gets_its_answer(link: Link) -> None:
    link.client.send(sized("/", b"hello")).socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)
    assert link.client.answer().body == b"hello"
    assert link.client.rest() == b""


def test_log_record(link: Link) -> None:
    link.say(sized("/?q", b"x" * 500, "X-Request-ID: abc"), now=NOW + 5)
    (record,) = link.logged()
    expected: dict[str, Any] = {
        "event": "request",
        "client": "127.0.0.1",
        "request_id": "abc",
        "method": "POST",
        "target": "/?q",
    }
    expected |= {"status": 200, "received": 500, "sent": 500, "framing": "length", "spool": "file", "refused": ""}
    assert {key: record[key] for key in expected} == expected
    assert 0 <= record["receive"] < 1


def test_pipelined_requests_do_not_inherit_the_time_of_those_before(link: Link) -> None:
    link.client.send(request("GET", "/"))
    link.reach(State.HEAD)
    link.client.answer()
    link.client.send(request("GET", "/") + b"GET")
    poll(lambda: (link.drive(NOW + 50), not link.connection._receiver.is_idle)[1], "a piece of a head")  # noqa: SLF001
    assert link.connection.deadline == NOW + 60, "what is there of a head has a head's deadline"
    link.say(request("GET", "/")[3:], now=NOW + 55)
    assert link.logged()[-1]["receive"] == pytest.approx(5)


# --- What waits in memory ---------------------------------------------------------------------------------------

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
def test_what_waits_is_reckoned(link: Link, data: bytes, state: State, held: int) -> None:
    link.client.send(data)
    receive = link.connection.socket
    poll(lambda: not data or len(receive.recv(1 << 20, socket.MSG_PEEK)) == len(data), "all of it")
    reckoned = poll(lambda: (link.drive(), link.connection.state is state)[1] and (link.connection.held,), str(state))
    assert reckoned == (held,)
    assert link.service.heads.left == ENOUGH - held
    link.reset()
    poll(lambda: link.drive(NOW + 1) is Verdict.CLOSE or link.connection.state is State.LINGERING, "the end")
    assert link.service.heads.left == ENOUGH


@pytest.mark.parametrize("data", [LARGE[:-1], LARGE_BODY[:-1]])
def test_who_holds_memory_that_is_wanted_is_told(link: Link, data: bytes) -> None:
    link.client.send(data)
    poll(lambda: (link.drive(), link.connection.held > 10_000)[1], "all of it")
    link.verdict = link.connection.relieve(NOW)
    link.reach(State.LINGERING)
    assert link.service.heads.left == ENOUGH
    answer = link.client.answer()
    assert (answer.status, answer.refused) == (503, "overloaded")
    assert link.client.rest() == b""
    assert link.asked == []


def test_what_came_behind_an_answer_under_way_is_not_run_for_want_of_memory(link: Link) -> None:
    """The answer comes whole, and the end of the connection says that there was no other."""
    data = request("GET", "/big-9000000") + sized("/", b"x" * 900, "X: " + "x" * 10_000)
    link.client.send(data)
    poll(lambda: len(link.connection.socket.recv(1 << 20, socket.MSG_PEEK)) == len(data), "all of it")
    link.reach(State.SENDING)
    link.verdict = link.connection.relieve(NOW)
    assert link.connection.held == len("/big-9000000")
    answers = Answers(link.client, 1)
    poll(lambda: link.drive() is Verdict.CLOSE, "the end")
    (answer,) = answers.all()
    assert len(answer.body) == 9_000_000
    assert link.client.rest() == b""
    assert [environ["PATH_INFO"] for environ in link.asked] == ["/big-9000000"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_answer_that_is_not_taken_in_time_does_not_look_whole(link: Link, version: str) -> None:
    """Where the end of the connection marks that of the answer, it is a reset."""
    link.client.send(request("GET", "/stream-9000", version=version))
    link.reach(State.SENDING)
    link.expire(State.CLOSED)
    with pytest.raises(ConnectionResetError):
        link.client.rest()


# --- 100 Continue -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_continue_when_the_body_is_wanted(link: Link, framing: str) -> None:
    link.say(request("PUT", "/", "Expect: 100-continue", framing), State.BODY)
    assert link.client.answer() == Answer(100, {}, b"")
    link.say(b"hello" if "Length" in framing else b"5\r\nhello\r\n0\r\n\r\n")
    assert link.client.answer().body == b"hello"


def test_no_continue_for_who_does_not_wait(link: Link) -> None:
    assert link.ask(sized("/", b"hello", "Expect: 100-continue")).body == b"hello"


def test_too_large_is_refused_before_continue(link: Link) -> None:
    link.say(request("PUT", "/", "Expect: 100-continue", "Content-Length: 1001"), State.LINGERING)
    assert link.client.answer().status == 413
    assert link.client.rest() == b""


# --- Refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status", "name"),
    [
        (b"GARBAGE\r\n\r\n", 400, "head-malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "host-missing"),
        (request("GET", "/" + "x" * 9000), 414, "line-too-long"),
        (request("GET", "/", *["X: y"] * 101), 431, "head-too-large"),
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
def test_refused(link: Link, data: bytes, status: int, name: str) -> None:
    link.say(data, State.LINGERING)
    is_head = data.startswith(b"HEAD")
    answer = link.client.answer(method="HEAD" if is_head else "GET")
    assert answer.status == status
    assert is_head or answer.refused == name
    assert link.client.rest() == b""
    assert answer.fields["connection"] == "close"
    assert "date" in answer.fields
    assert link.asked == []
    (record,) = link.logged()
    assert (record["status"], record["refused"]) == (status, name)
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
def test_an_answer_to_head_has_no_content(link: Link, data: bytes, status: int) -> None:
    """RFC 9110, section 9.3.2: whoever answers, and why."""
    link.client.send(data)
    link.reach(State.CLOSED if status == 500 else State.LINGERING)
    answer = link.client.answer(method="HEAD")
    assert answer.status == status
    assert int(answer.fields["content-length"]) > 0, "that of the answer to GET"
    assert link.client.rest() == b""


@pytest.mark.parametrize(
    "data", [b"HEADER / HTTP/1.1\r\n\r\n", b"head / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHEAD \r\n\r\n"]
)
def test_what_is_not_head_has_content(link: Link, data: bytes) -> None:
    link.say(data, State.LINGERING)
    assert link.client.answer().refused in {"host-missing", "head-malformed"}


def test_a_refused_head_behind_another_request_has_no_content(link: Link) -> None:
    link.say(request("GET", "/big-3") + b"HEAD / HTTP/1.1\r\n\r\n", State.LINGERING)
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
def test_a_head_that_is_late_has_no_content(link: Link, data: bytes, state: State) -> None:
    link.client.send(data)
    poll(lambda: (link.drive(), not link.connection._receiver.is_idle)[1], "the request")  # noqa: SLF001
    link.reach(state)
    link.expire(State.LINGERING)
    assert link.client.answer(method="HEAD").status == 408
    assert link.client.rest() == b""


def test_a_head_whose_body_is_cut_short_has_no_content(link: Link) -> None:
    link.client.send(request("HEAD", "/", "Content-Length: 5", body=b"he")).socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)
    assert link.client.answer(method="HEAD").status == 400
    assert link.client.rest() == b""


def test_a_head_that_is_turned_away_has_no_content(link: Link) -> None:
    """It was not received yet, and is there."""
    link.client.send(request("HEAD", "/"))
    assert select.select([link.connection.socket], [], [], PATIENCE)[0]
    link.verdict = link.connection.turn_away(NOW)
    link.reach(State.LINGERING)
    assert link.client.answer(method="HEAD").status == 429
    link.client.socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)
    assert link.client.rest() == b""


def test_a_head_that_is_given_up_has_no_content(link: Link) -> None:
    thread = hang(link, "/hang", method="HEAD")
    assert link.connection.exchange.give_up(link.connection.exchange.response, 5.0, "")
    link.connection.note_given_up(NOW + 5)
    assert link.client.answer(method="HEAD").status == 504
    assert link.client.rest() == b""
    link.asked.gate.set()
    thread.join(PATIENCE)
    assert link.connection.resume(NOW + 6) is Verdict.CLOSE


def test_a_good_request_before_a_bad_one_is_served(link: Link) -> None:
    link.say(request("GET", "/big-3") + b"GARBAGE\r\n\r\n", State.LINGERING)
    assert [link.client.answer().status for _ in range(2)] == [200, 400]
    assert len(link.asked) == 1


def test_a_request_that_comes_in_the_last_moment_is_not_lost(link: Link) -> None:
    """An idle connection is about to be closed, and the loop has not read yet what has just arrived."""
    assert link.ask(request("GET", "/")).status == 200
    link.client.send(request("GET", "/"))
    assert select.select([link.connection.socket], [], [], PATIENCE)[0]
    link.verdict = link.connection.expire(link.connection.deadline)
    link.reach(State.HEAD)
    assert link.client.answer().status == 200
    link.expire(State.CLOSED)
    assert link.client.rest() == b""


def test_a_client_still_sending_can_read_the_refusal(link: Link) -> None:
    """It reads only after all is sent: a connection closed at once would answer it with a reset."""
    link.say(request("POST", "/", "Content-Length: 999999999"), State.LINGERING)
    for _ in range(100):
        link.client.send(b"x" * 65_536)
        link.drive()
    assert link.client.answer().status == 413
    link.expire(State.CLOSED)


def test_the_last_answer_can_be_read_by_a_client_that_has_said_more(link: Link) -> None:
    """What was not read makes a close a reset, and that destroys answers: RFC 9112, section 9.6."""
    link.say(request("GET", "/big-9000", "Connection: close") + b"x" * 100_000, State.LINGERING)
    link.say(b"x" * 100_000, State.LINGERING)
    assert link.client.answer().body == b"x" * 9000
    link.client.socket.shutdown(socket.SHUT_WR)
    link.reach(State.CLOSED)


def test_lingering_is_bounded(link: Link) -> None:
    link.say(b"GARBAGE\r\n\r\n", State.LINGERING)
    link.say(b"more", State.LINGERING, NOW + 5)
    assert link.connection.deadline == NOW + LINGER


def test_cut_short_body_is_logged_and_never_handed_on(link: Link, events: Events) -> None:
    for data, received, expected in (
        (sized("/", b"hello")[:-1], 4, 5),
        (chunked("/", b"hello")[:-1], 5, "unknown"),
        (sized("/", b"x" * 500)[:-1], 499, 500),
    ):
        link = Link()
        link.client.send(data).socket.shutdown(socket.SHUT_WR)
        link.reach(State.CLOSED)
        assert link.client.answer().status == 400
        assert link.asked == []
        assert link.logged()[0]["refused"] == "body-truncated"
        (event,) = events()
        assert (event["event"], event["received"], event["expected"]) == ("body-truncated", received, expected)
        link.close()


def test_reset_in_the_middle_of_a_body(link: Link, events: Events) -> None:
    link.say(sized("/", b"hello")[:-1], State.BODY)
    link.reset()
    link.reach(State.CLOSED)
    assert link.asked == []
    assert [event["event"] for event in events()] == ["body-truncated"]


@pytest.mark.parametrize("room", [300, 900])
def test_no_room_for_the_body(tmp_path: Path, room: int, events: Events) -> None:
    """The client is told 507, the log why; the application is never called."""
    link = Link(str(tmp_path))
    link.say(sized("/", b"x" * 1000)[:-800], State.BODY)
    with limited(resource.RLIMIT_FSIZE, room):
        link.say(b"x" * 800, State.LINGERING)
    assert link.client.answer().status == 507
    assert link.asked == []
    (event,) = events()
    assert event["event"] == "spool-failed"
    assert "File too large" in event["error"]
    link.close()


# --- Deadlines --------------------------------------------------------------------------------------------------


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
def test_deadlines(link: Link, data: bytes, state: State, patience: float, status: int) -> None:
    if data:
        link.say(data, state)
    poll(lambda: (link.drive(), link.connection.deadline == NOW + patience)[1], "the deadline")
    link.verdict = link.connection.expire(link.connection.deadline)
    link.drive()
    if status:
        assert link.client.answer().status == status
    if status == 408:
        link.expire(State.CLOSED)
    assert link.client.rest().startswith(b"HTTP/1.1 408" if data.endswith(b"\r\n\r\nGET") else b"")


def test_a_head_that_trickles_has_one_deadline_and_a_body_one_for_each_piece(link: Link) -> None:
    link.say(b"GET", State.HEAD, NOW + 1)
    poll(lambda: (link.drive(), link.connection.deadline == NOW + 11)[1], "the deadline of the head")
    link.say(b" / HTTP", State.HEAD, NOW + 5)
    assert link.connection.deadline == NOW + 11
    link.say(b"/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", State.BODY, NOW + 6)
    assert link.connection.deadline == NOW + 26
    link.say(b"h", State.BODY, NOW + 20)
    poll(lambda: (link.drive(NOW + 20), link.connection.deadline == NOW + 40)[1], "the deadline of the body")


# --- A client that is slow to read ------------------------------------------------------------------------------

BIG = 20_000_000  # more than loopback's buffers take


def test_a_body_that_trickles_has_to_keep_a_rate(link: Link) -> None:
    """60 s, and a second for each 1,000 bytes: a piece every 15 s is not silence, and not enough."""
    link.say(request("POST", "/", "Content-Length: 900"), State.BODY, NOW)
    for now in (15, 30, 45):
        link.say(b"x" * 250, State.BODY, NOW + now)
        assert link.connection.deadline > NOW + now
    poll(lambda: (link.drive(NOW + 45), link.connection.deadline == NOW + 60.75)[1], "the deadline of the whole")
    link.expire(State.LINGERING)
    assert link.client.answer().refused == "body-too-slow"
    assert link.asked == []


def test_request_ids(link: Link) -> None:
    """One that is fit to be repeated is; any other request gets a name of its own."""
    for sent in ("abc-1", "", "a b", "x" * 129, '"', "caf\xe9"):
        link.ask(request("GET", "/", f"X-Request-ID: {sent}") if sent else request("GET", "/"))
    ids = [record["request_id"] for record in link.logged()]
    assert ids[0] == "abc-1"
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids[1:])
    assert len(set(ids)) == 6
    assert [environ["HTTP_X_REQUEST_ID"] for environ in link.asked] == ids


# --- An application that hangs ----------------------------------------------------------------------------------


def hang(link: Link, target: str, version: str = "1.1", method: str = "GET") -> threading.Thread:
    """Have another thread in the application, until the gate of `link.asked` opens."""
    link.client.send(request(method, target, version=version))
    poll(lambda: link.connection.receive(NOW) is Verdict.RUN, "the request")
    thread = threading.Thread(target=link.connection.exchange.respond)
    thread.start()
    assert link.asked.entered.wait(PATIENCE)
    return thread


@pytest.mark.parametrize("target", ["/hang", "/hang-fail"])
def test_given_up_before_anything_was_sent(link: Link, events: Events, target: str) -> None:
    """The client hears 504, once; what the application says later reaches nobody."""
    thread = hang(link, target)
    connection = link.connection
    assert not connection.exchange.give_up(object(), 5.0, "")
    assert connection.exchange.give_up(connection.exchange.response, 5.0, "the stack")
    connection.note_given_up(NOW + 5)
    answer = link.client.answer()
    assert (answer.status, answer.fields["connection"]) == (504, "close")
    assert answer.refused == "application-timeout"
    (record,) = link.logged()
    assert (record["status"], record["refused"], record["application"]) == (504, "application-timeout", 5.0)
    link.asked.gate.set()
    thread.join(PATIENCE)
    assert connection.resume(NOW + 6) is Verdict.CLOSE
    assert link.client.rest() == b""
    assert link.logged() == []
    (event,) = [event for event in events() if event["event"] == "application-timeout"]
    assert (event["target"], event["stack"]) == (target, "the stack")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_given_up_in_the_middle(link: Link, version: str) -> None:
    """The client sees that it has not got all: in HTTP/1.0, where the end is the end, only a reset tells."""
    thread = hang(link, "/hang-middle", version)
    before = link.connection.exchange.progress
    assert before == link.connection.exchange.progress
    assert link.connection.exchange.give_up(link.connection.exchange.response, 5.0, "")
    with pytest.raises(ConnectionResetError):
        link.client.rest()
    link.asked.gate.set()
    thread.join(PATIENCE)
    assert link.connection.resume(NOW + 6) is Verdict.CLOSE
    (record,) = link.logged()
    assert (record["status"], record["refused"]) == (200, "application-timeout")


def test_a_call_that_has_ended_cannot_be_given_up(link: Link) -> None:
    link.client.send(request("GET", "/") * 2)
    poll(lambda: link.connection.receive(NOW) is Verdict.RUN, "the request")
    link.connection.exchange.respond()
    first = link.connection.exchange.response
    assert not link.connection.exchange.give_up(first, 5.0, "")
    link.verdict = link.connection.resume(NOW)
    assert not link.connection.exchange.give_up(first, 5.0, "")
    link.drive()
    assert link.client.answer().status == 200


@pytest.mark.parametrize("target", [f"/big-{BIG}", f"/stream-{BIG // 1000}"])
def test_slow_reader_is_left_to_the_loop(link: Link, target: str) -> None:
    link.say(request("GET", target) + request("GET", "/big-3"), State.SENDING)
    assert link.verdict is Verdict.WRITE
    assert link.connection.deadline == NOW + 30
    assert len(link.asked) == 1, "the next request waits for its turn"
    reader = Answers(link.client, 2)
    link.reach(State.HEAD, NOW + 1)
    assert [len(answer.body) for answer in reader.all()] == [BIG, 3]


def test_slow_reader_that_stops(link: Link) -> None:
    link.say(request("GET", f"/big-{BIG}"), State.SENDING)
    link.expire(State.CLOSED)
    (record,) = link.logged()
    assert record["status"] == 200
    assert 0 < record["sent"] < BIG, "what was kept and given up was not sent"


@pytest.mark.parametrize("how", ["reset", "close"])
def test_client_leaves_while_sending(link: Link, how: str) -> None:
    link.say(request("GET", f"/big-{BIG}"), State.SENDING)
    link.reset() if how == "reset" else link.client.socket.close()
    link.reach(State.CLOSED)
    assert [record["status"] for record in link.logged()] == [200]


@pytest.mark.parametrize("target", [f"/big-{BIG}", "/stream-9", "/raise"])
def test_client_leaves_before_its_answer(link: Link, target: str) -> None:
    link.client.send(request("GET", target))
    assert select.select([link.connection.socket], [], [], PATIENCE)[0]
    link.verdict = link.connection.receive(NOW)
    assert link.verdict is Verdict.RUN
    link.reset()
    link.reach(State.CLOSED)


@pytest.fixture
def download(link: Link, tmp_path: Path) -> Path:
    """Return the file that /file answers with."""
    link.asked.path = tmp_path / "download"
    link.asked.path.write_bytes(random.Random(9).randbytes(BIG))
    return link.asked.path


def is_open(path: Path) -> bool:
    return any(each.is_symlink() and each.readlink() == path for each in Path("/proc/self/fd").iterdir())


def test_a_download_is_left_to_the_loop(link: Link, download: Path) -> None:
    """The application's file is closed, its thread is free, nothing is spooled, and the next request waits."""
    link.say(request("GET", "/file") + request("GET", "/big-3"), State.SENDING)
    assert link.verdict is Verdict.WRITE
    assert len(link.asked) == 1
    reader = Answers(link.client, 2)
    link.reach(State.HEAD, NOW + 1)
    assert [answer.body for answer in reader.all()] == [download.read_bytes(), b"xxx"]
    assert [record["sent"] for record in link.logged()] == [BIG, 3]
    assert not is_open(download)


@pytest.mark.parametrize("how", ["reset", "close", "timeout"])
def test_a_download_that_is_given_up_leaves_no_descriptor(link: Link, download: Path, how: str) -> None:
    link.say(request("GET", "/file"), State.SENDING)
    assert is_open(download)
    if how == "timeout":
        link.expire(State.CLOSED)
    else:
        link.reset() if how == "reset" else link.client.socket.close()
        link.reach(State.CLOSED)
    assert not is_open(download)


def test_however_a_connection_ends_a_file_is_let_go(link: Link, download: Path) -> None:
    link.say(request("GET", "/file"), State.SENDING)
    link.verdict = link.connection.turn_away(NOW)
    link.expire(State.CLOSED)
    assert not is_open(download)


def test_a_file_that_shrinks_shows(link: Link, download: Path, events: Events) -> None:
    link.say(request("GET", "/file"), State.SENDING)
    os.truncate(download, 10)
    read_to_the_reset(link)
    assert not is_open(download)
    (event,) = events()
    assert "shorter" in event["error"]


class SlowClose(list[bytes]):
    """An answer whose close() takes so long that the watchdog gives it up."""

    link: Link

    def close(self) -> None:
        exchange = self.link.connection.exchange
        assert not exchange.give_up(exchange.response, 30, "stack")


def test_an_answer_that_is_whole_is_not_given_up_for_a_slow_close(link: Link) -> None:
    SlowClose.link = link
    link.say(request("GET", "/slowclose") * 2, State.SENDING)
    reader = Answers(link.client, 2)
    link.reach(State.HEAD)
    assert [(answer.status, len(answer.body)) for answer in reader.all()] == [(200, BIG)] * 2
    assert [(record["status"], record["refused"]) for record in link.logged()] == [(200, "")] * 2


def test_early_hints_and_pipelining(link: Link) -> None:
    link.say(request("GET", "/hint") + request("GET", "/big-3") + request("GET", "/hint"))
    answers = [link.client.answer() for _ in range(5)]
    assert [answer.status for answer in answers] == [103, 200, 200, 103, 200]
    assert answers[0].fields == {"link": "</a>"}


# --- Applications that fail -------------------------------------------------------------------------------------


def test_failure_before_anything_was_sent(link: Link, events: Events) -> None:
    for target in ("/raise", "/exit"):
        link = Link()
        link.say(request("GET", target), State.CLOSED)
        answer = link.client.answer()
        assert (answer.status, answer.fields["connection"]) == (500, "close")
        assert answer.refused == "application-failed"
        assert "on purpose" not in answer.body.decode()
        assert link.logged()[0]["status"] == 500
        (event,) = events()
        assert event["event"] == "application-error"
        assert "Traceback" in event["error"]
        link.close()


def test_failure_has_no_body_for_head(link: Link) -> None:
    link.say(request("HEAD", "/raise"), State.CLOSED)
    answer = link.client.answer(method="HEAD")
    assert answer.status == 500
    assert link.client.rest() == b""


@pytest.mark.parametrize("target", ["/cut-10", "/cut-100000", "/short-10", f"/cut-{BIG}"])
def test_failure_in_the_middle_shows(link: Link, target: str) -> None:
    """A reset and not an end, lest the part be taken for the whole."""
    link.client.send(request("GET", target))
    read_to_the_reset(link)


def read_to_the_reset(link: Link) -> None:
    with pytest.raises((ConnectionResetError, EOFError)):  # noqa: PT012 - the reset may come at any read
        while True:
            if link.connection.state is not State.CLOSED:
                select.select([link.connection.socket], [], [], 0.01)
                link.drive()
            assert link.client.socket.recv(1 << 20), "an end that looks like one"
    assert link.connection.state is State.CLOSED


@pytest.mark.parametrize(
    ("target", "body", "error"),
    [("/long-1", b"a", "longer than its Content-Length"), ("/badclose", b"whole", "in close")],
    ids=["it goes on beyond its length", "its end fails"],
)
def test_failure_after_a_whole_answer_adds_nothing_and_loses_no_request(
    link: Link, events: Events, target: str, body: bytes, error: str
) -> None:
    """Nobody was told that the connection would end: the next request may have been sent."""
    link.say(request("GET", target) + request("GET", "/big-4"))
    assert link.client.answer().body == body
    assert link.client.answer().body == b"xxxx"
    assert error in events()[0]["error"]


def test_broken_stderr_of_the_application(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    link.say(request("GET", "/raise"), State.CLOSED)
    assert link.client.answer().status == 500


# --- Draining ---------------------------------------------------------------------------------------------------


def test_draining_closes_after_the_answer(link: Link) -> None:
    link.service.draining = True
    link.say(request("GET", "/") + request("GET", "/"), State.LINGERING)
    assert link.client.answer().fields["connection"] == "close"
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
def test_draining_hurries_only_who_is_idle(link: Link, data: bytes, state: State, deadline: float) -> None:
    if data:
        link.say(data, state)
        poll(lambda: (link.drive(), data != b"GET" or not link.connection._receiver.is_idle)[1], "all of it")  # noqa: SLF001
    link.connection.drain(NOW, 1)
    assert link.connection.deadline == NOW + deadline


# --- The table --------------------------------------------------------------------------------------------------


def test_the_table_of_moves_is_whole() -> None:
    assert set(MOVES) == set(State)
    assert MOVES[State.CLOSED] == frozenset()
    assert all(State.CLOSED in MOVES[state] for state in State if state is not State.CLOSED)


def walk(chance: random.Random) -> None:
    """A client that does anything at any moment, and a clock that does too."""
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
    is_here, now = True, NOW
    client = link.client.socket
    client.setblocking(False)
    for _ in range(chance.randrange(1, 30)):
        if link.drive(now) is Verdict.CLOSE:
            break
        now += chance.choice([0, 0, 1])
        act = chance.randrange(12)
        try:
            if act < 6 and is_here:
                piece = chance.choice(pieces)
                client.send(piece[: chance.choice([len(piece), len(piece), chance.randrange(len(piece))])])
            elif act < 9 and is_here:
                client.recv(chance.choice([100, 1 << 20]))
            elif act == 9 and is_here:
                client.shutdown(socket.SHUT_WR)
            elif act == 10 and is_here and chance.random() < 0.5:
                link.reset() if chance.random() < 0.5 else client.close()
                is_here = False
            elif act == 11 and link.connection.state is not State.APPLICATION:
                now = max(now, link.connection.deadline)
                link.verdict = link.connection.expire(now)
        except OSError:
            continue
    link.close()


def test_whatever_a_client_does_the_moves_are_legal_and_it_ends(capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(150):
        walk(random.Random(seed))
    capfd.readouterr()
