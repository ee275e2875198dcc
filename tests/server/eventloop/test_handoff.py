"""Handing off the lead: slow calls do not delay fast ones, and no request is lost or reordered."""

import itertools
import random
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.server.eventloop.running import FAST, Running, get, running
from tests.wire.building import chunked, request, sized
from tests.wire.polling import poll


@pytest.mark.parametrize("busy", [1, 2, 3])
def test_slow_calls_do_not_hold_up_fast_ones(busy: int) -> None:
    """The slow calls cannot end before the fast ones are answered."""
    with running(4) as server:
        slow = [server.client().send(request("GET", "/wait")) for _ in range(busy)]
        server.wait_for_calls(busy)
        with server.client() as client:
            for _ in range(200):
                assert client.get("/fast").body == b"/fast"
        assert [get(server) for _ in range(20)] == [b"/fast"] * 20
        server.gate.opened.set()
        for client in slow:
            assert client.answer().body == b"/wait"


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_requests_wait_while_all_threads_are_busy_and_none_is_lost(threads: int) -> None:
    with running(threads) as server:
        slow = [server.client().send(request("GET", "/wait")) for _ in range(threads)]
        server.wait_for_calls(threads)
        waiting = [server.client().send(request("GET", f"/{n}")) for n in range(50)]
        waiting += [server.client().send(request("GET", "/wait")) for n in range(10)]
        server.gate.opened.set()
        assert [client.answer().body for client in slow] == [b"/wait"] * threads
        assert [client.answer().body for client in waiting[:50]] == [f"/{n}".encode() for n in range(50)]
        assert [client.answer().body for client in waiting[50:]] == [b"/wait"] * 10
        assert server.gate.most <= threads


def test_a_server_with_one_thread_serves_slow_and_fast_requests() -> None:
    with running(1) as server, server.client() as client:
        for n in range(50):
            assert client.get(f"/{n}").body == f"/{n}".encode()
        assert get(server, "/sleep-0.05") == b"/sleep-0.05"
        assert len(server.gate.threads) == 1


def test_a_connection_serves_further_requests_after_a_slow_call() -> None:
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
def test_the_pipeline_of_one_client_does_not_hold_up_other_clients(threads: int) -> None:
    """None of its calls is slow, so the watchdog does not act. The other client sends its request meanwhile."""
    with running(threads, handoff=0.05) as server, server.client() as pipelining, server.client() as other:
        server.gate.act = lambda: other.send(FAST)
        pipelining.send(request("GET", "/act") + request("GET", "/sleep-0.02") * 100)
        assert other.answer().body == b"/fast"
        for target in ["/act"] + ["/sleep-0.02"] * 100:
            assert pipelining.answer().body == target.encode()
        assert server.gate.calls.index("/fast") < 50, "the other client waited for the pipeline"


def test_a_slow_kind_of_request_is_handed_off_in_advance_until_it_is_quick() -> None:
    """Requests of other kinds are not handed off."""
    with running(4) as server, server.client() as client:
        team = server.loop.team
        client.send(request("GET", "/wait/a/1?x"))
        poll(lambda: team._slow_kinds, "the watchdog to act")  # noqa: SLF001
        assert list(team._slow_kinds) == ["GET /wait/a"]  # noqa: SLF001
        server.gate.opened.set()
        assert client.answer().body == b"/wait/a/1"
        before = team.handoffs
        assert client.get("/wait/b").body == b"/wait/b"
        assert team.handoffs == before
        poll(lambda: (client.get("/wait/a/2"), not team._slow_kinds)[1], "the end of the call")  # noqa: SLF001


def test_a_kind_of_request_that_computes_is_not_remembered_as_slow() -> None:
    """The call needs a processor. The machine may be busy, so there are several attempts."""
    with running(2) as server:
        kinds = (f"/compute/{n}" for n in itertools.count())
        poll(lambda: not is_remembered(server, next(kinds)), "an attempt that is not remembered")


def is_remembered(server: Running, target: str) -> bool:
    """Let a request compute until the loop is handed off and another request is served."""
    server.gate.opened.clear()
    with server.client() as busy:
        busy.send(request("GET", target))
        poll(lambda: server.loop.team.busy, "the watchdog to act")
        assert get(server) == b"/fast"
        found = f"GET {target}" in server.loop.team._slow_kinds  # noqa: SLF001
        server.gate.opened.set()
        assert busy.answer().body == target.encode()
        return found


def random_client(server: Running, seed: int, visits: int = 100) -> None:
    """A client with random behavior that checks that every response belongs to its request."""
    chance = random.Random(seed)
    client = server.client()
    for visit in range(visits):
        body = chance.randbytes(chance.choice([1, 10, 5000, 100_000]))
        mark = f"/sleep-{chance.choice([0, 0, 0, 0.001, 0.006, 0.02])}"
        kind = chance.randrange(8)
        if kind == 0:  # disconnects in the middle of a request
            client.send(sized(mark, body)[: -chance.randrange(1, len(body) + 1)])
        elif kind == 1:  # disconnects before the response
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
def test_a_random_mix_of_requests_is_answered_correctly(threads: int, capfd: pytest.CaptureFixture[str]) -> None:
    with running(threads, handoff=0.002) as server:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda seed: random_client(server, seed), range(12)))
        poll(lambda: not server.loop.connections, "the loop to drop all connections")
        idle = server.loop.team._idle  # noqa: SLF001
        poll(lambda: len(idle) == threads - 1, "all threads except one to be idle")
        assert get(server) == b"/fast"
    assert "Traceback" not in capfd.readouterr().err
