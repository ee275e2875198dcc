"""What came of a run: the table, the targets, and the same as JSON. It measures nothing and prints nothing."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.servers import OURS
from bench.workloads import IDLE, WORKLOADS, Outcome, Seen

MEGABYTE: Final = 1 << 20
LEGEND: Final = (
    "CPU is the server's CPU time for one request, all of its processes counted. / ours: its figure divided by "
    "wsgiserver's (CPU above 1: it needs more; rate below 1: it is slower). ~: the load was the bottleneck."
)
EQUAL: Final = 0.95  # what is within 5 % is the same on a machine that does other things too


class Row(NamedTuple):
    """One server at one workload: medians over the rounds; `trouble` where they do not count."""

    workload: str
    server: str
    figures: Seen
    trouble: str


class Results(NamedTuple):
    """A whole run."""

    machine: dict[str, str]
    versions: dict[str, str]
    skipped: dict[str, str]  # server -> how to get it
    rows: list[Row]

    def of(self, workload: str) -> list[Row]:
        return [row for row in self.rows if row.workload == workload]

    def figure(self, workload: str, server: str, name: str) -> float | None:
        """Return one figure, None where it was not measured, or does not count."""
        for row in self.of(workload):
            if row.server == server and not row.trouble:
                return row.figures.get(name)
        return None

    def ratio(self, workload: str, server: str, name: str) -> float | None:
        """Return a server's figure divided by ours."""
        theirs, ours = self.figure(workload, server, name), self.figure(workload, OURS.name, name)
        return theirs / ours if theirs is not None and ours else None

    def others(self, workload: str, name: str) -> list[float]:
        """Return that figure of every server that has one."""
        found = [self.figure(workload, row.server, name) for row in self.of(workload) if row.server != OURS.name]
        return [value for value in found if value is not None]


def median(outcomes: list[Outcome]) -> tuple[Seen, str]:
    """Return the medians of the rounds and, if one of them failed, the figures and the trouble of that one."""
    for outcome in outcomes:
        if outcome.trouble:
            return outcome.figures, outcome.trouble
    names = outcomes[0].figures
    return {name: statistics.median(outcome.figures[name] for outcome in outcomes) for name in names}, ""


# --- targets ----------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """What is to be reached. `measure` returns None where a server it needs was not there."""

    text: str
    measure: Callable[[Results], float | None]
    limit: float
    at_least: bool
    unit: str = "x"

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def ahead(workload: str, server: str) -> Callable[[Results], float | None]:
    """How many times our CPU time a server needs for the same request."""
    return lambda results: results.ratio(workload, server, "cpu")


def ours(workload: str, name: str, scale: float = 1.0) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        value = results.figure(workload, OURS.name, name)
        return value * scale if value is not None else None

    return measure


def quotient(workload: str, name: str, other: str, other_name: str) -> Callable[[Results], float | None]:
    """One figure of ours divided by another."""

    def measure(results: Results) -> float | None:
        above, below = results.figure(workload, OURS.name, name), results.figure(other, OURS.name, other_name)
        return above / below if above is not None and below else None

    return measure


def best_server(workload: str, our_workload: str) -> Callable[[Results], float | None]:
    """The CPU time of the server that needs least for `workload`, divided by ours for `our_workload`."""

    def measure(results: Results) -> float | None:
        theirs, mine = results.others(workload, "cpu"), results.figure(our_workload, OURS.name, "cpu")
        return min(theirs) / mine if theirs and mine else None

    return measure


TARGETS: Final = [
    Target("hello, ahead of gunicorn sync", ahead("hello", "gunicorn sync"), 8, at_least=True),
    Target("hello, ahead of waitress", ahead("hello", "waitress"), 4, at_least=True),
    Target("hello, ahead of granian", ahead("hello", "granian"), 1, at_least=True),
    Target("hello, ahead of uWSGI", ahead("hello", "uWSGI"), 1, at_least=True),
    Target("hello, beside bjoern", ahead("hello", "bjoern"), 0.8, at_least=True),
    Target("Django page, ahead of gunicorn sync", ahead("page", "gunicorn sync"), 2, at_least=True),
    Target("Django page, beside the best server", best_server("page", "page"), EQUAL, at_least=True),
    Target("3 MB in 64 KB chunks, ahead of waitress", ahead("upload-3-64k", "waitress"), 4, at_least=True),
    Target("3 MB in 8 KB chunks, ahead of waitress", ahead("upload-3-8k", "waitress"), 4, at_least=True),
    Target(
        "64 KB chunks, CPU to Content-Length", quotient("upload-3-64k", "cpu", "upload-3-length", "cpu"), 1.3, False
    ),
    Target("8 KB chunks, CPU to Content-Length", quotient("upload-3-8k", "cpu", "upload-3-length", "cpu"), 1.3, False),
    Target(
        "64 KB chunks, to the best server's length", best_server("upload-3-length", "upload-3-64k"), 0.5, at_least=True
    ),
    Target(
        "8 KB chunks, to the best server's length", best_server("upload-3-length", "upload-3-8k"), 0.5, at_least=True
    ),
    Target("sleeping views, of what is possible", ours("slow", "share", 100), 95, at_least=True, unit=" %"),
    Target("fast views beside them, p99", ours("slow", "p99", 1000), 10, at_least=False, unit=" ms"),
    Target("p99 under trickled uploads, to that without", quotient("trickle", "p99", "trickle", "p99_alone"), 2, False),
    Target("memory growth, 300 MB chunked", ours("memory", "memory", 1 / MEGABYTE), 4, at_least=False, unit=" MB"),
    Target("memory of an idle connection", ours("idle", "memory", 1 / 1024), 4, at_least=False, unit=" KB"),
]


