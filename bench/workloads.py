"""The workloads that each server gets, and what is measured meanwhile.

A workload takes a running server and a number of seconds, and returns an `Outcome`: figures by name, or the trouble
that makes them worthless. Figures are requests a second (`rate`), the server's CPU seconds for each (`cpu`), seconds
(`p50`, `p99`), bytes (`memory`), shares of 1 (`share`), and the load's own share of its core (`load`): near 1, the
load was the bottleneck, and only `cpu` says something about the server.
"""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

from bench import processes
from bench.load import PATIENCE
from bench.servers import ROOT, RunningServer

HELLO: Final = "bench.apps:application"
DJANGO: Final = "bench.project:application"
KEPT: Final = 32  # connections of the closed-loop workloads
MEGABYTE: Final = 1 << 20
SLOW_CLIENTS: Final = 8
NAP: Final = 0.1  # seconds that the slow view sleeps
PACED: Final = {"clients": 4, "pause": 0.005, "patience": 3.0}  # requests whose latency is what counts
TRICKLERS: Final = 200
IDLE: Final = 9_000  # connections, of which the server takes two descriptors each into account: 20,000 are often all
IDLE_LIMIT: Final = 30.0  # seconds to open them in: some servers get slower with each

BROWSER: Final = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://127.0.0.1:8000/photos/",
    "Connection": "keep-alive",
    "Cookie": "csrftoken=lmsz0hljUUJ480Jpy0n5PDBMYVe46GL0",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Mode": "navigate",
}  # ten with Host

Seen = dict[str, float]


class Outcome(NamedTuple):
    """The outcome of one workload at one server, in one round."""

    figures: Seen
    trouble: str = ""


class Workload(NamedTuple):
    """One row of the table. `once`: a single round will do, for what does not vary or takes long."""

    name: str
    title: str
    run: Callable[[RunningServer, float], Outcome]
    application: str = DJANGO
    threads: int = 4
    once: bool = False


def closed_loop(path: str, fields: dict[str, str]) -> Callable[[RunningServer, float], Outcome]:
    """Small requests over kept connections, as fast as they are answered, by wrk."""
    given = [part for name, value in fields.items() for part in ("-H", f"{name}: {value}")]

    def run(server: RunningServer, seconds: float) -> Outcome:
        command = ["wrk", "-t1", f"-c{KEPT}", f"-d{max(1, round(seconds))}s", *given, address(server, path)]
        cpu, load = processes.cpu_seconds(server.pid), children_cpu()
        output = subprocess.run(
            on_load_core(command), capture_output=True, text=True, check=True, timeout=seconds + PATIENCE
        ).stdout
        cpu, load = processes.cpu_seconds(server.pid) - cpu, children_cpu() - load
        count, elapsed = read_wrk(output)
        if "Non-2xx" in output or not count:
            return Outcome({}, "wrong answers")
        return Outcome(per_request(count, elapsed, cpu, load))

    return run


def uploads(megabytes: int, chunk: int, clients: int) -> Callable[[RunningServer, float], Outcome]:
    """Uploads into a Django view that answers their SHA-256, whose own cost is taken off `cpu`."""

    def run(server: RunningServer, seconds: float) -> Outcome:
        cpu = processes.cpu_seconds(server.pid)
        seen = play("uploads", server, seconds, path="/upload", size=megabytes * MEGABYTE, chunk=chunk, clients=clients)
        cpu = processes.cpu_seconds(server.pid) - cpu - seen["digest"]
        if seen["wrong"] or not seen["count"]:
            return Outcome({}, "lost")
        return Outcome(per_request(seen["count"], seen["elapsed"], cpu, seen["load"]))

    return run


def downloads(path: str, megabytes: int) -> Callable[[RunningServer, float], Outcome]:
    def run(server: RunningServer, seconds: float) -> Outcome:
        cpu = processes.cpu_seconds(server.pid)
        seen = play("downloads", server, seconds, path=path, size=megabytes * MEGABYTE, clients=2)
        cpu = processes.cpu_seconds(server.pid) - cpu
        if seen["wrong"] or not seen["count"]:
            return Outcome({}, "cut short")
        return Outcome(per_request(seen["count"], seen["elapsed"], cpu, seen["load"]))

    return run


def slow_beside_fast(server: RunningServer, seconds: float) -> Outcome:
    """Eight clients at a view that sleeps, and a few that ask for something quick now and then."""
    with started("get", server, path="/slow", clients=SLOW_CLIENTS, pause=0.0, seconds=seconds) as load:
        fast = play("get", server, seconds, path="/fast", **PACED)
        slow = finish(load, seconds)
    possible = SLOW_CLIENTS * slow["elapsed"] / NAP
    return Outcome({"share": slow["count"] / possible, "p50": fast["p50"], "p99": fast["p99"]}, unanswered(fast))


def beside_trickle(server: RunningServer, seconds: float) -> Outcome:
    """How long quick requests take while many clients upload slowly, and how long without them."""
    alone = play("get", server, seconds, path="/fast", **PACED)
    with started("trickle", server, path="/upload", clients=TRICKLERS, seconds=seconds) as load:
        announced(load)
        beside = play("get", server, seconds, path="/fast", **PACED)
        finish(load, seconds)
    figures = {f"{name}_alone": alone[name] for name in ("p50", "p99")}
    return Outcome(figures | {name: beside[name] for name in ("p50", "p99")}, unanswered(beside))


