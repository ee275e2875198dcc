"""HUP and the number of workers: which workers are replaced in which order, without a lost request."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.building import chunked, request, sized
from tests.wire.client import Client
from tests.wire.polling import poll

BODY = b"0123456789" * 30_000
SERVED = """
from tests.server.application import ROUTES, application
ROUTES["version"] = lambda *_: [b"{version}"]
{more}
"""

Deploy = Callable[..., None]


@pytest.fixture
def deploy(tmp_path: Path) -> Deploy:
    """Deploy a version of the application. The rename is atomic, so that no worker imports half of it."""

    def put(version: int, more: str = "") -> None:
        (tmp_path / "new").write_text(SERVED.format(version=version, more=more))
        (tmp_path / "new").rename(tmp_path / "served.py")

    return put


@pytest.fixture
def start(serve: Serve, deploy: Deploy, tmp_path: Path) -> Callable[..., Server]:
    def start_server(*flags: str, **variables: str) -> Server:
        deploy(1)
        server = serve(*flags, application="served", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1", **variables)
        workers = int(flags[flags.index("-w") + 1]) if "-w" in flags else 1
        poll(lambda: len(server.events("worker-ready")) == workers, "all workers to load the application")
        return server

    return start_server


def version(server: Server) -> bytes:
    return server.get("/version").body


def reload(server: Server, event: str = "reloaded") -> None:
    before = len(server.events(event))
    server.signal(signal.SIGHUP)
    poll(lambda: len(server.events(event)) > before, event)


class Load:
    """Clients that repeat requests as fast as they get responses. `lost` holds the errors."""

    def __init__(self, server: Server, requests: list[bytes]) -> None:
        self._server = server
        self._over = threading.Event()
        self.lost: list[Exception] = []
        self.answered = 0
        self._threads = [threading.Thread(target=self._send, args=(data,)) for data in requests]

    def _send(self, data: bytes) -> None:
        while not self._over.is_set():
            with self._server.client() as client:
                self._send_on(client, data)

    def _send_on(self, client: Client, data: bytes) -> None:
        """Use one connection for as long as the server keeps it open."""
        while not self._over.is_set() and not client.has_ended():
            try:
                answer = client.send(data).answer()
            except (OSError, AssertionError) as error:
                self.lost.append(error)
                return
            self.answered += answer.status == 200
            if answer.headers.get("connection") == "close":
                return

    def wait_for_more(self, count: int) -> None:
        """Wait for `count` more responses."""
        target = self.answered + count
        poll(lambda: self.answered >= target, "more responses")

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            self.wait_for_more(len(self._threads))
            yield
            self.wait_for_more(len(self._threads))
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()


MIXED = [
    request("GET", "/"),
    request("GET", "/sleep-0.02"),
    request("GET", "/", "Connection: close"),
    chunked("/upload", BODY),
    sized("/upload", BODY, "Connection: close"),
]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_reload_under_load_loses_no_request(start: Callable[..., Server], deploy: Deploy, workers: str) -> None:
    server = start("-w", workers)
    half = server.client().send(chunked("/upload", BODY)[:100_000])
    old = set(server.workers(int(workers)))
    load = Load(server, MIXED)
    with load.running():
        deploy(2)
        server.signal(signal.SIGHUP)
        poll(lambda: version(server) == b"2", "a new worker")
        load.wait_for_more(20)
        assert half.send(chunked("/upload", BODY)[100_000:]).answer().status == 200
        poll(lambda: server.events("reloaded"), "the reload to finish")
        assert version(server) == b"2"
    assert not load.lost
    assert len(server.workers()) == int(workers)
    assert not old & set(server.workers())
    assert not [event for event in server.events() if event["event"] in {"worker-died", "cut-off"}]


def test_the_old_worker_serves_until_the_new_one_is_ready(start: Callable[..., Server], deploy: Deploy) -> None:
    server = start()
    (old,) = server.workers()
    deploy(2, "ROUTES['wait'](None, '')")
    server.signal(signal.SIGHUP)
    server.wait_for_calls(1)
    assert version(server) == b"1"
    server.open_gate()
    poll(lambda: version(server) == b"2", "the new worker")
    poll(lambda: old not in server.workers(), "the old worker to end")


@pytest.mark.parametrize("more", ["1 +", "import no.such.module", "import os; os._exit(7)"])
def test_a_reload_of_a_broken_application_keeps_the_old_workers(
    start: Callable[..., Server], deploy: Deploy, more: str
) -> None:
    """A later reload with a working application succeeds."""
    server = start("-w", "2")
    before = server.workers(2)
    deploy(2, more)
    reload(server, "reload-failed")
    assert server.events("reload-failed")[0]["application"] == "served"
    assert server.workers() == before
    assert version(server) == b"1"
    deploy(3)
    reload(server)
    assert version(server) == b"3"
    assert len(server.events("reload-failed")) == 1


def test_a_reload_replaces_workers_one_at_a_time(start: Callable[..., Server]) -> None:
    server = start("-w", "3")
    server.workers(3)
    counts: list[int] = []

    def count_workers() -> list[dict[str, Any]]:
        counts.append(len(server.workers()))
        return server.events("reloaded")

    server.signal(signal.SIGHUP)
    poll(count_workers, "the reload to finish")
    assert max(counts) <= 4


def test_a_reload_drains_old_workers_for_a_bounded_time(start: Callable[..., Server]) -> None:
    server = start("--graceful-timeout", "0.5")
    stuck = server.client().send(request("GET", "/wait"))
    server.wait_for_calls(1)
    reload(server)
    assert server.events("cut-off")
    assert not server.events("worker-died")
    with pytest.raises(ConnectionError):
        stuck.answer()
    assert version(server) == b"1"


def test_a_second_hup_during_a_reload_loads_the_latest_code(start: Callable[..., Server], deploy: Deploy) -> None:
    """Changes made before the last HUP are served in the end."""
    server = start("-w", "2")
    old = set(server.workers(2))
    deploy(2, "ROUTES['wait'](None, '')")
    server.signal(signal.SIGHUP)
    server.wait_for_calls(1)
    deploy(3)
    server.signal(signal.SIGHUP)
    poll(lambda: len(server.events("reloading")) == 2, "the second signal to arrive")
    server.open_gate()
    poll(lambda: server.events("reloaded"), "the reload to finish")
    assert {version(server) for _ in range(10)} == {b"3"}
    assert not old & set(server.workers(2))


def test_repeated_hups_under_load_lose_no_request(start: Callable[..., Server], deploy: Deploy) -> None:
    server = start("-w", "2")
    load = Load(server, MIXED)
    with load.running():
        for number in range(2, 10):
            deploy(number)
            server.signal(signal.SIGHUP)
            load.wait_for_more(2)
        poll(lambda: version(server) == b"9", "the last version")
        poll(lambda: len(server.workers()) == 2, "the reload to finish")
    assert not load.lost


def test_a_hup_before_any_worker_is_ready_loads_the_latest_code(serve: Serve, deploy: Deploy, tmp_path: Path) -> None:
    deploy(1, "ROUTES['wait'](None, '')")
    server = serve("-w", "2", application="served", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1")
    server.wait_for_calls(2)
    deploy(2)
    server.signal(signal.SIGHUP)
    poll(lambda: server.events("reloading"), "the signal to arrive")
    server.open_gate()
    poll(lambda: server.events("reloaded"), "the reload to finish")
    assert version(server) == b"2"


def test_term_ends_a_reload(start: Callable[..., Server], deploy: Deploy) -> None:
    server = start("-w", "2")
    deploy(2, "ROUTES['wait'](None, '')")
    server.signal(signal.SIGHUP)
    server.wait_for_calls(1)
    server.signal(signal.SIGTERM)
    poll(lambda: server.events("stopping"), "the server to stop")
    server.open_gate()
    assert server.wait_for_end() == 0
    assert not server.events("cut-off")


def test_a_reload_completes_after_the_death_of_the_old_worker(start: Callable[..., Server], deploy: Deploy) -> None:
    server = start()
    (old,) = server.workers()
    deploy(2, "ROUTES['wait'](None, '')")
    server.signal(signal.SIGHUP)
    server.wait_for_calls(1)
    os.kill(old, signal.SIGKILL)
    poll(lambda: server.events("worker-died"), "the worker to die")
    server.open_gate()
    assert version(server) == b"2"
    assert len(server.workers()) == 1


def test_a_reload_whose_new_worker_is_killed_keeps_the_old_one(start: Callable[..., Server], deploy: Deploy) -> None:
    server = start()
    (old,) = server.workers()
    deploy(2, "ROUTES['wait'](None, '')")
    server.signal(signal.SIGHUP)
    server.wait_for_calls(1)
    (new,) = set(server.workers()) - {old}
    os.kill(new, signal.SIGKILL)
    poll(lambda: server.events("reload-failed"), "the reload to fail")
    assert server.workers() == [old]
    assert version(server) == b"1"


def test_a_killed_worker_loses_only_its_own_requests(start: Callable[..., Server]) -> None:
    server = start("-w", "2", "--threads", "2")
    server.workers(2)
    load = Load(server, [request("GET", "/sleep-0.02", "Connection: close")] * 4)
    with load.running():
        worker = int(server.get("/pid").body)
        os.kill(worker, signal.SIGKILL)
        poll(lambda: len(server.workers()) == 2 and worker not in server.workers(), "another worker")
        load.wait_for_more(20)
    assert len(load.lost) <= 4, "at most one per connection"


def test_a_worker_that_gets_term_from_outside_is_replaced_while_it_drains(start: Callable[..., Server]) -> None:
    server = start()
    (old,) = server.workers()
    slow = server.client().send(request("GET", "/wait"))
    server.wait_for_calls(1)
    os.kill(old, signal.SIGTERM)
    server.workers(2)
    assert version(server) == b"1"
    server.open_gate()
    assert slow.answer().body == b"waited"
    poll(lambda: old not in server.workers(), "the old worker to end")
    assert not server.events("worker-died")


def test_ttin_and_ttou_add_and_remove_workers(start: Callable[..., Server]) -> None:
    server = start()
    load = Load(server, MIXED)
    with load.running():
        for number, wanted in [(signal.SIGTTIN, 2), (signal.SIGTTIN, 3), (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)]:
            server.signal(number)
            poll(lambda wanted=wanted: len(server.workers()) == wanted, f"{wanted} workers")  # type: ignore[misc]
    assert not load.lost
    server.signal(signal.SIGTTOU)
    reload(server)
    assert [event["workers"] for event in server.events("resized")] == [2, 3, 2, 1], (
        "at least one worker serves at any time"
    )
