"""The counters and gauges, read from /metrics by an independent parser."""

import random
from collections.abc import Iterator

import pytest

from tests.server.telemetry.test_admin import Board
from wsgiserver.errors import REFUSALS
from wsgiserver.telemetry.accesslog import Record
from wsgiserver.telemetry.metrics import BOUNDS, COUNTS, SUMS, Metrics
from wsgiserver.telemetry.scoreboard import SLOT_SIZE, Slot, WorkerPhase

RECORD = Record("192.0.2.1", "id", "GET", "/", 200, 0, 5, "none", "none", 0.0001, 1.5, 0.00000001, "")


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


def test_all_metrics_of_a_worker_fit_into_a_slot() -> None:
    assert 24 + 8 * (COUNTS + SUMS) <= SLOT_SIZE


def test_a_request_is_counted(board: Board) -> None:
    finish(
        board.worker(),
        RECORD,
        RECORD._replace(status=404, sent_bytes=7),
        RECORD._replace(received_bytes=10, spool="memory"),
        RECORD._replace(received_bytes=1000, spool="file", status=799),
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
    finish(board.worker(), RECORD._replace(status=REFUSALS[name][0].value, error=name, receive_seconds=3.0))
    expected = {("refused_total", each): float(each == name) for each in REFUSALS}
    expected[("incomplete_bodies_total", "")] = name == "body-incomplete"
    expected[("receive_seconds_count", "")] = 0
    if REFUSALS[name][0] in {408, 504}:
        expected[("timeouts_total", name)] = 1
    check(board, expected)


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_bound_of_a_bucket_is_inclusive(board: Board, bound: float) -> None:
    finish(board.worker(), RECORD._replace(send_seconds=bound), RECORD._replace(send_seconds=bound * 1.0001))
    samples = board.samples()
    below = [samples["send_seconds_bucket", str(each)] for each in BOUNDS]
    assert below[BOUNDS.index(bound)] == 1
    assert below == sorted(below)
    assert samples["send_seconds_bucket", "+Inf"] == samples["send_seconds_count", ""] == 2


def test_the_metrics_of_all_workers_are_summed_up(board: Board) -> None:
    phases = [WorkerPhase.READY, WorkerPhase.READY, WorkerPhase.RETIRING, WorkerPhase.STARTING, WorkerPhase.DRAINING]
    for phase in phases:
        slot = board.worker(phase)
        metrics = finish(slot, RECORD)
        metrics.gauges(connections=5, queued=3, busy=2, stuck=1)
        metrics.totals(accepted=6, handoffs=7, dropped=8)
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
            ("handoffs_total", ""): 35,
            ("log_lines_dropped_total", ""): 40,
            ("workers", "ready"): 2,
            ("workers", "starting"): 1,
            ("workers", "retiring"): 1,
            ("workers", "draining"): 1,
        },
    )


def use_slot(slot: Slot, connections: int) -> None:
    metrics = Metrics(slot)
    metrics.finished(RECORD)
    metrics.gauges(connections=connections, queued=0, busy=0, stuck=0)
    metrics.totals(accepted=connections, handoffs=0, dropped=0)
    slot.publish()


def test_a_thread_in_the_application_counts_as_busy(board: Board) -> None:
    """A worker with one thread cannot report its call itself; the scoreboard shows that it does not wait."""
    slot = board.worker()
    slot.heartbeats[0] = 5.0
    board.worker()
    check(board, {("threads_busy", ""): 1, ("requests_in_flight", ""): 1})
    slot.heartbeats[0] = 0.0
    check(board, {("threads_busy", ""): 0, ("requests_in_flight", ""): 0})


def test_counters_outlive_their_worker_but_gauges_do_not(board: Board) -> None:
    slot = board.worker()
    use_slot(slot, 5)
    board.scoreboard.release(slot)
    check(board, {("requests_total", "2xx"): 1, ("connections_accepted_total", ""): 5, ("connections", ""): 0})
    again = board.worker()
    assert again is slot
    use_slot(again, 1)
    check(board, {("requests_total", "2xx"): 2, ("connections_accepted_total", ""): 6, ("connections", ""): 1})
    check(board, {("application_seconds_sum", ""): 3.0, ("application_seconds_count", ""): 2})


def worker_cycle(board: Board) -> Iterator[None]:
    """Workers that start, count one request and end."""
    while True:
        slot = board.worker()
        yield
        finish(slot, RECORD)
        yield
        board.scoreboard.release(slot)
        yield


def test_no_counter_ever_falls(board: Board) -> None:
    """Reads and replacements interleave in any order. A slot is cleared before `past` has its counts."""
    chance = random.Random(3)
    cycles = [worker_cycle(board) for _ in range(5)]
    last = 0.0
    for _ in range(300):
        next(chance.choice(cycles))
        total = board.samples()["requests_total", "2xx"]
        assert last <= total <= last + 1
        last = total
    slot = board.worker()
    finish(slot, RECORD)
    assert board.samples()["requests_total", "2xx"] == last + 1
    slot.counts = [0] * COUNTS
    slot.publish()  # in the middle of a release
    assert board.samples()["requests_total", "2xx"] == last + 1