def idle_connections(server: RunningServer, seconds: float) -> Outcome:
    """What a connection costs that has had one request, and waits for the next."""
    play("get", server, min(seconds, 0.5), path="/", clients=4, pause=0.0)
    before = processes.memory(server.pid)
    with started("idle", server, path="/", connections=IDLE, patience=2.0, seconds=IDLE_LIMIT) as load:
        kept = announced(load)["ready"]
        sleep(1.0)  # whoever closes connections that are too many for it has done so by now
        memory = processes.memory(server.pid) - before
        answered = play("get", server, 0.2, path="/", clients=1, pause=0.0, patience=2.0)
        seen = finish(load, IDLE_LIMIT)
    if seen["open"] < IDLE:
        return Outcome({}, f"{'only' if seen['late'] else 'keeps'} {seen['open']:,.0f}")
    return Outcome({"kept": kept, "memory": memory / kept}, unanswered(answered))


def memory_growth(server: RunningServer, seconds: float) -> Outcome:
    """By how much the server grows while it takes 300 MB in chunks."""
    arguments = {"path": "/upload", "chunk": 65536, "clients": 1}
    play("uploads", server, 0.0, size=MEGABYTE, **arguments)
    before = most = processes.memory(server.pid)
    with started("uploads", server, size=300 * MEGABYTE, seconds=0.0, **arguments) as load:
        deadline = monotonic() + seconds + PATIENCE
        while load.poll() is None and monotonic() < deadline:
            most = max(most, processes.memory(server.pid))
            sleep(0.01)
        seen = finish(load, seconds)
    if seen["wrong"] or not seen["count"]:
        return Outcome({}, "lost")
    return Outcome({"memory": float(most - before)})


WORKLOADS: Final = [
    Workload("hello", "Hello, 32 kept connections", closed_loop("/", {}), HELLO),
    Workload("browser", "Hello, ten header fields", closed_loop("/", BROWSER), HELLO),
    Workload("idle", "9,000 idle connections", idle_connections, HELLO, once=True),
    Workload("memory", "Growth in a 300 MB chunked upload", memory_growth, once=True),
    Workload("page", "Django page", closed_loop("/page", BROWSER)),
    Workload("upload-3-length", "3 MB, Content-Length", uploads(3, 0, 4)),
    Workload("upload-3-64k", "3 MB, 64 KB chunks", uploads(3, 65536, 4)),
    Workload("upload-3-8k", "3 MB, 8 KB chunks", uploads(3, 8192, 4)),
    Workload("upload-50-length", "50 MB, Content-Length", uploads(50, 0, 2)),
    Workload("upload-50-64k", "50 MB, 64 KB chunks", uploads(50, 65536, 2)),
    Workload("upload-50-8k", "50 MB, 8 KB chunks", uploads(50, 8192, 2)),
    Workload("stream", "50 MB streamed", downloads(f"/stream/{50 * MEGABYTE}", 50)),
    Workload("file", "50 MB by wsgi.file_wrapper", downloads("/file", 50)),
    Workload("trickle", "GET beside 200 trickled uploads", beside_trickle),
    Workload("slow", "100 ms views beside fast ones", slow_beside_fast, threads=16),
]


# --- what they share --------------------------------------------------------------------------------------------


def per_request(count: float, elapsed: float, cpu: float, load: float) -> Seen:
    return {"rate": count / elapsed, "cpu": cpu / count, "load": load / elapsed}


def unanswered(seen: Seen) -> str:
    failed, count = seen["failed"], seen["count"]
    return f"{failed:.0f} of {failed + count:.0f} not answered" if failed else ""


def read_wrk(output: str) -> tuple[int, float]:
    """Return how many requests wrk has made, and in how many seconds."""
    found = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", output)
    if found is None:
        return 0, 0.0
    return int(found[1]), float(found[2]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[found[3]]


def address(server: RunningServer, path: str) -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def on_load_core(command: list[str]) -> list[str]:
    _, core = processes.cores()
    return ["taskset", "--cpu-list", str(core), *command]


@contextmanager
def started(kind: str, server: RunningServer, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a load (see load.py) beside what is done meanwhile; it does not outlive that."""
    command = [sys.executable, "-m", "bench.load", kind, json.dumps({"port": server.port, **arguments})]
    with subprocess.Popen(
        on_load_core(command),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as load:
        try:
            yield load
        finally:
            load.kill()


def announced(load: subprocess.Popen[str]) -> Seen:
    """Wait for what a load says before it goes on."""
    assert load.stdout is not None
    seen: Seen = json.loads(load.stdout.readline() or "{}")
    return seen


def finish(load: subprocess.Popen[str], seconds: float) -> Seen:
    """Let a load end, and return what it has seen. Raises RuntimeError where it failed."""
    try:
        output, errors = load.communicate("\n", timeout=seconds + 2 * PATIENCE)
    except subprocess.TimeoutExpired:
        raise RuntimeError("the load did not end") from None
    lines = output.splitlines()
    if load.returncode or not lines:
        raise RuntimeError(f"the load failed: {errors.strip().splitlines()[-1:]}")
    seen: Seen = json.loads(lines[-1])
    return seen


def play(kind: str, server: RunningServer, seconds: float, **arguments: Any) -> Seen:
    """Run a load, and return what it has seen."""
    with started(kind, server, seconds=seconds, **arguments) as load:
        return finish(load, seconds)


def children_cpu() -> float:
    """CPU seconds of the loads that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
