"""Side-by-side measurement: `make bench`, or `python bench/run.py [--seconds N]`.

Every server runs the same application (`apps.py`), one worker, on one core of its own, with its access log on; the
load comes from another core. What counts are the ratios within one run: absolute numbers are the machine's. A server
that does not deliver the body is marked "lost", not fast. Everything stays on loopback and ends by itself.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PICTURE = 3 * 1024 * 1024  # bytes: a phone's photo
CHUNK = 64 * 1024
SERVER_CORE, LOAD_CORE = 0, 1
START_PATIENCE = 15.0  # seconds
TICKS = os.sysconf("SC_CLK_TCK")


class Peer(NamedTuple):
    """A server and how it is started; `{port}` is filled in."""

    name: str
    command: str


PEERS = [
    Peer("wsgiserver", "-m wsgiserver apps:application -b 127.0.0.1:{port} -w 1 --threads 4"),
    Peer(
        "gunicorn sync", "-m gunicorn apps:application -b 127.0.0.1:{port} -w 1 --access-logfile - --no-control-socket"
    ),
    Peer(
        "gunicorn gthread",
        "-m gunicorn apps:application -b 127.0.0.1:{port} -k gthread -w 1 --threads 4 --access-logfile - "
        "--no-control-socket",
    ),
]


class Row(NamedTuple):
    """One server at one piece of work: requests a second, and the server's CPU seconds for each; None if it lost."""

    server: str
    work: str
    rate: float | None
    cpu: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each piece of work lasts (5)")
    seconds = parser.parse_args().seconds
    rows = [row for peer in PEERS for row in measure(peer, seconds)]
    report(rows)
    return 0


def measure(peer: Peer, seconds: float) -> Iterator[Row]:
    works: dict[str, Callable[[int, float], float | None]] = {
        "hello": hello,
        "3 MB, Content-Length": lambda port, limit: uploads(port, limit, chunked=False),
        "3 MB, chunked": lambda port, limit: uploads(port, limit, chunked=True),
    }
    for work, load in works.items():
        with running(peer) as (port, process):
            before = cpu_seconds(process.pid)
            began = time.monotonic()
            rate = load(port, seconds)
            done = (rate or 0.0) * (time.monotonic() - began)
            cpu = (cpu_seconds(process.pid) - before) / done if done else 0.0
            print(f"  {peer.name:18} {work:22} {'lost' if rate is None else f'{rate:10.0f}/s'}", flush=True)
            yield Row(peer.name, work, rate, cpu)


@contextmanager
def running(peer: Peer) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a server on a free port, pinned to its core, and end it, by its id, afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}"}
    process = subprocess.Popen(
        [sys.executable, *peer.command.format(port=port).split()],
        env=environment,
        cwd=HERE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: pin(SERVER_CORE),  # noqa: PLW1509 - one thread here, and the core must be set before it starts
    )
    try:
        wait_for(port, process)
        yield port, process
    finally:
        process.terminate()
        process.wait(START_PATIENCE)


def pin(core: int) -> None:
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"{process.args!r} did not start")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, dead or alive."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = sum(int(field) for field in fields[11:15]) / TICKS
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return total + sum(cpu_seconds(int(child)) for child in children)


def hello(port: int, seconds: float) -> float | None:
    """Many small requests over 32 kept connections; needs wrk."""
    if not shutil.which("wrk"):
        raise SystemExit("bench: wrk is not installed (apt-get install wrk)")
    command = ["taskset", "-c", str(LOAD_CORE % (os.cpu_count() or 1)), "wrk", "-t1", "-c32", f"-d{seconds:.0f}s"]
    output = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    return float(found[1]) if found and "Non-2xx" not in output else None


def uploads(port: int, seconds: float, *, chunked: bool) -> float | None:
    """One picture after the other; None as soon as one does not arrive as it was sent."""
    picture = os.urandom(PICTURE)
    expected = hashlib.sha256(picture).hexdigest().encode("ascii")
    request = upload_request(picture, chunked=chunked)
    deadline, count, began = time.monotonic() + seconds, 0, time.monotonic()
    while time.monotonic() < deadline:
        if expected not in exchange(port, request):
            return None
        count += 1
    return count / (time.monotonic() - began)


def upload_request(picture: bytes, *, chunked: bool) -> bytes:
    head = "PUT /picture HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
    if not chunked:
        return f"{head}Content-Length: {len(picture)}\r\n\r\n".encode("ascii") + picture
    pieces = [picture[start : start + CHUNK] for start in range(0, len(picture), CHUNK)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode("ascii") + framed + b"0\r\n\r\n"


def exchange(port: int, request: bytes) -> bytes:
    """Send a request on a connection of its own; return all that comes back, b"" if the server cut it off."""
    with socket.create_connection(("127.0.0.1", port), START_PATIENCE) as client:
        try:
            client.sendall(request)
            return b"".join(iter(lambda: client.recv(65536), b""))
        except ConnectionError:
            return b""


def report(rows: list[Row]) -> None:
    """Print ratios to the first server, and keep the numbers."""
    print(f"\n{'':18} {'work':22} {'per second':>12} {'CPU us each':>12} {'our ratio':>10}")
    ours = {row.work: row.rate for row in rows if row.server == PEERS[0].name}
    for row in rows:
        mine = ours[row.work]
        ratio = f"{mine / row.rate:.2f}x" if mine and row.rate else "-"
        rate = "lost" if row.rate is None else f"{row.rate:.0f}"
        print(f"{row.server:18} {row.work:22} {rate:>12} {row.cpu * 1e6:>12.0f} {ratio:>10}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    print(f"\nkept in {(RESULTS / 'latest.json').relative_to(HERE.parent)}")


if __name__ == "__main__":
    sys.exit(main())
