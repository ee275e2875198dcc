"""Workers are replaced after enough requests, above a memory limit, or if they hang."""

import pytest

from tests.server.conftest import Serve, Server
from tests.server.process.test_reload import MIXED, Load
from tests.wire.building import chunked, request
from tests.wire.polling import poll


def pid(server: Server) -> int:
    return int(server.get("/pid").body)


def retirements(server: Server) -> list[str]:
    return [event["reason"] for event in server.events("worker-retires")]


def test_a_worker_is_replaced_after_max_requests(serve: Serve) -> None:
    server = serve("--max-requests", "10", "--max-requests-jitter", "3")
    first = pid(server)
    poll(lambda: pid(server) != first, "another worker")
    assert int(retirements(server)[0].split()[3]) >= 10
    assert not server.events("worker-died")


def test_recycling_under_load_loses_no_request(serve: Serve) -> None:
    server = serve("-w", "2", "--max-requests", "50", "--max-requests-jitter", "50")
    body = b"0123456789" * 30_000
    half = server.client().send(chunked("/upload", body)[:100_000])
    load = Load(server, MIXED)
    with load.running():
        poll(lambda: len(retirements(server)) >= 2, "both workers to retire, including the one with the upload")
        assert half.send(chunked("/upload", body)[100_000:]).answer().status == 200
        poll(lambda: len(retirements(server)) >= 4, "more workers to retire")
    assert not load.lost
    assert not [event for event in server.events() if event["event"] in {"worker-died", "cut-off"}]


def test_workers_retire_one_at_a_time(serve: Serve) -> None:
    server = serve("-w", "3", "--max-requests", "1")
    counts = []

    def count_workers() -> bool:
        server.get("/")
        counts.append(len(server.workers()))
        return len(retirements(server)) >= 6

    poll(count_workers, "six workers to retire")
    assert max(counts) <= 4


def test_a_worker_above_max_memory_is_replaced(serve: Serve) -> None:
    server = serve("--max-memory", "100m")
    first = pid(server)
    server.get("/keep-150000000")
    poll(lambda: pid(server) != first, "another worker")
    assert "bytes of memory" in retirements(server)[0]


def test_a_max_memory_below_the_size_of_a_new_worker_is_ignored(serve: Serve) -> None:
    """Otherwise each worker would be replaced immediately."""
    server = serve("--max-memory", "1m")
    first = pid(server)
    assert server.events("max-memory-ignored")[0]["max_memory_bytes"] == 1 << 20
    for _ in range(20):
        assert pid(server) == first


def test_a_hung_worker_is_replaced_and_its_stacks_are_logged(serve: Serve) -> None:
    """A thread that never releases the GIL stops all threads, including the watchdog."""
    server = serve("--timeout", "0.5")
    first = pid(server)
    stuck = server.client().send(request("GET", "/hang-600"))
    event = poll(lambda: server.events("worker-hung"), "the server to detect the hang")[0]
    assert event["worker"] == first
    assert event["silent_seconds"] >= 5.5
    with pytest.raises(ConnectionError):
        stuck.answer()
    assert pid(server) != first
    assert "Fatal Python error: Aborted" in server.error_output
    assert "in hang\n" in server.error_output
    assert not server.events("worker-died")
