"""The stack under test: run its scripts, inspect its containers, run programs inside, stop it.

This module uses scripts/ (which support both generations of Compose), `docker`, and the labels that Compose sets. HTTP
is in wire.py and in the tests.
"""

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from scripts.ops import compose, settings
from tests.stack.programs import program
from tests.stack.wire import Relay, Relayed, Tcp, Wire
from tests.wire.polling import poll

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
EXAMPLE = (ROOT / ".env.example").read_text()
COMPOSE = "com.docker.compose"  # prefix of its labels, in either generation
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
SETTING = re.compile(r"(?m)^#?([A-Z_]+)=(.*)$")

# All processes but the init. From the inside, because the engine does not restart a container after `docker kill`.
KILL = ["sh", "-c", "kill -KILL -1"]
# The folders in which bodies are received.
SPOOLS = {"nginx": "/var/spool/nginx", "web": "/var/spool/wsgiserver"}


def engine_trouble() -> str:
    """Why no stack can run here; empty if one can."""
    return compose.trouble(settings.here())


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


def clean_environment() -> dict[str, str]:
    """The environment without the settings of another stack, and without its file, but with those of images."""
    excluded = {name for name, _ in SETTING.findall(EXAMPLE) if "IMAGE" not in name} | {"ENV_FILE"}
    return {name: value for name, value in os.environ.items() if name not in excluded}


def run(*command: str, env: dict[str, str] | None = None, timeout: float = 600, cwd: Path = ROOT) -> str:
    """Run a command and return its stdout. A failure shows both streams."""
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout, check=False, cwd=cwd)
    assert done.returncode == 0, (
        f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


def succeeds(*command: str) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False, timeout=600).returncode == 0


def log_of(container: str, *options: str) -> str:
    """The output of a container on both streams."""
    command = ["docker", "logs", *options, container]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=60)
    return done.stdout.decode(errors="replace")


def finish(process: subprocess.Popen[str]) -> None:
    """End a program that runs until the end of its standard input."""
    assert process.stdin
    assert process.stdout
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)


