"""The baton, with real threads and sockets: slow calls do not hold up fast ones, and nothing is lost or reordered.

`Running` is a loop in this process with an application that does what the path says. No test depends on how long
something takes: slow calls last until their gate is opened, and spinning is told from waiting by orders of magnitude.
"""

import contextlib
import itertools
import json
import os
import random
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.server.harness import PATIENCE, Client, chunked, limited, poll, request, sized
from wsgiserver.accesslog import NoLog
from wsgiserver.baton import own_clock, processor_time
from wsgiserver.connection import Connection
from wsgiserver.environ import Trust, template
from wsgiserver.loop import Capacity, Hooks, Loop
from wsgiserver.receiver import Limits
from wsgiserver.service import Service

Start = Callable[..., Callable[[bytes], None]]
FAST = request("GET", "/fast")


class Lingering(list[bytes]):
    """Blocks whose close() takes its time."""

    def __init__(self, blocks: list[bytes], close: Callable[[], None]) -> None:
        super().__init__(blocks)
        self.close = close


class Gate:
    """An application whose calls of /wait last until the gate is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.waiting = 0
        self.most = 0
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.act: Callable[[], object] = lambda: None  # what /act does
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
    """A loop on threads of this process, with a pipe that ends it. `clients` are closed before that."""

    def __init__(self, capacity: Capacity, listener: socket.socket | None = None) -> None:
        self.overwhelmed = threading.Event()
        self.clients = contextlib.ExitStack()
        self.gate = Gate()
        self.listener = listener or socket.create_server(("127.0.0.1", 0), backlog=500)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        limits = Limits(max_body=1 << 20, memory=1000, folder=None)
        self.service = Service(
            self.gate, NoLog(), Trust([]), limits, 600, 600, 600, 1 << 20, 600, 600
        )  # met by no accident
        base = template("srv", 80, sys.stderr, threads=True, processes=False)

        def accept(sock: socket.socket, address: Any, _: socket.socket, now: float) -> Connection:
            return Connection(sock, address, base, self.service, now)

        self.idles = 0
        self.held: list[float] = []
        self.loop = Loop(
            [self.listener],
            accept,
            capacity,
            Hooks(self._idle, lambda _: None, self.overwhelmed.set, self.held.append),
        )
        self._stop_reader, self._stop_writer = os.pipe()
        self.loop.watch(self._stop_reader, self._drain)
        self._before = set(threading.enumerate())
        self._main = threading.Thread(target=self.loop.run)
        self._main.start()

    def _idle(self) -> None:
        self.idles += 1

    def _drain(self) -> None:
        os.read(self._stop_reader, 1)
        self.service.draining = True
        self.loop.drain()

    def client(self) -> Client:
        return self.clients.enter_context(Client(socket.create_connection(self.address, timeout=PATIENCE)))

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Assert that the loop waits all the while: it may look around now and then, and does not spin."""
        before, began = self.idles, time.monotonic()
        yield
        looks = self.idles - before
        assert looks < 50 * max(1, time.monotonic() - began)

    def waiting(self, count: int) -> None:
        poll(lambda: self.gate.waiting == count, f"{count} calls in progress")

    def stop(self) -> None:
        os.write(self._stop_writer, b"\0")

    def ended(self) -> None:
        """All of its threads end, but for the watchdog, which sleeps for good once nothing is called."""
        self._main.join(PATIENCE)
        assert not self._main.is_alive()
        poll(lambda: not [t for t in self._threads() if t.name != "_guard"], "the end of its threads")

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
        server.ended()
        for connection in server.loop.connections.values():  # of calls given up, which were not waited for
            connection.socket.close()
        os.close(server._stop_reader)  # noqa: SLF001
        os.close(server._stop_writer)  # noqa: SLF001
        server.loop._poll.close()  # noqa: SLF001
        os.close(server.loop._wake_read)  # noqa: SLF001
        os.close(server.loop._wake_write)  # noqa: SLF001


def get(server: Running, target: str = "/fast") -> bytes:
    with server.client() as client:
        return client.get(target).body


