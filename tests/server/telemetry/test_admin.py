"""The responses of the admin listener, read by an independent parser."""

import os
import platform
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wsgiserver import __version__
from wsgiserver.errors import REFUSALS
from wsgiserver.telemetry.admin import application
from wsgiserver.telemetry.metrics import COUNTS, SUMS
from wsgiserver.telemetry.resources import memory_limit
from wsgiserver.telemetry.scoreboard import Scoreboard, Slot, WorkerPhase

PREFIX = "wsgiserver_"
Samples = dict[tuple[str, str], float]


class Board:
    """A scoreboard as in the supervisor, and the application of the admin listener."""

    def __init__(self) -> None:
        self.scoreboard = Scoreboard(COUNTS, SUMS)
        self.application = application(self.scoreboard)

    def worker(self, phase: WorkerPhase = WorkerPhase.READY, pid: int = 0) -> Slot:
        slot = self.scoreboard.claim()
        assert slot is not None
        slot.take(pid)
        slot.advance(phase)
        return slot

    def fetch(self, path: str, method: str = "GET") -> tuple[str, dict[str, str], str]:
        response: list[Any] = []
        blocks = self.application(
            {"PATH_INFO": path, "REQUEST_METHOD": method},
            lambda status, headers: response.extend((status, dict(headers))),
        )
        body = b"".join(blocks)
        assert int(response[1]["Content-Length"]) == len(body)
        return response[0], response[1], body.decode()

    def samples(self) -> Samples:
        """All samples of /metrics: (name without prefix, value of the only label) -> value."""
        status, headers, text = self.fetch("/metrics")
        assert status == "200 OK"
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        samples: Samples = {}
        for family in text_string_to_metric_families(text):
            assert family.name.startswith(PREFIX)
            assert family.documentation
            assert family.type in {"counter", "gauge", "histogram"}
            for sample in family.samples:
                key = sample.name.removeprefix(PREFIX), ",".join(sample.labels.values())
                assert key not in samples
                samples[key] = sample.value
        return samples


@pytest.fixture
def board() -> Board:
    return Board()


def test_every_metric_is_exported_from_the_start(board: Board) -> None:
    samples = board.samples()
    assert {name for name, _ in samples} == {
        "requests_total",
        "refused_total",
        "timeouts_total",
        "incomplete_bodies_total",
        "received_bytes_total",
        "sent_bytes_total",
        "spooled_bytes_total",
        "connections_accepted_total",
        "handoffs_total",
        "log_lines_dropped_total",
        "worker_restarts_total",
        "connections",
        "requests_in_flight",
        "requests_queued",
        "threads_busy",
        "threads_stuck",
        "resident_memory_bytes",
        "memory_limit_bytes",
        "workers",
        "build_info",
        *(
            f"{stage}_seconds_{suffix}"
            for stage in ("receive", "application", "send")
            for suffix in ("bucket", "count", "sum")
        ),
    }
    assert samples.pop(("build_info", __version__ + "," + platform.python_version())) == 1
    assert samples.pop(("memory_limit_bytes", "")) == (memory_limit(Path("/")) or 0)
    assert set(samples.values()) == {0}
    assert {label for name, label in samples if name == "refused_total"} == set(REFUSALS)
    assert {label for name, label in samples if name == "workers"} == {"starting", "ready", "retiring", "draining"}


def test_the_memory_metric_sums_up_the_workers(board: Board) -> None:
    board.worker(pid=os.getpid())
    board.worker(pid=2**22 + 1)  # this process has just ended
    assert 1 << 20 < board.samples()["resident_memory_bytes", ""] < 1 << 40


@pytest.mark.parametrize(
    ("phases", "server", "status"),
    [
        ([], WorkerPhase.VACANT, 503),
        ([WorkerPhase.STARTING], WorkerPhase.VACANT, 503),
        ([WorkerPhase.DRAINING], WorkerPhase.VACANT, 503),
        ([WorkerPhase.STARTING, WorkerPhase.READY], WorkerPhase.VACANT, 200),
        ([WorkerPhase.RETIRING], WorkerPhase.VACANT, 200),
        ([WorkerPhase.READY], WorkerPhase.READY, 200),
        ([WorkerPhase.READY], WorkerPhase.DRAINING, 503),
    ],
)
def test_readyz_reports_whether_a_worker_is_ready(
    board: Board, phases: list[WorkerPhase], server: WorkerPhase, status: int
) -> None:
    for phase in phases:
        board.worker(phase)
    board.scoreboard.past.advance(server)
    returned_status, headers, text = board.fetch("/readyz")
    assert (returned_status, text) == (
        f"{status} {HTTPStatus(status).phrase}",
        "ready\n" if status == 200 else "stopping\n" if server is WorkerPhase.DRAINING else "no worker is ready\n",
    )
    assert headers["Cache-Control"] == "no-store"
    assert board.fetch("/healthz")[::2] == ("200 OK", "alive\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/healthz", "200 OK"),
        ("HEAD", "/metrics", "200 OK"),
        ("POST", "/healthz", "405 Method Not Allowed"),
        ("GET", "/", "404 Not Found"),
        ("GET", "/healthz/", "404 Not Found"),
        ("POST", "/nothing", "404 Not Found"),
    ],
)
def test_only_get_and_head_of_known_paths_are_served(board: Board, method: str, path: str, status: str) -> None:
    returned_status, headers, _ = board.fetch(path, method)
    assert returned_status == status
    assert headers.get("Allow") == ("GET, HEAD" if status.startswith("405") else None)
