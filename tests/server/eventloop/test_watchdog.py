"""Calls that hang, and calls that block the loop."""

import json
import random
import time

import pytest

from tests.server.eventloop.running import get, running
from tests.wire.building import request
from tests.wire.polling import PATIENCE, poll


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_call_that_hangs_times_out_with_504(threads: int, capfd: pytest.CaptureFixture[str]) -> None:
    """The client gets 504 while the thread still hangs. The other threads serve other clients."""
    with running(threads, timeout=0.3) as server:
        with server.client() as hanging:
            answer = hanging.get("/wait")
            assert (answer.status, answer.headers["connection"]) == (504, "close")
            assert server.gate.waiting == 1
            if threads > 1:
                assert get(server) == b"/fast"
            server.gate.opened.set()
            assert hanging.rest() == b""
        poll(lambda: not server.loop.connections, "the loop to drop the connection")
        assert get(server) == b"/fast"
    event = json.loads(next(line for line in capfd.readouterr().err.splitlines() if "application-timeout" in line))
    assert event["path"] == "/wait"
    assert "self.opened.wait(PATIENCE)" in event["stack"]


def test_a_close_that_hangs_counts_as_a_stuck_thread(capfd: pytest.CaptureFixture[str]) -> None:
    """The client already has its whole response, but the thread is lost."""
    with running(2, timeout=0.3) as server, server.client() as client:
        assert client.get("/linger").body == b"/linger"
        assert server.too_many_stuck.wait(PATIENCE)
        server.gate.opened.set()
        assert client.get("/fast").body == b"/fast"
    assert capfd.readouterr().err.count("close-timeout") == 1


@pytest.mark.parametrize(("threads", "stuck"), [(1, 1), (2, 1), (4, 2)])
def test_too_many_threads_are_stuck_when_half_of_them_are(threads: int, stuck: int) -> None:
    with running(threads, timeout=0.3) as server:
        clients = [server.client().send(request("GET", "/wait")) for _ in range(stuck)]
        assert [client.answer().status for client in clients] == [504] * stuck
        assert server.too_many_stuck.wait(PATIENCE)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_watchdog_reports_that_the_loop_is_blocked(threads: int) -> None:
    with running(threads) as server:
        assert get(server) == b"/fast"
        clients = [server.client().send(request("GET", "/wait")) for _ in range(threads)]
        poll(lambda: server.blocked[2:], "the watchdog to report it repeatedly")
        server.gate.opened.set()
        for client in clients:
            assert client.answer().status == 200


def test_one_stuck_thread_of_four_is_not_too_many(capfd: pytest.CaptureFixture[str]) -> None:
    with running(4, timeout=0.3) as server, server.client() as client:
        assert client.get("/wait").status == 504
        assert client.socket.recv(1) == b""
        poll(lambda: "application-timeout" in capfd.readouterr().err, "the event")
        assert get(server) == b"/fast"
        assert not server.too_many_stuck.is_set()


def test_a_call_that_waits_for_a_slow_client_does_not_time_out() -> None:
    """An application that waits for its client does not time out; the client has its own deadline."""
    with running(2, timeout=2) as server, server.client() as reader:
        reader.send(request("GET", "/big-150000000"))
        poll(lambda: any(c.exchange.outbox.is_full for c in list(server.loop.connections.values())), "a full outbox")
        with server.client() as hanging:
            assert hanging.get("/wait").status == 504  # so the timeout has passed
        server.gate.opened.set()
        assert len(reader.answer().body) == 150_000_000


def test_the_loop_drains_while_a_thread_hangs() -> None:
    with running(2, timeout=0.3) as server:
        with server.client() as client:
            assert client.get("/wait").status == 504
        server.stop()
        poll(lambda: server.loop.team.finished, "the end of the loop")
        server.gate.opened.set()
        server.wait_for_end()
        (connection,) = server.loop.connections.values()  # stays open in its thread until the process ends
        connection.socket.close()


def test_a_sleeping_watchdog_wakes_up_for_the_next_slow_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sleeps between calls and still notices the first slow call after a sleep."""
    monkeypatch.setattr("wsgiserver.eventloop.watchdog.IDLE_TICKS", 1)
    with running(2, handoff=0.001) as server:
        for n in range(60):
            server.gate.opened.clear()
            with server.client() as slow:
                time.sleep(random.Random(n).random() * 0.01)  # any moment while it falls asleep
                slow.send(request("GET", "/wait"))
                server.wait_for_calls(1)
                assert get(server) == b"/fast"
                server.gate.opened.set()
                assert slow.answer().body == b"/wait"


def test_the_watchdog_ends_with_the_threads() -> None:
    """It sleeps while all threads sleep, after a call that it has not seen yet."""
    with running(2, handoff=0.3) as server:
        assert get(server) == b"/fast"
    poll(lambda: not server._threads(), "the end of the watchdog")  # noqa: SLF001