# --- The baton --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", [1, 2, 3])
def test_slow_calls_do_not_hold_up_fast_ones(busy: int) -> None:
    """Not by luck: the slow ones do not end before the fast ones have been answered."""
    with running(4) as server:
        slow = [server.client().send(request("GET", "/wait")) for _ in range(busy)]
        server.waiting(busy)
        with server.client() as client:
            for _ in range(200):
                assert client.get("/fast").body == b"/fast"
        assert [get(server) for _ in range(20)] == [b"/fast"] * 20
        server.gate.opened.set()
        for client in slow:
            assert client.answer().body == b"/wait"


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_with_all_threads_busy_others_wait_and_nothing_is_lost(threads: int) -> None:
    with running(threads) as server:
        slow = [server.client().send(request("GET", "/wait")) for _ in range(threads)]
        server.waiting(threads)
        others = [server.client().send(request("GET", f"/{n}")) for n in range(50)]
        others += [server.client().send(request("GET", "/wait")) for n in range(10)]
        server.gate.opened.set()
        assert [client.answer().body for client in slow] == [b"/wait"] * threads
        assert [client.answer().body for client in others[:50]] == [f"/{n}".encode() for n in range(50)]
        assert [client.answer().body for client in others[50:]] == [b"/wait"] * 10
        assert server.gate.most <= threads


def test_one_thread() -> None:
    with running(1) as server, server.client() as client:
        for n in range(50):
            assert client.get(f"/{n}").body == f"/{n}".encode()
        assert get(server, "/sleep-0.05") == b"/sleep-0.05"
        assert len(server.gate.threads) == 1


def test_a_connection_goes_on_after_it_was_returned() -> None:
    with running(4) as server, server.client() as client:
        for n in range(5):
            assert client.get("/sleep-0.03").body == b"/sleep-0.03"
            assert client.get(f"/{n}").body == f"/{n}".encode()
            assert client.send(chunked("/", b"x" * 5000, size=100)).answer().body == b"x" * 5000


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_pipelined_slow_and_fast_requests_stay_in_order(threads: int) -> None:
    targets = ["/sleep-0.02", "/a", "/b", "/sleep-0.01", "/big-300000", "/c", "/sleep-0", "/d"] * 3
    with running(threads) as server, server.client() as client:
        client.send(b"".join(request("GET", target) for target in targets))
        for target in targets:
            body = client.answer().body
            assert body == (b"x" * 300_000 if "big" in target else target.encode())


@pytest.mark.parametrize("threads", [1, 4])
def test_one_clients_pipeline_does_not_hold_up_the_others(threads: int) -> None:
    """None of its calls is slow, so the watchdog has no part in it. The other client asks during one of them."""
    with running(threads, handoff=0.05) as server, server.client() as greedy, server.client() as other:
        server.gate.act = lambda: other.send(FAST)
        greedy.send(request("GET", "/act") + request("GET", "/sleep-0.02") * 100)
        assert other.answer().body == b"/fast"
        for target in ["/act"] + ["/sleep-0.02"] * 100:
            assert greedy.answer().body == target.encode()
        assert server.gate.calls.index("/fast") < 50, "the other client had to wait for the pipeline"


def test_many_connections() -> None:
    with running(4) as server:
        clients = [server.client() for _ in range(300)]
        for _ in range(3):
            for client in clients:
                client.send(FAST)
            assert {client.answer().body for client in clients} == {b"/fast"}
        for client in clients:
            client.socket.close()
        poll(lambda: not server.loop.connections, "all to be forgotten")


def test_slow_clients_hold_no_thread() -> None:
    with running(1) as server:
        clients = [server.client() for _ in range(60)]
        for n, client in enumerate(clients):
            client.send([b"", FAST[:10], sized("/", b"hello")[:-2], chunked("/", b"hello")[:-7]][n % 4])
        reader = server.client().send(request("GET", "/big-60000000"))  # and does not read it
        assert [get(server) for _ in range(20)] == [b"/fast"] * 20
        assert len(reader.answer().body) == 60_000_000
        for n, client in enumerate(clients):
            client.send([FAST, FAST[10:], sized("/", b"hello")[-2:], chunked("/", b"hello")[-7:]][n % 4])
            assert client.answer().status == 200


