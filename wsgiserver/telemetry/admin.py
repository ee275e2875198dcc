"""What the admin listener answers: /healthz, /readyz and /metrics, from the scoreboard that all processes share.

It is a WSGI application, served by a process of its own (docs/adr/0003), and knows neither sockets nor threads.

A counter is the sum over living workers and those that are gone; a gauge the sum over living workers. A worker that is
just being replaced may be missed by a snapshot (never counted twice: see `_Totals`), so no counter is let fall.
"""

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from wsgiserver.errors import REFUSALS
from wsgiserver.telemetry.metrics import (
    ACCEPTED,
    APPLICATION,
    BOUNDS,
    BUCKETS,
    BUSY,
    CLASSES,
    CONNECTIONS,
    COUNTS,
    DROPPED,
    HANDOFFS,
    QUEUED,
    RECEIVE,
    RECEIVED,
    REFUSED,
    RESTARTS,
    SEND,
    SENT,
    SPOOLED,
    STUCK,
    SUMS,
)
from wsgiserver.telemetry.resources import memory_limit
from wsgiserver.telemetry.scoreboard import Phase, Scoreboard, Slot
from wsgiserver.version import VERSION

TIMEOUTS: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT}
_COUNTERS: Final = {
    "received_bytes": (RECEIVED, "Bytes of request bodies, chunk framing not counted."),
    "sent_bytes": (SENT, "Bytes of response bodies."),
    "spooled_bytes": (SPOOLED, "Bytes of request bodies that were too large for memory and went to a file."),
    "connections_accepted": (ACCEPTED, "Connections accepted."),
    "handoffs": (HANDOFFS, "Times another thread had to take over the loop from one busy in the application."),
    "log_lines_dropped": (DROPPED, "Lines of log lost because nobody read them."),
    "worker_restarts": (RESTARTS, "Workers started to replace one that ended."),
    "incomplete_bodies": (REFUSED["body-incomplete"], "Requests whose connection ended before their body did."),
}
_GAUGES: Final = {
    "connections": ([CONNECTIONS], "Open connections, idle ones included."),
    "requests_in_flight": ([QUEUED, BUSY], "Requests that are complete, in the application or before it."),
    "requests_queued": ([QUEUED], "Requests that are complete and wait for a thread."),
    "threads_busy": ([BUSY], "Threads in the application, or at work for the loop."),
    "threads_stuck": ([STUCK], "Threads that are in the application for longer than its time limit."),
}
_TIMES: Final = {
    "receive": (RECEIVE, "Seconds from the first byte of a request to its last."),
    "application": (APPLICATION, "Seconds in the application."),
    "send": (SEND, "Seconds from the end of the application to the last byte the client took."),
}

AdminApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def application(scoreboard: Scoreboard) -> AdminApplication:
    """Return the WSGI application of the admin listener."""
    totals = _Totals(scoreboard)
    pages: dict[str, Callable[[], tuple[str, str]]] = {
        "/healthz": lambda: ("200 OK", "alive\n"),
        "/readyz": lambda: _readiness(scoreboard),
        "/metrics": lambda: ("200 OK", "".join(f"{line}\n" for line in _exposition(scoreboard, totals))),
    }

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = [("Content-Type", "text/plain; version=0.0.4; charset=utf-8"), ("Cache-Control", "no-store")]
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            status, text = "404 Not Found", f"there are {', '.join(pages)}\n"
        elif environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            status, text = "405 Method Not Allowed", "only GET and HEAD\n"
            headers.append(("Allow", "GET, HEAD"))
        else:
            status, text = page()
        body = text.encode()
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _readiness(scoreboard: Scoreboard) -> tuple[str, str]:
    """A worker that asks to be replaced still serves; one that was asked to end will not for long."""
    if scoreboard.past.phase is Phase.DRAINING:
        return "503 Service Unavailable", "stopping\n"
    if scoreboard.is_failing:
        return "503 Service Unavailable", "workers end again and again\n"
    if any(slot.phase in {Phase.READY, Phase.RETIRING} for slot in scoreboard.workers()):
        return "200 OK", "ready\n"
    return "503 Service Unavailable", "no worker is ready\n"


