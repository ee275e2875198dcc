"""The servers side by side: how each is started, with one process, kept connections and its access log on.

A server that is not installed is left out, with the reason. All run in the same interpreter, on one core; each gets
the settings its own documentation offers where its default would only measure a limit (connections, keep-alive).
"""

import importlib.metadata
import os
import shlex
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final, NamedTuple

from bench import processes

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE: Final = 20.0  # seconds to start, and to end
BODY: Final = 1 << 30  # bytes of request body that every server has to take
IDLE: Final = 120  # seconds that a connection is kept

_BJOERN: Final = "import bjoern; from {module} import {name}; bjoern.run({name}, '127.0.0.1', {port}, reuse_port=False)"


class Server(NamedTuple):
    """A server. In `command`, {port}, {threads}, {application} and what `_fill` adds are filled in."""

    name: str
    package: str
    command: str
    logs: bool = True  # it has an access log, and it is on
    remedy: str = "pip did not find it for this Python"


OURS: Final = Server(
    "wsgiserver",
    "",
    "{python} -m wsgiserver {application} -b 127.0.0.1:{port} -w 1 --threads {threads} --max-body 1g "
    "--keep-alive {idle} --max-connections 20000",
)
SERVERS: Final = [
    OURS,
    Server(
        "gunicorn sync",
        "gunicorn",
        "{python} -m gunicorn {application} -b 127.0.0.1:{port} -w 1 --access-logfile - --no-control-socket",
    ),
    Server(
        "gunicorn gthread",
        "gunicorn",
        "{python} -m gunicorn {application} -b 127.0.0.1:{port} -w 1 -k gthread --threads {threads} "
        "--keep-alive {idle} --worker-connections 20000 --access-logfile - --no-control-socket",
    ),
    Server(
        "waitress",
        "waitress",
        "{python} -m waitress --listen 127.0.0.1:{port} --threads {threads} --connection-limit 20000 "
        "--asyncore-use-poll --channel-timeout {idle} {application}",
        logs=False,
    ),
    Server(
        "cheroot",
        "cheroot",
        "{python} -m cheroot {application} --bind 127.0.0.1:{port} --threads {threads} --max-threads {threads} "
        "--timeout {idle}",
        logs=False,
    ),
    Server(
        "uWSGI",
        "uWSGI",
        "{bin}/uwsgi --http11-socket 127.0.0.1:{port} --module {application} --processes 1 --threads {threads} "
        "--need-app --listen 1024 --die-on-term --virtualenv {prefix} --pythonpath {root}",
        remedy="it is compiled when installed: apt-get install gcc python3-dev",
    ),
    Server(
        "granian",
        "granian",
        "{python} -m granian --interface wsgi --host 127.0.0.1 --port {port} --workers 1 --blocking-threads {threads} "
        "--backlog 16384 --backpressure 16384 --no-ws --access-log {application}",
    ),
    Server(
        "bjoern",
        "bjoern",
        "{python} -c {bjoern}",
        logs=False,
        remedy="it is compiled when installed: apt-get install gcc python3-dev libev-dev",
    ),
]


class RunningServer(NamedTuple):
    """A server that runs."""

    server: Server
    port: int
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None


def version(server: Server) -> str | None:
    """Return the version that is installed, None if there is none."""
    if not server.package:
        return "this tree"
    try:
        return importlib.metadata.version(server.package)
    except importlib.metadata.PackageNotFoundError:
        return None


@contextmanager
def running(
    server: Server, application: str, threads: int, environment: dict[str, str]
) -> Iterator[RunningServer | None]:
    """Start a server on the server's core and a free port; end it, by its id, afterwards. None if it does not start."""
    port = _free_port()
    process = subprocess.Popen(
        command(server, application, threads, port),
        cwd=ROOT,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield RunningServer(server, port, process) if _answers(port, process) else None
    finally:
        end(process)


def command(server: Server, application: str, threads: int, port: int) -> list[str]:
    """Return the command line, pinned to the server's core."""
    core, _ = processes.cores()
    return ["taskset", "--cpu-list", str(core), *shlex.split(_fill(server.command, application, threads, port))]


def _fill(command: str, application: str, threads: int, port: int) -> str:
    module, _, name = application.partition(":")
    return command.format(
        application=application,
        port=port,
        threads=threads,
        idle=IDLE,
        python=sys.executable,
        bin=sysconfig.get_path("scripts"),
        prefix=sys.prefix,
        root=ROOT,
        bjoern=shlex.quote(_BJOERN.format(module=module, name=name, port=port)),
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a server to stop; kill, by their ids, those of its processes that do not."""
    members = list(processes.tree(process.pid))
    process.terminate()
    try:
        process.wait(PATIENCE / 4)
    except subprocess.TimeoutExpired:
        for member in members:
            _kill(member)
        process.wait()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            sleep(0.05)
        else:
            return True
    return False