# --- as text ----------------------------------------------------------------------------------------------------


def text(results: Results) -> str:
    """Return the whole report as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    parts = [
        "; ".join(f"{name}: {value}" for name, value in results.machine.items()),
        f"Servers: {versions}",
        *[f"Without {name}: {remedy}" for name, remedy in results.skipped.items()],
        table(["workload", "server", "result", "CPU each", "CPU / ours", "rate / ours"], _rows(results)),
        LEGEND,
        table(["target", "to reach", "measured", ""], _targets(results)),
    ]
    return "\n\n".join(parts) + "\n"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose columns are aligned, the first two to the left."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    marks = ["-" * width if column < 2 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]  # noqa: PLR2004
    return "\n".join(_line(row, widths) for row in [heads, marks, *rows])


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [
        cell.ljust(width) if column < 2 else cell.rjust(width)  # noqa: PLR2004 - text to the left, numbers to the right
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _rows(results: Results) -> list[list[str]]:
    rows = []
    for workload in WORKLOADS:
        for number, row in enumerate(results.of(workload.name)):
            ratios = [_ratio(results.ratio(workload.name, row.server, name)) for name in ("cpu", "rate")]
            cost = duration(row.figures["cpu"]) if "cpu" in row.figures else ""
            title = "" if number else workload.title
            rows.append([title, row.server, row.trouble or result(row.figures), cost, *ratios])
    return rows


def result(figures: Seen) -> str:
    """Say what was measured, in one cell."""
    if "rate" in figures:
        rate = figures["rate"]
        return f"{'~' if figures['load'] > EQUAL else ''}{rate:,.{0 if rate >= 100 else 1}f}/s"  # noqa: PLR2004 - three digits
    if "share" in figures:
        return f"{figures['share']:.0%}, fast p99 {duration(figures['p99'])}"
    if "p99_alone" in figures:
        return f"p99 {duration(figures['p99'])}, {duration(figures['p99_alone'])} without"
    if "kept" in figures:
        return f"{figures['memory'] / 1024:.1f} KB each"
    return f"+{figures['memory'] / MEGABYTE:.1f} MB"


def brief(outcome: Outcome) -> str:
    """Say what came of one round."""
    cost = f"  {duration(outcome.figures['cpu'])} CPU each" if "cpu" in outcome.figures else ""
    return (outcome.trouble or result(outcome.figures)) + cost


def duration(seconds: float) -> str:
    """Write seconds with three digits, in the unit that suits."""
    if seconds == float("inf"):
        return "never"
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _ratio(value: float | None) -> str:
    return f"{value:.2f}" if value is not None else ""


def _targets(results: Results) -> list[list[str]]:
    rows = []
    for target in TARGETS:
        value = target.measure(results)
        if value is not None:
            limit = f"{'>=' if target.at_least else '<='} {target.limit:g}{target.unit}"
            met = "met" if target.is_met(value) else "not met"
            rows.append([target.text, limit, f"{value:.2f}{target.unit}", met])
    return rows


# --- as JSON ----------------------------------------------------------------------------------------------------


def as_json(results: Results) -> str:
    """Return everything, for programs; times in seconds, sizes in bytes."""
    targets = [
        {"target": target.text, "limit": target.limit, "at_least": target.at_least, "measured": target.measure(results)}
        for target in TARGETS
    ]
    whole: dict[str, Any] = results._asdict() | {"rows": [row._asdict() for row in results.rows], "targets": targets}
    return json.dumps(whole, indent=1) + "\n"


def machine() -> dict[str, str]:
    """Say what it ran on."""
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(Path("/proc/cpuinfo").read_text().splitlines()),
        "cores": str(len(os.sched_getaffinity(0))),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "Python": f"{platform.python_version()} of {sys.base_prefix}",
        "idle connections": f"{IDLE:,}",
    }


def _processor(lines: Iterable[str]) -> str:
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
