"""One client's socket and its connection, over real TCP, driven the way the loop drives it.

`Link` holds both ends. Its `drive` follows the verdicts for as long as the socket allows. The time is an argument, so
a test reaches a deadline without waiting.
"""

import json
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.wire.answers import Answer
from tests.wire.building import request
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll
from wsgiserver.serving.connection import Connection
from wsgiserver.serving.context import ListenerContext, ServerContext
from wsgiserver.serving.receiver import Limits
from wsgiserver.serving.states import State, Verdict
from wsgiserver.telemetry.accesslog import AccessLog
from wsgiserver.wsgi.environ import template
from wsgiserver.wsgi.forwarded import Trust

Events = Callable[[], list[dict[str, Any]]]
Start = Callable[..., Callable[[bytes], None]]
NOW = 1000.0
BIG = 20_000_000  # more than the buffers of loopback hold
RESET = struct.pack("ii", 1, 0)


class Calls(list[dict[str, Any]]):
    """An application that records its requests; the path selects the response. /hang lasts until the gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.gate = threading.Event(), threading.Event()

    def hang(self) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE)

    def hanging(self, stage: str, start_response: Start) -> Iterator[bytes]:
        if stage == "middle":
            start_response("200 OK", [])
            yield b"first"
        self.hang()
        if stage == "fail":
            raise ValueError("on purpose")
        if stage != "middle":
            start_response("200 OK", [])
        yield b"second"

    path = Path("/nowhere")  # the file of /file

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
    """A connection, its client, the recorded calls and the log. `wrap` may wrap its socket."""

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
        self.calls = Calls()
        self._log_reader, self._log_writer = os.pipe2(os.O_NONBLOCK)
        self.log = AccessLog(self._log_writer)
        self.context = ServerContext(
            application=self.calls,
            log=self.log,
            limits=Limits(limits.get("max_body", 1000), limits.get("memory", 100), folder),
            head_timeout=10,
            body_idle_timeout=20,
            body_timeout=60,
            body_rate=1000,
            keep_alive=75,
            send_timeout=30,
        )
        base = template("srv", 80, sys.stderr, threads=True, processes=False)
        self.connection = Connection(sock, address, ListenerContext(base, Trust([])), self.context, NOW)
        self.verdict = Verdict.READ

    def drive(self, now: float = NOW) -> Verdict:
        """Follow the verdicts until the connection waits for the socket or closes."""
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

    def feed(self, data: bytes | str, state: State = State.HEAD, now: float = NOW) -> None:
        """Send data and wait until the connection reaches a state."""
        self.client.send(data)
        assert select.select([self.connection.socket], [], [], PATIENCE)[0]
        self.reach(state, now)

    def expire(self, state: State) -> None:
        self.verdict = self.connection.expire(self.connection.deadline)
        self.reach(state)

    def fetch(self, data: bytes | str, *, method: str = "GET") -> Answer:
        self.feed(data)
        return self.client.answer(method=method)

    def logged(self) -> list[dict[str, Any]]:
        self.context.log.flush()
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
        os.close(self.log._fd)  # noqa: SLF001 - the log's own descriptor of the pipe, open until the process ends


class SlowClose(list[bytes]):
    """A response whose close() lasts until the watchdog tries to time it out."""

    link: Link

    def close(self) -> None:
        exchange = self.link.connection.exchange
        assert not exchange.time_out(exchange.response, 30, "stack")


class Answers(threading.Thread):
    """Reads responses while another thread drives the connection."""

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


def check(link: Link, data: bytes, *bodies: bytes, state: State = State.HEAD) -> None:
    """The requests in `data` get responses with these bodies, in order."""
    link.feed(data, state)
    for body in bodies:
        answer = link.client.answer()
        assert (answer.status, answer.body) == (200, body)
    assert len(link.calls) == len(bodies)
    for environ in link.calls:
        assert environ.get("CONTENT_LENGTH", "0") == str(len(environ["body"]))


def hang(link: Link, target: str, version: str = "1.1", method: str = "GET") -> threading.Thread:
    """Keep another thread in the application until the gate of `link.calls` opens."""
    link.client.send(request(method, target, version=version))
    poll(lambda: link.connection.receive(NOW) is Verdict.RUN, "the request")
    thread = threading.Thread(target=link.connection.exchange.respond)
    thread.start()
    assert link.calls.entered.wait(PATIENCE)
    return thread
