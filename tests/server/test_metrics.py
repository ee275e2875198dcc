"""What is counted, and what the admin listener answers: read back by an independent parser."""

import os
import platform
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wsgiserver import __version__
from wsgiserver.accesslog import Record
from wsgiserver.errors import REFUSALS
from wsgiserver.metrics import BOUNDS, COUNTS, SUMS, Metrics, application
from wsgiserver.resources import memory_limit
from wsgiserver.scoreboard import SLOT_SIZE, Phase, Scoreboard, Slot

RECORD = Record("192.0.2.1", "id", "GET", "/", 200, 0, 5, "none", "none", 0.0001, 1.5, 0.00000001, "")
PREFIX = "wsgiserver_"
Samples = dict[tuple[str, str], float]


class Board:
    """A scoreboard as the supervisor has it, and its admin listener's application."""

    def __init__(self) -> None:
        self.scoreboard = Scoreboard(COUNTS, SUMS)
        self.application = application(self.scoreboard)

    def worker(self, phase: Phase = Phase.READY, pid: int = 0) -> Slot:
        slot = self.scoreboard.claim()
        assert slot is not None
        slot.take(pid)
        slot.phase = phase
        return slot

    def ask(self, path: str, method: str = "GET") -> tuple[str, dict[str, str], str]:
        said: list[Any] = []
        blocks = self.application(
            {"PATH_INFO": path, "REQUEST_METHOD": method}, lambda status, headers: said.extend((status, dict(headers)))
        )
        body = b"".join(blocks)
        assert int(said[1]["Content-Length"]) == len(body)
        return said[0], said[1], body.decode()

    def samples(self) -> Samples:
        """Everything that /metrics says: (name without prefix, the one label's value) -> value."""
        status, headers, text = self.ask("/metrics")
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


def finish(slot: Slot, *records: Record) -> Metrics:
    metrics = Metrics(slot)
    for record in records:
        metrics.finished(record)
    slot.publish()
    return metrics


def check(board: Board, expected: dict[tuple[str, str], float]) -> None:
    samples = board.samples()
    assert {key: samples[key] for key in expected} == expected


def test_all_of_it_fits_into_a_slot() -> None:
    assert 24 + 8 * (COUNTS + SUMS) <= SLOT_SIZE


def test_every_metric_is_there_before_anything_has_happened(board: Board) -> None:
    samples = board.samples()
    assert {name for name, _ in samples} == {
        "requests_total",
        "refused_total",
        "timeouts_total",
        "truncated_total",
        "received_bytes_total",
        "sent_bytes_total",
        "spooled_bytes_total",
        "connections_accepted_total",
        "baton_passes_total",
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
            f"{stage}_seconds_{what}"
            for stage in ("receive", "application", "send")
            for what in ("bucket", "count", "sum")
        ),
    }
    assert samples.pop(("build_info", __version__ + "," + platform.python_version())) == 1
    assert samples.pop(("memory_limit_bytes", "")) == (memory_limit(Path("/")) or 0)
    assert set(samples.values()) == {0}
    assert {label for name, label in samples if name == "refused_total"} == set(REFUSALS)
    assert {label for name, label in samples if name == "workers"} == {"starting", "ready", "retiring", "draining"}


def test_a_request_is_counted(board: Board) -> None:
    finish(
        board.worker(),
        RECORD,
        RECORD._replace(status=404, sent=7),
        RECORD._replace(received=10, spool="memory"),
        RECORD._replace(received=1000, spool="file", status=799),
    )
    check(
        board,
        {
            ("requests_total", "2xx"): 2,
            ("requests_total", "4xx"): 1,
            ("requests_total", "7xx"): 1,
            ("sent_bytes_total", ""): 22,
            ("received_bytes_total", ""): 1010,
            ("spooled_bytes_total", ""): 1000,
            ("application_seconds_count", ""): 4,
            ("application_seconds_sum", ""): 6.0,
            ("application_seconds_bucket", "1.0"): 0,
            ("application_seconds_bucket", "2.5"): 4,
            ("receive_seconds_bucket", "0.001"): 4,
            ("send_seconds_bucket", "0.001"): 4,
        },
    )


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_counted_by_its_name(board: Board, name: str) -> None:
    finish(board.worker(), RECORD._replace(status=REFUSALS[name][0].value, refused=name, receive=3.0))
    expected = {("refused_total", each): float(each == name) for each in REFUSALS}
    expected[("truncated_total", "")] = name == "body-truncated"
    expected[("receive_seconds_count", "")] = 0
    if REFUSALS[name][0] in {408, 504}:
        expected[("timeouts_total", name)] = 1
    check(board, expected)


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_bound_belongs_to_its_bucket(board: Board, bound: float) -> None:
    finish(board.worker(), RECORD._replace(send=bound), RECORD._replace(send=bound * 1.0001))
    samples = board.samples()
    below = [samples["send_seconds_bucket", str(each)] for each in BOUNDS]
    assert below[BOUNDS.index(bound)] == 1
    assert below == sorted(below)
    assert samples["send_seconds_bucket", "+Inf"] == samples["send_seconds_count", ""] == 2


