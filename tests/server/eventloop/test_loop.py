"""Readiness and deadlines, limits and draining, with real threads and sockets."""

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.server.eventloop.running import FAST, Running, get, running
from tests.server.harness import limited
from tests.wire.building import chunked, request, sized
from tests.wire.client import Client
from tests.wire.polling import poll
from wsgiserver.eventloop.poller import WRITABLE
from wsgiserver.serving.connection import Connection
from wsgiserver.wsgi.forwarded import Trust


def test_slow_clients_hold_no_thread() -> None:
    with running(1) as server:
        clients = [server.client() for _ in range(60)]
        for n, client in enumerate(clients):
            client.send([b"", FAST[:10], sized("/", b"hello")[:-2], chunked("/", b"hello")[:-7]][n % 4])
        reader = server.client().send(request("GET", "/big-60000000"))  # and does not read the response
        assert [get(server) for _ in range(20)] == [b"/fast"] * 20
        assert len(reader.answer().body) == 60_000_000
        for n, client in enumerate(clients):
            client.send([FAST, FAST[10:], sized("/", b"hello")[-2:], chunked("/", b"hello")[-7:]][n % 4])
            assert client.answer().status == 200


def test_three_hundred_connections_are_served() -> None:
    with running(4) as server:
        clients = [server.client() for _ in range(300)]
        for _ in range(3):
            for client in clients:
                client.send(FAST)
            assert {client.answer().body for client in clients} == {b"/fast"}
        for client in clients:
            client.socket.close()
        poll(lambda: not server.loop.connections, "the loop to drop all connections")


def test_an_idle_loop_does_not_wake_up() -> None:
    with running(4) as server, server.client() as client:
        client.get("/sleep-0.02")
        half_closed = server.client()
        half_closed.socket.shutdown(socket.SHUT_WR)
        reset = server.client().send(sized("/", b"hello")[:-1])
        reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reset.socket.close()
        with server.asserting_idle():
            time.sleep(1)  # the test needs time in which nothing happens


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


def test_new_connections_wait_while_all_connections_are_busy(capfd: pytest.CaptureFixture[str]) -> None:
    with running(4, connections=2) as server:
        busy = [server.client().send(request("GET", "/wait", "Connection: close")) for _ in range(2)]
        server.wait_for_calls(2)
        late = server.client().send(FAST)
        poll(lambda: "connections-exhausted" in capfd.readouterr().err, "the event in the log")
        server.gate.opened.set()
        assert [client.answer().body for client in busy] == [b"/wait"] * 2
        assert late.answer().body == b"/fast"


@pytest.mark.parametrize(
    ("trusted", "statuses"), [([], [200, 200, 429]), (["127.0.0.1"], [200] * 3)], ids=["untrusted", "trusted"]
)
def test_connections_from_one_address_are_limited_unless_it_is_trusted(trusted: list[str], statuses: list[int]) -> None:
    """A trusted proxy connects for many clients."""
    with running(2, per_address=2) as server:
        server.trust = Trust(trusted)
        clients = [server.client().send(FAST) for _ in range(3)]
        assert [client.answer().status for client in clients] == statuses
        for client in clients:
            client.socket.close()
        poll(lambda: not server.loop.connections, "the loop to drop all connections")
        assert get(server) == b"/fast"
        assert not server.loop._by_address or not trusted  # noqa: SLF001


# --- Descriptors ------------------------------------------------------------------------------------------------


@contextmanager
def exhausted(server: Running, capfd: pytest.CaptureFixture[str]) -> Iterator[tuple[list[Client], list[int]]]:
    """Three clients that cannot be accepted, and the files that use up the descriptors."""
    clients = [server.clients.enter_context(Client(socket.socket())) for _ in range(3)]
    held = [os.dup(0)]
    try:
        with limited(resource.RLIMIT_NOFILE, max(held[0], *(client.socket.fileno() for client in clients)) + 1):
            with contextlib.suppress(OSError):
                while True:
                    held.append(os.dup(0))
            for client in clients:
                client.socket.connect(server.address)
            poll(lambda: "descriptors-exhausted" in capfd.readouterr().err, "the event in the log")
            yield clients, held
    finally:
        for fd in held:
            os.close(fd)


def test_the_loop_continues_when_descriptors_are_free_again(capfd: pytest.CaptureFixture[str]) -> None:
    """It does not spin meanwhile, and it continues even if nothing else happens."""
    with running(2) as server, exhausted(server, capfd) as (clients, held):
        with server.asserting_idle():
            time.sleep(0.5)  # the test counts the wakeups in this time
        os.close(held.pop())
        assert clients[0].get("/fast").body == b"/fast"
        clients[0].socket.close()
        assert clients[1].get("/fast").body == b"/fast"


