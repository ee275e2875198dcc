"""`serve`: a real server process for a test, ended by its id when the test is over."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.server.harness import PATIENCE, Answer, Client, poll

ROOT = Path(__file__).parents[2]


class Server:
    """`python -m wsgiserver` with its output in files; `bind` is where it says it listens."""

    def __init__(self, folder: Path, *flags: str, application: str, cwd: Path, **variables: str) -> None:
        self._out, self._err = folder / "out", folder / "err"
        environment = {key: value for key, value in os.environ.items() if key not in {"HOME", "PYTHONPATH"}}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wsgiserver", application, "-b", "127.0.0.1:0", *flags],
                cwd=cwd,
                env=environment | {"PYTHONPATH": str(ROOT)} | variables,
                stdout=out,
                stderr=err,
            )
        self.pid = self.process.pid

    @property
    def error_output(self) -> str:
        return self._err.read_text()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What it has said of itself so far, or of that what goes by one name."""
        lines = [line for line in self.error_output.splitlines(keepends=True) if line.endswith("}\n")]
        said = [json.loads(line) for line in lines if line.startswith('{"time"')]
        return [event for event in said if name in {"", event["event"]}]

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.read_text().splitlines()]

    @property
    def bind(self) -> str:
        started = poll(lambda: self.events("started") or self.process.poll() is not None, "the server to start")
        assert isinstance(started, list), self.error_output
        return str(started[0]["bind"])

    def client(self) -> Client:
        """A new connection, to the last of the addresses where there are several."""
        address = self.bind.rpartition(", ")[2]
        if address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(address.removeprefix("unix:"))
            return Client(sock)
        host, _, port = address.rpartition(":")
        return Client(socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE))

    def get(self, target: str, *fields: str) -> Answer:
        with self.client() as client:
            return client.get(target, *fields)

    def workers(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, patience: float = PATIENCE) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(patience)

    def destroy(self) -> None:
        workers = self.workers() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    servers: list[Server] = []

    def start(*flags: str, application: str = "tests.server.application", cwd: Path = ROOT, **variables: str) -> Server:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, *flags, application=application, cwd=cwd, **variables))
        return servers[-1]

    yield start
    for server in servers:
        server.destroy()