def test_a_kind_that_was_slow_is_passed_on_first_until_it_is_quick() -> None:
    """Others do not pay for it."""
    with running(4) as server, server.client() as client:
        baton = server.loop.baton
        client.send(request("GET", "/wait/a/1?x"))
        poll(lambda: baton._slow, "the watchdog's bark")  # noqa: SLF001
        assert list(baton._slow) == ["GET /wait/a"]  # noqa: SLF001
        server.gate.opened.set()
        assert client.answer().body == b"/wait/a/1"
        before = baton.passes
        assert client.get("/wait/b").body == b"/wait/b"
        assert baton.passes == before
        poll(lambda: (client.get("/wait/a/2"), not baton._slow)[1], "its end")  # noqa: SLF001


def test_a_kind_that_computes_is_overtaken_and_not_remembered() -> None:
    """Where it gets a processor to compute with: the machine may be busy, so it has more than one chance."""
    with running(2) as server:
        kinds = (f"/compute/{n}" for n in itertools.count())
        poll(lambda: not remembered(server, next(kinds)), "one not to be remembered")


def remembered(server: Running, target: str) -> bool:
    """Have a request compute until it was overtaken and another has been served meanwhile."""
    server.gate.opened.clear()
    with server.client() as busy:
        busy.send(request("GET", target))
        poll(lambda: server.loop.baton.busy, "the watchdog's bark")
        assert get(server) == b"/fast"
        found = f"GET {target}" in server.loop.baton._slow  # noqa: SLF001
        server.gate.opened.set()
        assert busy.answer().body == target.encode()
        return found


def test_watchdog_wakes_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes to sleep between calls; each first slow call after that is noticed all the same."""
    monkeypatch.setattr("wsgiserver.baton.REST", 1)
    with running(2, handoff=0.001) as server:
        for n in range(60):
            server.gate.opened.clear()
            with server.client() as slow:
                time.sleep(random.Random(n).random() * 0.01)  # any moment of its falling asleep
                slow.send(request("GET", "/wait"))
                server.waiting(1)
                assert get(server) == b"/fast"
                server.gate.opened.set()
                assert slow.answer().body == b"/wait"


def test_idle_means_idle() -> None:
    with running(4) as server, server.client() as client:
        client.get("/sleep-0.02")
        half_closed = server.client()
        half_closed.socket.shutdown(socket.SHUT_WR)
        reset = server.client().send(sized("/", b"hello")[:-1])
        reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reset.socket.close()
        with server.resting():
            time.sleep(1)  # the time in which nothing happens is the subject


# --- Calls that hang --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_call_that_hangs_is_given_up(threads: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Its client hears 504 while the thread hangs on; others are served by the threads that are left."""
    with running(threads, timeout=0.3) as server:
        with server.client() as hanging:
            answer = hanging.get("/wait")
            assert (answer.status, answer.fields["connection"]) == (504, "close")
            assert server.gate.waiting == 1
            if threads > 1:
                assert get(server) == b"/fast"
            server.gate.opened.set()
            assert hanging.rest() == b""
        poll(lambda: not server.loop.connections, "the connection to be forgotten")
        assert get(server) == b"/fast"
    said = json.loads(next(line for line in capfd.readouterr().err.splitlines() if "application-timeout" in line))
    assert said["target"] == "/wait"
    assert "self.opened.wait(PATIENCE)" in said["stack"]


def test_a_close_that_hangs_makes_a_thread_stuck_as_well(capfd: pytest.CaptureFixture[str]) -> None:
    """The client has its whole answer by then; but the thread is lost all the same."""
    with running(2, timeout=0.3) as server, server.client() as client:
        assert client.get("/linger").body == b"/linger"
        assert server.overwhelmed.wait(PATIENCE)
        server.gate.opened.set()
        assert client.get("/fast").body == b"/fast"
    assert capfd.readouterr().err.count("close-timeout") == 1