def test_the_loop_drains_without_free_descriptors(capfd: pytest.CaptureFixture[str]) -> None:
    with running(2) as server, exhausted(server, capfd) as (clients, held):
        server.stop()
        os.close(held.pop())  # one connection can be accepted, the next cannot
        server.wait_for_end()
        with contextlib.suppress(ConnectionResetError):
            assert [client.rest() for client in clients] == [b""] * 3


# --- Draining ---------------------------------------------------------------------------------------------------


def test_a_drain_finishes_requests_that_have_begun() -> None:
    with running(4) as server:
        idle, half_head, half_body, slow = (server.client() for _ in range(4))
        idle.get("/fast")
        half_head.send(FAST[:10])
        half_body.send(sized("/", b"hello")[:-1])
        slow.send(request("GET", "/wait"))
        server.wait_for_calls(1)
        poll(lambda: len(server.loop.connections) == 4, "all connections")
        server.stop()
        poll(lambda: server.loop.draining, "the drain")
        assert half_body.send(b"o").answer().headers["connection"] == "close"
        assert half_head.send(FAST[10:]).answer().headers["connection"] == "close"
        server.gate.opened.set()
        assert slow.answer().body == b"/wait"
        server.wait_for_end()
        assert idle.rest() == half_body.rest() == half_head.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            server.client()


def test_a_drain_does_not_wait_out_the_keep_alive_timeout() -> None:
    """A response started before the drain says keep-alive. Its client gets a moment, not the whole keep-alive time."""
    with running(4) as server:
        slow, reader = server.client(), server.client()
        slow.send(request("GET", "/wait"))
        server.wait_for_calls(1)
        reader.send(request("GET", "/big-30000000"))
        poll(lambda: WRITABLE in list(server.loop._watched.values()), "a slow reader")  # noqa: SLF001
        server.stop()
        poll(lambda: server.loop.draining, "the drain")
        server.gate.opened.set()
        assert "connection" not in slow.answer().headers
        assert len(reader.answer().body) == 30_000_000
        server.wait_for_end()
        assert slow.rest() == reader.rest() == b""


def test_a_drain_serves_the_listen_backlog() -> None:
    with running(1) as server:
        slow = server.client().send(request("GET", "/wait"))
        server.wait_for_calls(1)
        backlog = [server.client().send(request("GET", f"/{n}")) for n in range(40)]
        server.stop()
        server.gate.opened.set()
        assert [client.answer().body for client in backlog] == [f"/{n}".encode() for n in range(40)]
        assert slow.answer().body == b"/wait"


def test_a_draining_loop_ignores_connections_that_wait_for_another_worker() -> None:
    """Connections that wait for another worker must not keep this one busy."""
    with running(4) as server, socket.socket(fileno=os.dup(server.listener.fileno())) as other_worker:
        slow = server.client().send(request("GET", "/wait"))
        server.wait_for_calls(1)
        server.stop()
        poll(lambda: server.loop.draining and server.listener.fileno() == -1, "the drain")
        server.client()
        poll(lambda: other_worker.getsockname() and server.idles, "the loop")
        with server.asserting_idle():
            time.sleep(1)
        server.gate.opened.set()
        assert slow.answer().body == b"/wait"


def test_an_idle_loop_drains_at_once() -> None:
    for _ in range(8):
        with running(4) as server:
            server.stop()
            server.wait_for_end()


# --- A busy machine ---------------------------------------------------------------------------------------------


def connection_of(server: Running, client: Client) -> Connection:
    """Return the server's connection of a client."""
    name = client.socket.getsockname()
    (found,) = [c for c in list(server.loop.connections.values()) if c.socket.getpeername() == name]
    return found


def test_a_request_that_arrived_in_time_is_answered_even_if_it_is_read_late() -> None:
    """The loop's only thread is busy while a request arrives and its deadline passes."""
    with running(1) as server, server.client() as busy, server.client() as idle:
        idle.get("/fast")
        connection = connection_of(server, idle)

        def stall() -> None:
            idle.send(FAST)
            time.sleep(1.2)  # a sweep is due at this time
            connection.deadline = time.monotonic()

        server.gate.act = stall
        busy.get("/act")
        assert idle.answer().body == b"/fast"


def test_a_late_client_gets_408_while_other_clients_keep_the_loop_busy() -> None:
    with running(2) as server, server.client() as late, server.client() as busy:
        late.send(b"GET")
        busy.get("/fast")
        connection = connection_of(server, late)
        poll(lambda: not connection.is_idle, "the first bytes of the request")
        connection.deadline = time.monotonic()
        poll(
            lambda: (busy.get("/fast"), select.select([late.socket], [], [], 0)[0])[1],
            "the response to the late client",
        )
        assert late.answer().status == 408
