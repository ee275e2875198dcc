"""A loop in this process, for tests: real threads and sockets, and an application whose path selects the action.

No test depends on a duration: slow calls last until a test opens their gate, and spinning differs from waiting by
orders of magnitude.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.wire.building import request
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll
from wsgiserver.eventloop.loop import Capacity, Hooks, Loop
from wsgiserver.serving.connection import Connection
from wsgiserver.serving.context import ListenerContext, ServerContext
from wsgiserver.serving.receiver import Limits
from wsgiserver.telemetry.accesslog import NoAccessLog
from wsgiserver.wsgi.environ import template
from wsgiserver.wsgi.forwarded import Trust

Start = Callable[..., Callable[[bytes], None]]
FAST = request("GET", "/fast")


class Lingering(list[bytes]):
    """Blocks whose close() is slow."""

    def __init__(self, blocks: list[bytes], close: Callable[[], None]) -> None:
        super().__init__(blocks)
        self.close = close


class Gate:
    """An application whose calls of /wait last until the gate opens."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.waiting = 0
        self.most = 0
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.act: Callable[[], object] = lambda: None  # the action of /act
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Start) -> list[bytes]:
        self.threads.add(threading.current_thread().name)
        self.calls.append(environ["PATH_INFO"])
        name, _, argument = environ["PATH_INFO"].split("/")[1].partition("-")
        if name == "wait":
            self._wait()
        elif name == "compute":
            while not self.opened.is_set():
                sum(range(1000))
        elif name == "sleep":
            time.sleep(float(argument))
        elif name == "act":
            self.act()
        start_response("200 OK", [])
        if name == "linger":
            return Lingering([b"/linger"], self._wait)
        body: bytes = b"x" * int(argument) if name == "big" else environ["wsgi.input"].read()
        return [body or environ["PATH_INFO"].encode()]

    def _wait(self) -> None:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        assert self.opened.wait(PATIENCE)
        with self._lock:
            self.waiting -= 1


class Running:
    """A loop on threads of this process, with a pipe that ends it. `clients` are closed before the end."""

    def __init__(self, capacity: Capacity, listener: socket.socket | None = None) -> None:
        self.too_many_stuck = threading.Event()
        self.clients = contextlib.ExitStack()
        self.gate = Gate()
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=500)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        limits = Limits(max_body=1 << 20, memory=1000, folder=None)
        self.context = ServerContext(
            self.gate, NoAccessLog(), limits, 600, 600, 600, 1 << 20, 600, 600
        )  # never reached by accident
        self.trust = Trust([])
        base = template("srv", 80, sys.stderr, threads=True, processes=False)

        def accept(sock: socket.socket, address: Any, _: socket.socket, now: float) -> Connection:
            return Connection(sock, address, ListenerContext(base, self.trust), self.context, now)

        self.idles = 0
        self.blocked: list[float] = []
        self.loop = Loop(
            [self.listener],
            accept,
            capacity,
            Hooks(self._idle, lambda _: None, self.too_many_stuck.set, self.blocked.append),
        )
        self._stop_reader, self._stop_writer = os.pipe()
        self.loop.add_source(self._stop_reader, self._drain)
        self._before = set(threading.enumerate())
        self.loop.start()
        self._main = threading.Thread(target=self.loop.run)
        self._main.start()

    def _idle(self, _: Loop) -> None:
        self.idles += 1

    def _drain(self) -> None:
        os.read(self._stop_reader, 1)
        self.context.drain()
        self.loop.drain()

    def client(self) -> Client:
        return self.clients.enter_context(Client(socket.create_connection(self.address, timeout=PATIENCE)))

    @contextmanager
    def asserting_idle(self) -> Iterator[None]:
        """Assert that the loop waits meanwhile: it may wake up occasionally but does not spin."""
        before, began = self.idles, time.monotonic()
        yield
        wakeups = self.idles - before
        assert wakeups < 50 * max(1, time.monotonic() - began)

    def wait_for_calls(self, count: int) -> None:
        poll(lambda: self.gate.waiting == count, f"{count} calls in progress")

    def stop(self) -> None:
        os.write(self._stop_writer, b"\0")

    def wait_for_end(self) -> None:
        """Wait for all threads except the watchdog, which sleeps forever after the last call."""
        self._main.join(PATIENCE)
        assert not self._main.is_alive()
        poll(lambda: not self._threads(), "the end of its threads")

    def _threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in self._before]


@contextmanager
def running(
    threads: int = 4,
    handoff: float = 0.005,
    timeout: float = 0,
    connections: int = 1000,
    per_address: int = 0,
    listener: socket.socket | None = None,
) -> Iterator[Running]:
    server = Running(Capacity(threads, handoff, timeout, connections, per_address), listener)
    try:
        yield server
    finally:
        server.gate.opened.set()
        server.clients.close()
        server.stop()
        server.wait_for_end()
        for connection in server.loop.connections.values():  # of abandoned calls, for which the loop did not wait
            connection.socket.close()
        os.close(server._stop_reader)  # noqa: SLF001
        os.close(server._stop_writer)  # noqa: SLF001
        server.loop._poll.close()  # noqa: SLF001
        server.loop._bell.close()  # noqa: SLF001


def get(server: Running, target: str = "/fast") -> bytes:
    with server.client() as client:
        return client.get(target).body