@pytest.mark.parametrize(("threads", "stuck"), [(1, 1), (2, 1), (4, 2)])
def test_half_of_the_threads_stuck_are_too_many(threads: int, stuck: int) -> None:
    with running(threads, timeout=0.3) as server:
        clients = [server.client().send(request("GET", "/wait")) for _ in range(stuck)]
        assert [client.answer().status for client in clients] == [504] * stuck
        assert server.overwhelmed.wait(PATIENCE)


@pytest.mark.parametrize("threads", [1, 2])
def test_that_the_loop_has_to_wait_is_told(threads: int) -> None:
    with running(threads) as server:
        assert get(server) == b"/fast"
        clients = [server.client().send(request("GET", "/wait")) for _ in range(threads)]
        poll(lambda: server.held[2:], "the watchdog to say so, again and again")
        server.gate.opened.set()
        for client in clients:
            assert client.answer().status == 200


def test_fewer_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    with running(4, timeout=0.3) as server, server.client() as client:
        assert client.get("/wait").status == 504
        assert client.socket.recv(1) == b""
        poll(lambda: "application-timeout" in capfd.readouterr().err, "the event")
        assert get(server) == b"/fast"
        assert not server.overwhelmed.is_set()


def test_a_slow_client_is_no_hanging_application() -> None:
    """An application that waits until its client takes more is not given up; the client has its own deadline."""
    with running(2, timeout=2) as server, server.client() as reader:
        reader.send(request("GET", "/big-150000000"))
        poll(lambda: any(c.exchange.outbox.is_full for c in list(server.loop.connections.values())), "a full outbox")
        with server.client() as hanging:
            assert hanging.get("/wait").status == 504  # so the time has passed
        server.gate.opened.set()
        assert len(reader.answer().body) == 150_000_000


def test_drained_with_a_thread_that_never_comes_back() -> None:
    with running(2, timeout=0.3) as server:
        with server.client() as client:
            assert client.get("/wait").status == 504
        server.stop()
        poll(lambda: server.loop.baton.finished, "the end of the loop")
        server.gate.opened.set()
        server.ended()
        (connection,) = server.loop.connections.values()  # its thread's for good: a process ends with it open
        connection.socket.close()


# --- Limits -----------------------------------------------------------------------------------------------------


def test_idle_connections_make_room_for_new_ones() -> None:
    with running(2, connections=3) as server:
        clients = [server.client() for _ in range(3)]
        for client in clients:
            assert client.get("/fast").body == b"/fast"
        for _ in range(3):
            clients.append(server.client())
            assert clients[-1].get("/fast").body == b"/fast"
        assert len(server.loop.connections) <= 3
        assert [client.rest() for client in clients[:3]] == [b""] * 3


def test_new_connections_wait_where_there_is_no_room(capfd: pytest.CaptureFixture[str]) -> None:
    with running(4, connections=2) as server:
        busy = [server.client().send(request("GET", "/wait", "Connection: close")) for _ in range(2)]
        server.waiting(2)
        late = server.client().send(FAST)
        poll(lambda: "connections-exhausted" in capfd.readouterr().err, "it to be said")
        server.gate.opened.set()
        assert [client.answer().body for client in busy] == [b"/wait"] * 2
        assert late.answer().body == b"/fast"


@pytest.mark.parametrize(("trusted", "statuses"), [([], [200, 200, 429]), (["127.0.0.1"], [200] * 3)])
def test_connections_from_one_address(trusted: list[str], statuses: list[int]) -> None:
    """A proxy that is trusted speaks for many."""
    with running(2, per_address=2) as server:
        server.service.trust = Trust(trusted)
        clients = [server.client().send(FAST) for _ in range(3)]
        assert [client.answer().status for client in clients] == statuses
        for client in clients:
            client.socket.close()
        poll(lambda: not server.loop.connections, "all to be forgotten")
        assert get(server) == b"/fast"
        assert not server.loop._strangers or not trusted  # noqa: SLF001


# --- Descriptors ------------------------------------------------------------------------------------------------


