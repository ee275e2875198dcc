"""`serve`: starts a real server process for a test and ends it by its id after the test."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.wire.answers import Answer
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll

ROOT = Path(__file__).parents[2]

# Deadlines that no test reaches by accident, even on a busy machine.
LONG_TIMEOUTS = [f"--{name}-timeout=600" for name in ("head", "body", "body-idle", "send")] + [
    "--timeout=600",
    "--keep-alive=600",
]


class Server:
    """`python -m wsgiserver` with its output in files; `bind` is the address that it reports.

    Its calls of /wait last until `open_gate`; `wait_for_calls` waits for a number of them. The server also closes the
    clients that a test leaves open: in the garbage collector they would fail whichever test runs at that moment.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        application: str,
        cwd: Path,
        stdout: int | None = None,
        limits: str = "",
        **variables: str,
    ) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._gate = folder / "gate"
        self._gate.mkdir()
        self._clients = ExitStack()
        has_bind = {"-b", "-c"} & set(flags) or "WSGISERVER_BIND" in variables
        bind = () if has_bind else ("-b", "127.0.0.1:0")  # a second -b would add to them or override them
        limited = ["sh", "-c", f'ulimit {limits} && exec "$@"', "sh"] if limits else []
        environment = {key: value for key, value in os.environ.items() if key not in {"HOME", "PYTHONPATH"}}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*limited, sys.executable, "-m", "wsgiserver", application, *bind, *LONG_TIMEOUTS, *flags],
                cwd=cwd,
                env=environment | {"PYTHONPATH": str(ROOT), "TEST_GATE": str(self._gate)} | variables,
                stdout=out if stdout is None else stdout,
                stderr=err,
            )
        self.pid = self.process.pid

    @property
    def error_output(self) -> str:
        return self._err.read_text()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The events logged so far: all of them, or those with one name."""
        lines = [line for line in self.error_output.splitlines(keepends=True) if line.endswith("}\n")]
        events = [json.loads(line) for line in lines if line.startswith('{"time"')]
        return [event for event in events if name in {"", event["event"]}]

    def requests(self) -> list[dict[str, Any]]:
        """The requests logged so far, without an incomplete last line."""
        return [json.loads(line) for line in self._out.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    @property
    def bind(self) -> str:
        started = poll(lambda: self.events("started") or self.process.poll() is not None, "the server to start")
        assert isinstance(started, list), self.error_output
        return str(started[0]["bind"])

    def client(self) -> Client:
        """A new connection. With several addresses, it goes to the last."""
        address = self.bind.rpartition(", ")[2]
        if address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            sock = socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)
        return self._clients.enter_context(Client(sock))

    def get(self, target: str, *fields: str) -> Answer:
        with self.client() as client:
            return client.get(target, *fields)

    def wait_for_calls(self, count: int) -> None:
        """Wait until `count` calls of /wait have started."""
        poll(lambda: len(list(self._gate.glob("waiting-*"))) == count, f"{count} calls in progress")

    def open_gate(self) -> None:
        """Let all current and future calls of /wait end."""
        (self._gate / "open").touch()

    def refuses(self) -> bool:
        """Whether no process listens any more: all of them have received the signal to stop."""
        try:
            self.client().socket.close()
        except ConnectionError as error:  # a connection just before the listener closes may also be reset
            return isinstance(error, ConnectionRefusedError)
        return False

    def workers(self, count: int = 0) -> list[int]:
        """Return the workers' process ids as soon as there are at least `count`."""
        poll(lambda: len(self._children()) >= count, f"{count} workers")
        return self._children()

    def _children(self) -> list[int]:
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait_for_end(self, patience: float = PATIENCE) -> int:
        """Wait for the end of the process and return its exit code."""
        return self.process.wait(patience)

    def destroy(self) -> None:
        self._clients.close()
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

    def start(*flags: str, application: str = "tests.server.application", cwd: Path = ROOT, **more: Any) -> Server:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, *flags, application=application, cwd=cwd, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.destroy()