def test_workers_are_summed_up(board: Board) -> None:
    phases = [Phase.READY, Phase.READY, Phase.RETIRING, Phase.STARTING, Phase.DRAINING]
    for phase in phases:
        slot = board.worker(phase)
        metrics = finish(slot, RECORD)
        metrics.gauges(connections=5, queued=3, busy=2, stuck=1)
        metrics.totals(accepted=6, passes=7, dropped=8)
        slot.publish()
    check(
        board,
        {
            ("requests_total", "2xx"): 5,
            ("connections", ""): 25,
            ("requests_in_flight", ""): 25,
            ("requests_queued", ""): 15,
            ("threads_busy", ""): 10,
            ("threads_stuck", ""): 5,
            ("connections_accepted_total", ""): 30,
            ("baton_passes_total", ""): 35,
            ("log_lines_dropped_total", ""): 40,
            ("workers", "ready"): 2,
            ("workers", "starting"): 1,
            ("workers", "retiring"): 1,
            ("workers", "draining"): 1,
        },
    )


def live(slot: Slot, connections: int) -> None:
    metrics = Metrics(slot)
    metrics.finished(RECORD)
    metrics.gauges(connections=connections, queued=0, busy=0, stuck=0)
    metrics.totals(accepted=connections, passes=0, dropped=0)
    slot.publish()


def test_a_thread_that_has_not_come_back_is_busy(board: Board) -> None:
    """A worker of one thread cannot tell that it is in the application; that it is not waiting can be seen."""
    slot = board.worker()
    slot.signs[0] = 5.0
    board.worker()
    check(board, {("threads_busy", ""): 1, ("requests_in_flight", ""): 1})
    slot.signs[0] = 0.0
    check(board, {("threads_busy", ""): 0, ("requests_in_flight", ""): 0})


def test_counters_outlive_their_worker_and_gauges_do_not(board: Board) -> None:
    slot = board.worker()
    live(slot, 5)
    board.scoreboard.release(slot)
    check(board, {("requests_total", "2xx"): 1, ("connections_accepted_total", ""): 5, ("connections", ""): 0})
    again = board.worker()
    assert again is slot
    live(again, 1)
    check(board, {("requests_total", "2xx"): 2, ("connections_accepted_total", ""): 6, ("connections", ""): 1})
    check(board, {("application_seconds_sum", ""): 3.0, ("application_seconds_count", ""): 2})


def replaced_forever(board: Board) -> Iterator[None]:
    """Workers that come, count one request and go."""
    while True:
        slot = board.worker()
        yield
        finish(slot, RECORD)
        yield
        board.scoreboard.release(slot)
        yield


def test_no_counter_ever_falls(board: Board) -> None:
    """However looks and replacements come between each other; a slot is emptied before `past` has its counts."""
    dice = random.Random(3)
    lives = [replaced_forever(board) for _ in range(5)]
    last = 0.0
    for _ in range(300):
        next(dice.choice(lives))
        seen = board.samples()["requests_total", "2xx"]
        assert last <= seen <= last + 1
        last = seen
    slot = board.worker()
    finish(slot, RECORD)
    assert board.samples()["requests_total", "2xx"] == last + 1
    slot.counts = [0] * COUNTS
    slot.publish()  # in the middle of a release
    assert board.samples()["requests_total", "2xx"] == last + 1


def test_memory_is_that_of_the_workers(board: Board) -> None:
    board.worker(pid=os.getpid())
    board.worker(pid=2**22 + 1)  # no such process: it has just ended
    assert 1 << 20 < board.samples()["resident_memory_bytes", ""] < 1 << 40


@pytest.mark.parametrize(
    ("phases", "server", "status"),
    [
        ([], Phase.NONE, 503),
        ([Phase.STARTING], Phase.NONE, 503),
        ([Phase.DRAINING], Phase.NONE, 503),
        ([Phase.STARTING, Phase.READY], Phase.NONE, 200),
        ([Phase.RETIRING], Phase.NONE, 200),
        ([Phase.READY], Phase.READY, 200),
        ([Phase.READY], Phase.DRAINING, 503),
    ],
)
def test_readiness(board: Board, phases: list[Phase], server: Phase, status: int) -> None:
    for phase in phases:
        board.worker(phase)
    board.scoreboard.past.phase = server
    said, headers, text = board.ask("/readyz")
    assert (int(said[:3]), text) == (
        status,
        "ready\n" if status == 200 else "stopping\n" if server is Phase.DRAINING else "no worker is ready\n",
    )
    assert headers["Cache-Control"] == "no-store"
    assert board.ask("/healthz")[::2] == ("200 OK", "alive\n")


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
def test_other_requests(board: Board, method: str, path: str, status: str) -> None:
    said, headers, _ = board.ask(path, method)
    assert said == status
    assert headers.get("Allow") == ("GET, HEAD" if status.startswith("405") else None)