class Probe:
    """Questions to inside/probe.py in the stack: `probe("photo", "cat.jpg")`."""

    def __init__(self, container: str) -> None:
        command = ["docker", "exec", "-i", container, *program("probe.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, question: str, *arguments: str) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([question, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the probe ended at {question} {arguments}; see stderr"
        return json.loads(answer)

    def close(self) -> None:
        finish(self._process)


class Stack:
    """A running stack, identified by its settings file and by the folder whose scripts/ started it."""

    def __init__(
        self, env_file: Path, environment: Mapping[str, str] = MappingProxyType({}), root: Path = ROOT
    ) -> None:
        self.root = root
        defaults = {name: value for name, value in SETTING.findall(EXAMPLE) if value}
        self._settings = {**defaults, **dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", env_file.read_text()))}
        self.environment = {**clean_environment(), **environment, "ENV_FILE": str(env_file)}
        self.project = self._settings["COMPOSE_PROJECT_NAME"]
        # For containers that a test adds: a cleanup after an aborted run finds them, as if Compose had made them.
        self.labels = [f"--label={COMPOSE}.project={self.project}", f"--label={COMPOSE}.oneoff=True"]
        self.limit = int(self._settings["UPLOAD_MAX"][:-1]) * UNITS[self._settings["UPLOAD_MAX"][-1]]
        self.user, self.password = self._settings["DEMO_USER"], self._settings["DEMO_PASSWORD"]
        self.ports = {
            "web": int(self._settings["HTTP_PORT"]),
            "gunicorn": int(self._settings["GUNICORN_PORT"]),
            "runserver": int(self._settings["RUNSERVER_PORT"]),
        }
        self.has_tls = self._settings["TLS"] == "on"
        self.http_port = self.ports["web"]
        if self.has_tls:
            self.ports["web"] = int(self._settings["HTTPS_PORT"])
        self.url = f"{'https' if self.has_tls else 'http'}://127.0.0.1:{self.ports['web']}"
        self._relays: list[Relay] = []

    # --- from outside ---------------------------------------------------------------------------------------------

    def script(self, name: str, *arguments: str, **settings: str) -> str:
        """Run one of scripts/ on this stack; `settings` override its file."""
        command = [str(self.root / "scripts" / name), *arguments]
        return run(*command, env={**self.environment, **settings}, cwd=self.root)

    def compose(self, *arguments: str, **settings: str) -> str:
        return self.script("compose.sh", *arguments, **settings)

    def paste_upload(self) -> None:
        """Upload docs/sample.jpg with the command that `make up` prints."""
        welcome = self.script("welcome.sh", "stack")
        command = ["bash", "-c", f"set -e; {welcome[welcome.index('  curl ') :]}"]
        answer = run(*command, env={**self.environment, "no_proxy": "*"})
        assert '"sha256"' in answer, answer

    @cached_property
    def token(self) -> str:
        return self.script("token.sh").strip()

    def containers(self) -> dict[str, dict[str, Any]]:
        """Service -> its container as inspected (one, if it has several), running or not."""
        return {container["Config"]["Labels"][f"{COMPOSE}.service"]: container for container in self._inspect()}

    def replicas(self, service: str) -> list[dict[str, Any]]:
        """All containers of a service as inspected."""
        return self._inspect(service)

    def _inspect(self, service: str | None = None) -> list[dict[str, Any]]:
        ids = run("docker", "ps", "--all", "--quiet", *self._filters(service)).split()
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", *ids)) if ids else []
        return found

    def _filters(self, service: str | None = None) -> list[str]:
        """For `docker ps`: only containers of Compose; other containers inherit labels from the images."""
        labels = {"project": self.project, "oneoff": "False"} | ({"service": service} if service else {})
        return [f"--filter=label={COMPOSE}.{key}={value}" for key, value in labels.items()]

    def container(self, service: str) -> dict[str, Any]:
        return self.containers()[service]

    def is_healthy(self, service: str) -> bool:
        """Whether the service has containers, and all are healthy."""
        states = [container["State"].get("Health", {}).get("Status") for container in self.replicas(service)]
        return set(states) == {"healthy"}

    def wait_until_healthy(self, *services: str, within: float = 60) -> None:
        for service in services:
            poll(lambda name=service: self.is_healthy(name), f"{service} is healthy", within)  # type: ignore[misc]  # a default binds the loop's value

    def logs(self, service: str) -> str:
        """Its output on both streams since its last start."""
        return self.logs_of(self.container(service))

    def logs_of(self, container: dict[str, Any]) -> str:
        return log_of(container["Id"], "--since", container["State"]["StartedAt"])

    def requests(self) -> list[dict[str, Any]]:
        """The log of nginx since its last start, a dictionary for each request."""
        return self.lines("nginx")

    def lines(self, service: str) -> list[dict[str, Any]]:
        """The JSON log lines of a service since its last start."""
        return [json.loads(line) for line in self.logs(service).splitlines() if line.startswith("{")]

    # --- from inside ----------------------------------------------------------------------------------------------

    def exec(self, service: str, *command: str) -> str:
        """Run a command in each container of the service; returns all output."""
        containers = run("docker", "ps", "--quiet", *self._filters(service)).split()
        assert containers, f"{service} does not run"
        return "".join(run("docker", "exec", container, *command) for container in containers)

    def processes(self, service: str, *command: str) -> str:
        """Run inside/processes.py in each container of the service."""
        return self.exec(service, *program("processes.py"), *command)

    def sockets(self, service: str) -> list[tuple[str, str, str]]:
        """Local address, peer address and state of each IPv4 TCP socket, in hexadecimal: proc_pid_net(5)."""
        rows = [line.split() for line in self.exec(service, "cat", "/proc/net/tcp").splitlines()]
        return [(row[1], row[2], row[3]) for row in rows if row[0] != "sl"]

    def relay(self, service: str, port: int = 8000) -> Relayed:
        """A connection to a service without published ports, from the container next to it."""
        idle = [relay for relay in self._relays if relay.is_idle]
        if not idle:
            idle = [Relay(self._neighbour)]
            self._relays += idle
        return idle[0].connect(service, port)

    def nginx(self, server: str) -> Wire:
        return Tcp(self.ports[server], self.trust if self.has_tls else None)

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Trusts only the self-signed certificate of nginx."""
        return ssl.create_default_context(cadata=self.exec("nginx", "cat", "/srv/certificates/self-signed.pem"))

    @cached_property
    def _neighbour(self) -> str:
        """The id of gunicorn's container, which no test kills; it has the image, volumes and database of web."""
        name: str = self.container("gunicorn")["Id"]
        return name

    @cached_property
    def probe(self) -> Probe:
        return Probe(self._neighbour)

    def state(self) -> tuple[list[str], list[str]]:
        """All rows, and all files of the application."""
        return self.probe("names"), self.probe("files")

    def leftovers(self) -> list[str]:
        """Files of bodies, unnamed ones included, in the spools of nginx and web: left over, unless a client sends."""
        output = [self.exec(service, *program("bodies.sh"), folder) for service, folder in SPOOLS.items()]
        return "".join(output).splitlines()

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """The block leaves no row and no file, and no half-received body."""
        before = self.state()
        yield
        poll(lambda: self.state() == before, f"rows and files are what they were: {before}", 30)
        poll(lambda: not self.leftovers(), "no half-received body is left", 30)

    # --- start and stop -------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        self.exec("gunicorn", "python", "manage.py", "sweep", "--age", "0")

    def kill(self, container: dict[str, Any]) -> None:
        """Kill all of its processes, as a power cut does: nothing is cleaned up. Does not wait."""
        command = ["docker", "exec", container["Id"], *KILL]
        with contextlib.suppress(subprocess.TimeoutExpired):  # killed with the container, which the engine may miss
            subprocess.run(command, check=False, capture_output=True, timeout=30)

    def wait_until_restarted(self, service: str, before: dict[str, Any], within: float = 60) -> None:
        """Wait until the container is healthy and was restarted after `before`, which `container()` returned."""
        started = before["State"]["StartedAt"]

        def is_new() -> bool:
            return bool(self.container(service)["State"]["StartedAt"] != started and self.is_healthy(service))

        poll(is_new, f"{service} has restarted", within)

    def close(self) -> None:
        self.forget()
        for relay in self._relays:
            relay.close()

    def forget(self) -> None:
        """Close probe and relays, which end with their container; the next use starts them in the current one."""
        if "probe" in self.__dict__:
            self.probe.close()
            del self.probe
        for relay in self._relays:
            if relay.is_idle:
                relay.close()
        self.__dict__.pop("_neighbour", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
