"""Side-by-side measurement: `make bench`, or `python -m bench.run --only hello,uploads --peers granian --seconds 3`.

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

from bench import peers, plots, report
from bench.peers import OURS, PEERS, Peer, Server
from bench.works import MEGABYTE, WORKS, Outcome, Work

RESULTS = peers.ROOT / "bench" / "results"
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
    chosen, skipped = available(options.peers)
    results = report.Results(report.machine(), {peer.name: peers.version(peer) or "" for peer in chosen}, skipped, [])
    with a_file() as path:
        for (application, threads), works in groupby(options.works, lambda work: (work.application, work.threads)):
            with servers(chosen, application, threads, {"BENCH_FILE": str(path)}) as running:
                for work in works:
                    measure(work, running, 1 if work.once else options.rounds, options.seconds, results)
    RESULTS.mkdir(exist_ok=True)
    text = report.text(results)
    (RESULTS / "latest.json").write_text(report.as_json(results))
    (RESULTS / "latest.md").write_text(text)
    print(f"\n{text}")
    drawn = plots.draw(results, RESULTS)
    print("kept in", *(str(path.relative_to(peers.ROOT)) for path in [RESULTS / "latest.json", *drawn]))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--only", dest="works", type=works_named, default=WORKS, help="works, by their first letters")
    parser.add_argument("--peers", default="", help="servers beside ours, by their first letters (all)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each round of each work lasts (2)")
    parser.add_argument("--rounds", type=int, default=3, help="how many of them (3)")
    return parser.parse_args()


def works_named(names: str) -> list[Work]:
    """Return the works whose names begin with one of `names`, in their own order."""
    wanted = tuple(name.strip() for name in names.split(","))
    works = [work for work in WORKS if work.name.startswith(wanted)]
    if not works:
        raise argparse.ArgumentTypeError(f"no such work; there are {', '.join(work.name for work in WORKS)}")
    return works


def available(names: str) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are wanted and installed, ours first, and why the others are not there."""
    wanted = tuple(name.strip().lower() for name in names.split(","))
    peers_wanted = [peer for peer in PEERS if peer is OURS or peer.name.lower().startswith(wanted)]
    skipped = {peer.name: peer.remedy for peer in peers_wanted if peers.version(peer) is None}
    for name, remedy in skipped.items():
        print(f"  without {name}: it is not installed ({remedy})")
    return [peer for peer in peers_wanted if peer.name not in skipped], skipped


@contextmanager
def servers(chosen: list[Peer], application: str, threads: int, environment: dict[str, str]) -> Iterator[list[Server]]:
    """All of them at once, so that rounds can take turns: one that has nothing to do costs nothing."""
    with ExitStack() as stack:
        started = [
            (peer, stack.enter_context(peers.running(peer, application, threads, environment))) for peer in chosen
        ]
        for peer, server in started:
            if server is None:
                print(f"  {peer.name} did not start:", *peers.command(peer, application, threads, 8000)[3:])
        yield [server for _, server in started if server is not None]
        print("  (stopping)")


def measure(work: Work, running: list[Server], rounds: int, seconds: float, results: report.Results) -> None:
    """Give a work to each server in turn, `rounds` times; one that fails at it is not asked again."""
    print(f"{work.title}", flush=True)
    outcomes: dict[str, list[Outcome]] = {server.peer.name: [] for server in running}
    failed: set[str] = set()
    for _ in range(rounds):
        for server in running:
            name = server.peer.name
            if name in failed:
                continue
            started = monotonic()
            outcome = attempt(work, server, seconds)
            outcomes[name].append(outcome)
            if outcome.trouble:
                failed.add(name)
            print(f"  {name:18}{report.brief(outcome):40}{monotonic() - started:5.1f} s", flush=True)
    results.rows.extend(report.Row(work.name, name, *report.median(found)) for name, found in outcomes.items() if found)


def attempt(work: Work, server: Server, seconds: float) -> Outcome:
    if server.has_ended:
        return Outcome({}, "the server has ended")
    try:
        return work.run(server, seconds)
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