class _Totals:
    """Counters over all workers. `past` is read first, and `Scoreboard.release` empties a slot before it adds to
    `past`: so nothing is ever seen in both places, only for a moment in none. For that moment the last snapshot holds.
    """

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._counts = [0] * COUNTS
        self._sums = [0.0] * SUMS

    def snapshot(self) -> tuple[list[int], list[float], list[int]]:
        """Return the counters' `counts` and `sums`, and the `counts` in which the gauges are."""
        past_counts, past_sums = self._scoreboard.past.read()
        workers = [slot.read() for slot in self._scoreboard.workers()]
        counts = [sum(column) for column in zip(past_counts, *(counts for counts, _ in workers), strict=True)]
        sums = [sum(column) for column in zip(past_sums, *(sums for _, sums in workers), strict=True)]
        self._counts = [max(pair) for pair in zip(self._counts, counts, strict=True)]
        self._sums = [max(pair) for pair in zip(self._sums, sums, strict=True)]
        gauges = [total - past for total, past in zip(counts, past_counts, strict=True)]
        gauges[BUSY] += sum(slot.busy_since > 0 for slot in self._scoreboard.workers())
        return self._counts, self._sums, gauges


def _exposition(scoreboard: Scoreboard, totals: _Totals) -> Iterator[str]:
    """Yield the lines of Prometheus's text format, version 0.0.4."""
    counts, sums, gauges = totals.snapshot()
    yield from _labelled_counters(counts)
    for name, (index, meaning) in _COUNTERS.items():
        yield from _family(f"{name}_total", "counter", meaning, {"": counts[index]})
    for name, (indexes, meaning) in _GAUGES.items():
        yield from _family(name, "gauge", meaning, {"": sum(gauges[index] for index in indexes)})
    yield from _processes(list(scoreboard.workers()))
    for (name, (index, meaning)), seconds in zip(_TIMES.items(), sums, strict=True):
        yield from _histogram(f"wsgiserver_{name}_seconds", meaning, counts[index : index + BUCKETS], seconds)
    build = f'version="{VERSION}",python="{platform.python_version()}"'
    yield from _family("build_info", "gauge", "Always 1; the labels tell.", {build: 1})


def _labelled_counters(counts: list[int]) -> Iterator[str]:
    classes = {f'status="{n}xx"': counts[n] for n in range(CLASSES) if counts[n] or 2 <= n <= 5}  # noqa: PLR2004
    yield from _family("requests_total", "counter", "Requests answered or refused, by class of status.", classes)
    refused = {f'error="{name}"': counts[index] for name, index in REFUSED.items()}
    yield from _family("refused_total", "counter", "Requests that were refused, by the name of the refusal.", refused)
    late = {f'error="{name}"': counts[index] for name, index in REFUSED.items() if REFUSALS[name][0] in TIMEOUTS}
    yield from _family("timeouts_total", "counter", "Requests that were refused because a time limit passed.", late)


def _processes(workers: list[Slot]) -> Iterator[str]:
    resident = sum(_resident(slot.pid) for slot in workers)
    yield from _family(
        "resident_memory_bytes", "gauge", "Memory of all workers, what they share included.", {"": resident}
    )
    limit = memory_limit(Path("/")) or 0
    yield from _family("memory_limit_bytes", "gauge", "Memory that may be used: 0 where no limit is seen.", {"": limit})
    phases = [slot.phase for slot in workers]
    living = {f'phase="{phase.name.lower()}"': phases.count(phase) for phase in Phase if phase is not Phase.NONE}
    yield from _family("workers", "gauge", "Worker processes, by phase.", living)


def _family(name: str, kind: str, meaning: str, samples: dict[str, int]) -> Iterator[str]:
    """Yield one metric; `samples` maps labels, ready to print, to values."""
    yield f"# HELP wsgiserver_{name} {meaning}"
    yield f"# TYPE wsgiserver_{name} {kind}"
    for labels, value in samples.items():
        yield f"wsgiserver_{name}{{{labels}}} {value}" if labels else f"wsgiserver_{name} {value}"


def _histogram(name: str, meaning: str, counts: Sequence[int], seconds: float) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} histogram"
    totals = list(accumulate(counts))
    for bound, total in zip((*BOUNDS, "+Inf"), totals, strict=True):
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {seconds}"
    yield f"{name}_count {totals[-1]}"


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process has resident; 0 where that cannot be seen."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