@contextmanager
def exhausted(server: Running, capfd: pytest.CaptureFixture[str]) -> Iterator[tuple[list[Client], list[int]]]:
    """Three clients that cannot be accepted for want of descriptors, and what takes those up."""
    clients = [server.clients.enter_context(Client(socket.socket())) for _ in range(3)]
    held = [os.dup(0)]
    try:
        with limited(resource.RLIMIT_NOFILE, max(held[0], *(client.socket.fileno() for client in clients)) + 1):
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.dup(0))
            for client in clients:
                client.socket.connect(server.address)
            poll(lambda: "descriptors-exhausted" in capfd.readouterr().err, "it to be said")
            yield clients, held
    finally:
        for fd in held:
            os.close(fd)


def test_out_of_descriptors_and_back(capfd: pytest.CaptureFixture[str]) -> None:
    """It does not spin, and goes on as soon as there are some, even with nothing else to do."""
    with running(2) as server, exhausted(server, capfd) as (clients, held):
        with server.resting():
            time.sleep(0.5)  # how often it looks in that time is the subject
        os.close(held.pop())
        assert clients[0].get("/fast").body == b"/fast"
        clients[0].socket.close()
        assert clients[1].get("/fast").body == b"/fast"


def test_drained_while_out_of_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    with running(2) as server, exhausted(server, capfd) as (clients, held):
        server.stop()
        os.close(held.pop())  # one can be accepted, and the next cannot
        server.ended()
        with contextlib.suppress(ConnectionResetError):
            assert [client.rest() for client in clients] == [b""] * 3


# --- Draining ---------------------------------------------------------------------------------------------------


def test_drain_finishes_what_is_under_way() -> None:
    with running(4) as server:
        idle, half_head, half_body, slow = (server.client() for _ in range(4))
        idle.get("/fast")
        half_head.send(FAST[:10])
        half_body.send(sized("/", b"hello")[:-1])
        slow.send(request("GET", "/wait"))
        server.waiting(1)
        poll(lambda: len(server.loop.connections) == 4, "all of them")
        server.stop()
        poll(lambda: server.loop.draining, "the drain")
        assert half_body.send(b"o").answer().fields["connection"] == "close"
        assert half_head.send(FAST[10:]).answer().fields["connection"] == "close"
        server.gate.opened.set()
        assert slow.answer().body == b"/wait"
        server.ended()
        assert idle.rest() == half_body.rest() == half_head.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            server.client()


def test_drain_does_not_wait_for_clients_that_were_promised_more() -> None:
    """An answer begun before the drain says keep-alive; its client gets a moment, not all of the keep-alive time."""
    with running(4) as server:
        slow, reader = server.client(), server.client()
        slow.send(request("GET", "/wait"))
        server.waiting(1)
        reader.send(request("GET", "/big-30000000"))
        poll(lambda: any(c.watched == 4 for c in list(server.loop.connections.values())), "a slow reader")
        server.stop()
        poll(lambda: server.loop.draining, "the drain")
        server.gate.opened.set()
        assert "connection" not in slow.answer().fields
        assert len(reader.answer().body) == 30_000_000
        server.ended()
        assert slow.rest() == reader.rest() == b""


def test_drain_takes_the_backlog() -> None:
    with running(1) as server:
        slow = server.client().send(request("GET", "/wait"))
        server.waiting(1)
        backlog = [server.client().send(request("GET", f"/{n}")) for n in range(40)]
        server.stop()
        server.gate.opened.set()
        assert [client.answer().body for client in backlog] == [f"/{n}".encode() for n in range(40)]
        assert slow.answer().body == b"/wait"


def test_drain_lets_go_of_a_listener_that_others_still_have() -> None:
    """Connections that wait for a sibling must not keep this one busy."""
    with running(4) as server, socket.socket(fileno=os.dup(server.listener.fileno())) as sibling:
        slow = server.client().send(request("GET", "/wait"))
        server.waiting(1)
        server.stop()
        poll(lambda: server.loop.draining and server.listener.fileno() == -1, "the drain")
        server.client()
        poll(lambda: sibling.getsockname() and server.idles, "the loop")
        with server.resting():
            time.sleep(1)
        server.gate.opened.set()
        assert slow.answer().body == b"/wait"


def test_drain_twice_and_with_nothing_to_do() -> None:
    for _ in range(8):
        with running(4) as server:
            server.stop()
            server.ended()


