"""Side-by-side measurement: `make bench`, or `python -m bench.run --only hello,uploads --servers granian --seconds 3`.

Every server does the same work, one process on one core of its own, in short rounds that take turns (A B C, A B C):
what disturbs the machine then disturbs all of them, and the medians are compared. What counts are the ratios within
one run, and first of all the CPU time for each request; absolute numbers are the machine's. A server that does not
deliver a body is marked "lost", not fast. Everything stays on loopback, ends by itself, and takes a quarter of an hour.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from time import monotonic

from bench import plots, report, servers
from bench.servers import OURS, SERVERS, RunningServer, Server
from bench.workloads import MEGABYTE, WORKLOADS, Outcome, Workload

RESULTS = servers.ROOT / "bench" / "results"
BUSY = 0.5  # load for each core
NEEDED = {"wrk": "apt-get install wrk", "taskset": "apt-get install util-linux"}


def main() -> int:
    options = arguments()
    for program, remedy in NEEDED.items():
        if not shutil.which(program):
            raise SystemExit(f"bench: {program} is not installed ({remedy})")
    if os.getloadavg()[0] > BUSY * len(os.sched_getaffinity(0)):
        print("  the machine is busy with other things: read the ratios of CPU, and those roughly")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by the servers
    chosen, skipped = available(options.servers)
    results = report.Results(
        report.machine(), {server.name: servers.version(server) or "" for server in chosen}, skipped, []
    )
    with a_file() as path:
        for (application, threads), workloads in groupby(
            options.workloads, lambda workload: (workload.application, workload.threads)
        ):
            with all_running(chosen, application, threads, {"BENCH_FILE": str(path)}) as running:
                for workload in workloads:
                    measure(workload, running, 1 if workload.once else options.rounds, options.seconds, results)
    RESULTS.mkdir(exist_ok=True)
    text = report.text(results)
    (RESULTS / "latest.json").write_text(report.as_json(results))
    (RESULTS / "latest.md").write_text(text)
    print(f"\n{text}")
    drawn = plots.draw(results, RESULTS)
    print("kept in", *(str(path.relative_to(servers.ROOT)) for path in [RESULTS / "latest.json", *drawn]))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument(
        "--only", dest="workloads", type=workloads_named, default=WORKLOADS, help="workloads, by their first letters"
    )
    parser.add_argument("--servers", default="", help="servers beside ours, by their first letters (all)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each round of each workload lasts (2)")
    parser.add_argument("--rounds", type=int, default=3, help="how many of them (3)")
    return parser.parse_args()


def workloads_named(names: str) -> list[Workload]:
    """Return the workloads whose names begin with one of `names`, in their own order."""
    wanted = tuple(name.strip() for name in names.split(","))
    workloads = [workload for workload in WORKLOADS if workload.name.startswith(wanted)]
    if not workloads:
        raise argparse.ArgumentTypeError(
            f"no such workload; there are {', '.join(workload.name for workload in WORKLOADS)}"
        )
    return workloads


def available(names: str) -> tuple[list[Server], dict[str, str]]:
    """Return the servers that are wanted and installed, ours first, and why the others are not there."""
    wanted = tuple(name.strip().lower() for name in names.split(","))
    wanted_servers = [server for server in SERVERS if server is OURS or server.name.lower().startswith(wanted)]
    skipped = {server.name: server.remedy for server in wanted_servers if servers.version(server) is None}
    for name, remedy in skipped.items():
        print(f"  without {name}: it is not installed ({remedy})")
    return [server for server in wanted_servers if server.name not in skipped], skipped


@contextmanager
def all_running(
    chosen: list[Server], application: str, threads: int, environment: dict[str, str]
) -> Iterator[list[RunningServer]]:
    """All of them at once, so that rounds can take turns: one that has nothing to do costs nothing."""
    with ExitStack() as stack:
        started = [
            (server, stack.enter_context(servers.running(server, application, threads, environment)))
            for server in chosen
        ]
        for server, running in started:
            if running is None:
                print(f"  {server.name} did not start:", *servers.command(server, application, threads, 8000)[3:])
        yield [running for _, running in started if running is not None]
        print("  (stopping)")


def measure(
    workload: Workload, running: list[RunningServer], rounds: int, seconds: float, results: report.Results
) -> None:
    """Give a workload to each server in turn, `rounds` times; one that fails at it is not asked again."""
    print(f"{workload.title}", flush=True)
    outcomes: dict[str, list[Outcome]] = {server.name: [] for server in running}
    failed: set[str] = set()
    for _ in range(rounds):
        for server in running:
            name = server.name
            if name in failed:
                continue
            started = monotonic()
            outcome = attempt(workload, server, seconds)
            outcomes[name].append(outcome)
            if outcome.trouble:
                failed.add(name)
            print(f"  {name:18}{report.brief(outcome):40}{monotonic() - started:5.1f} s", flush=True)
    results.rows.extend(
        report.Row(workload.name, name, *report.median(found)) for name, found in outcomes.items() if found
    )


def attempt(workload: Workload, server: RunningServer, seconds: float) -> Outcome:
    if server.has_ended:
        return Outcome({}, "the server has ended")
    try:
        return workload.run(server, seconds)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Outcome({}, str(error).splitlines()[-1])


@contextmanager
def a_file() -> Iterator[Path]:
    """A file to download."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(50 * MEGABYTE))
        file.flush()
        yield Path(file.name)


if __name__ == "__main__":
    began = monotonic()
    code = main()
    print(f"took {monotonic() - began:.0f} s")
    sys.exit(code)