# --- All at once ------------------------------------------------------------------------------------------------


def customer(server: Running, seed: int, visits: int = 100) -> None:
    """A client that does what clients do, and asserts that every answer is its own."""
    chance = random.Random(seed)
    client = server.client()
    for visit in range(visits):
        body = chance.randbytes(chance.choice([1, 10, 5000, 100_000]))
        mark = f"/sleep-{chance.choice([0, 0, 0, 0.001, 0.006, 0.02])}"
        kind = chance.randrange(8)
        if kind == 0:  # leaves in the middle
            client.send(sized(mark, body)[: -chance.randrange(1, len(body) + 1)])
        elif kind == 1:  # leaves before the answer
            client.send(request("GET", mark))
        elif kind == 2:
            targets = [mark, f"/{visit}", mark]
            client.send(b"".join(request("GET", target) for target in targets))
            assert [client.answer().body for _ in targets] == [target.encode() for target in targets]
        elif kind == 3:
            assert len(client.get("/big-700000").body) == 700_000
        elif kind == 4:
            assert client.send(chunked(mark, body, size=chance.choice([100, 7000]))).answer().body == body
        else:
            assert client.send(sized(mark, body)).answer().body == body
        if kind < 2 or chance.random() < 0.2:
            if chance.random() < 0.5:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.socket.close()
            client = server.client()
    client.socket.close()


@pytest.mark.parametrize("threads", [2, 4])
def test_everything_at_once(threads: int, capfd: pytest.CaptureFixture[str]) -> None:
    with running(threads, handoff=0.002) as server:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda seed: customer(server, seed), range(12)))
        poll(lambda: not server.loop.connections, "all to be forgotten")
        seats = server.loop.baton._seats  # noqa: SLF001
        poll(lambda: len(seats) == threads - 1, "all threads but one to be idle")
        assert get(server) == b"/fast"
    assert "Traceback" not in capfd.readouterr().err


# --- A machine that is busy with something else -----------------------------------------------------------------


def test_the_watchdog_asks_nothing_of_threads_that_have_ended() -> None:
    """It sleeps while all of them do, after a call that it has not seen yet."""
    with running(2, handoff=0.3) as server:
        assert get(server) == b"/fast"
    poll(lambda: not server._threads(), "its end")  # noqa: SLF001


def test_the_processor_time_of_a_thread_that_has_ended() -> None:
    clocks: list[int] = []
    done = threading.Event()

    def work() -> None:
        clocks.append(own_clock())
        done.wait(PATIENCE)

    thread = threading.Thread(target=work)
    thread.start()
    poll(lambda: clocks, "its clock")
    assert (processor_time(clocks[0]) > 0) is bool(clocks[0])
    done.set()
    thread.join()
    poll(lambda: processor_time(clocks[0]) == 0.0, "the system to have forgotten it")


def served_to(server: Running, client: Client) -> Connection:
    """Return the server's end of a connection."""
    name = client.socket.getsockname()
    (found,) = [c for c in list(server.loop.connections.values()) if c.socket.getpeername() == name]
    return found


def test_what_came_in_time_is_answered_however_late_it_is_looked_at() -> None:
    """The loop's only thread is elsewhere while a request arrives, and the time for it passes."""
    with running(1) as server, server.client() as busy, server.client() as idle:
        idle.get("/fast")
        connection = served_to(server, idle)

        def stall() -> None:
            idle.send(FAST)
            time.sleep(1.2)  # a sweep is due by then
            connection.deadline = time.monotonic()

        server.gate.act = stall
        busy.get("/act")
        assert idle.answer().body == b"/fast"


def test_who_is_late_is_noticed_while_others_keep_the_loop_busy() -> None:
    with running(2) as server, server.client() as late, server.client() as busy:
        late.send(b"GET")
        busy.get("/fast")
        connection = served_to(server, late)
        poll(lambda: not connection.is_idle, "its beginning")
        connection.deadline = time.monotonic()
        poll(lambda: (busy.get("/fast"), select.select([late.socket], [], [], 0)[0])[1], "the answer to who is late")
        assert late.answer().status == 408
