"""The stack under test: starting it, asking the engine about it, looking inside, ending it.

It knows scripts/ (so either generation of Compose will do), the engine's `docker`, and labels that Compose sets. It
does not know HTTP; wire.py and the tests do.
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
COMPOSE = "com.docker.compose"  # how its labels begin, in either generation
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
SETTING = re.compile(r"(?m)^#?([A-Z_]+)=(.*)$")

# All processes but the init. From the inside, because the engine does not restart what `docker kill` ended.
KILL = ["sh", "-c", "kill -KILL -1"]
# Where bodies are received.
SPOOLS = {"nginx": "/var/spool/nginx", "web": "/var/spool/wsgiserver"}


def engine_trouble() -> str:
    """Why there can be no stack here; empty if there can."""
    return compose.trouble(settings.here())


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


def clean_environment() -> dict[str, str]:
    """Our own, without settings of the stack, which would outdo its file. Which images to take stays the machine's."""
    ours = {name for name, _ in SETTING.findall(EXAMPLE) if "IMAGE" not in name}
    return {name: value for name, value in os.environ.items() if name not in ours}


def run(*command: str, env: dict[str, str] | None = None, timeout: float = 600, cwd: Path = ROOT) -> str:
    """Run to its end; returns stdout. Fails with all that was said."""
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout, check=False, cwd=cwd)
    assert done.returncode == 0, (
        f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done.stdout


def log_of(container: str, *options: str) -> str:
    """What it said, on either stream."""
    command = ["docker", "logs", *options, container]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True, timeout=60)
    return done.stdout.decode(errors="replace")


def finish(process: subprocess.Popen[str]) -> None:
    """End a program that goes on until its standard input ends."""
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
        assert answer, f"the probe ended at {question} {arguments}; its complaint is on stderr"
        return json.loads(answer)

    def close(self) -> None:
        finish(self._process)


class Stack:
    """A running stack, known by its settings file, and by the folder whose scripts/ started it."""

    def __init__(
        self, env_file: Path, environment: Mapping[str, str] = MappingProxyType({}), root: Path = ROOT
    ) -> None:
        self.root = root
        defaults = {name: value for name, value in SETTING.findall(EXAMPLE) if value}
        self._settings = {**defaults, **dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", env_file.read_text()))}
        self.environment = {**clean_environment(), **environment, "ENV_FILE": str(env_file)}
        self.project = self._settings["COMPOSE_PROJECT_NAME"]
        # For what a test adds: whoever clears up after a run that was cut short finds it, as if it were Compose's.
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
        """Run one of scripts/ on this stack; `settings` outdo its file."""
        command = [str(self.root / "scripts" / name), *arguments]
        return run(*command, env={**self.environment, **settings}, cwd=self.root)

    def compose(self, *arguments: str, **settings: str) -> str:
        return self.script("compose.sh", *arguments, **settings)

    def paste_upload(self) -> None:
        """Upload docs/sample.jpg by the command that `make up` ends with, pasted into a shell."""
        story = self.script("welcome.sh", "stack")
        command = ["bash", "-c", f"set -e; {story[story.index('curl ') :]}"]
        answer = run(*command, env={**self.environment, "no_proxy": "*"})
        assert '"sha256"' in answer, answer

    @cached_property
    def token(self) -> str:
        return self.script("token.sh").strip()

    def containers(self) -> dict[str, dict[str, Any]]:
        """Service -> what the engine knows of its container (of one, if it has several), also one that has ended."""
        return {container["Config"]["Labels"][f"{COMPOSE}.service"]: container for container in self._inspect()}

    def replicas(self, service: str) -> list[dict[str, Any]]:
        """The same of all containers of a service."""
        return self._inspect(service)

    def _inspect(self, service: str | None = None) -> list[dict[str, Any]]:
        ids = run("docker", "ps", "--all", "--quiet", *self._filters(service)).split()
        found: list[dict[str, Any]] = json.loads(run("docker", "inspect", *ids)) if ids else []
        return found

    def _filters(self, service: str | None = None) -> list[str]:
        """For `docker ps`: Compose's containers alone; images that it built hand labels on to any other."""
        labels = {"project": self.project, "oneoff": "False"} | ({"service": service} if service else {})
        return [f"--filter=label={COMPOSE}.{key}={value}" for key, value in labels.items()]

    def container(self, service: str) -> dict[str, Any]:
        return self.containers()[service]

    def is_healthy(self, service: str) -> bool:
        """All of its containers are, and there is one at least."""
        states = [container["State"].get("Health", {}).get("Status") for container in self.replicas(service)]
        return set(states) == {"healthy"}

    def wait_until_healthy(self, *services: str, within: float = 60) -> None:
        for service in services:
            poll(lambda name=service: self.is_healthy(name), f"{service} is healthy", within)  # type: ignore[misc]  # a default binds the loop's value

    def logs(self, service: str) -> str:
        """What it said since it was started last, on either stream."""
        return self.logs_of(self.container(service))

    def logs_of(self, container: dict[str, Any]) -> str:
        return log_of(container["Id"], "--since", container["State"]["StartedAt"])

    def requests(self) -> list[dict[str, Any]]:
        """What nginx has logged since it was started last, a dictionary for each request."""
        return self.lines("nginx")

    def lines(self, service: str) -> list[dict[str, Any]]:
        """What a service has logged as JSON since it was started last."""
        return [json.loads(line) for line in self.logs(service).splitlines() if line.startswith("{")]

    # --- from inside ----------------------------------------------------------------------------------------------

    def exec(self, service: str, *command: str) -> str:
        """Run it in each container of the service; returns what all of them said."""
        containers = run("docker", "ps", "--quiet", *self._filters(service)).split()
        assert containers, f"{service} does not run"
        return "".join(run("docker", "exec", container, *command) for container in containers)

    def processes(self, service: str, *command: str) -> str:
        """Have inside/processes.py do something in each container of the service."""
        return self.exec(service, *program("processes.py"), *command)

    def sockets(self, service: str) -> list[tuple[str, str, str]]:
        """Own address, peer's and state of each TCP socket (IPv4), in the kernel's hexadecimals: proc_pid_net(5)."""
        rows = [line.split() for line in self.exec(service, "cat", "/proc/net/tcp").splitlines()]
        return [(row[1], row[2], row[3]) for row in rows if row[0] != "sl"]

    def relay(self, service: str, port: int = 8000) -> Relayed:
        """To a service that publishes nothing, out of the container next to it."""
        idle = [relay for relay in self._relays if relay.is_idle]
        if not idle:
            idle = [Relay(self._neighbour)]
            self._relays += idle
        return idle[0].connect(service, port)

    def nginx(self, server: str) -> Wire:
        return Tcp(self.ports[server], self.trust if self.has_tls else None)

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Believes in the certificate that nginx made for itself, and in no other."""
        return ssl.create_default_context(cadata=self.exec("nginx", "cat", "/srv/certificates/self-signed.pem"))

    @cached_property
    def _neighbour(self) -> str:
        """The container that no test kills; it has the same image, volumes and database as web."""
        name: str = self.container("gunicorn")["Id"]
        return name

    @cached_property
    def probe(self) -> Probe:
        return Probe(self._neighbour)

    def state(self) -> tuple[list[str], list[str]]:
        """All rows, and all files of the application."""
        return self.probe("names"), self.probe("files")

    def leftovers(self) -> list[str]:
        """Files of bodies, nameless ones as well, in nginx's spool and in web's: left over, if nobody is sending."""
        output = [self.exec(service, *program("bodies.sh"), folder) for service, folder in SPOOLS.items()]
        return "".join(output).splitlines()

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """What happens inside leaves no row and no file, half-received ones included."""
        before = self.state()
        yield
        poll(lambda: self.state() == before, f"rows and files are what they were: {before}", 30)
        poll(lambda: not self.leftovers(), "no half-received body is left", 30)

    # --- life and death -------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        self.exec("gunicorn", "python", "manage.py", "sweep", "--age", "0")

    def kill(self, container: dict[str, Any]) -> None:
        """End all of its processes as a power cut would: nothing is cleaned up. Returns at once."""
        command = ["docker", "exec", container["Id"], *KILL]
        with contextlib.suppress(subprocess.TimeoutExpired):  # killed with the rest, which the engine may miss
            subprocess.run(command, check=False, capture_output=True, timeout=30)

    def wait_until_restarted(self, service: str, before: dict[str, Any], within: float = 60) -> None:
        """Healthy, and not the same run of it as `before`, which `container()` returned."""
        started = before["State"]["StartedAt"]

        def is_new() -> bool:
            return bool(self.container(service)["State"]["StartedAt"] != started and self.is_healthy(service))

        poll(is_new, f"{service} is back, by itself", within)

    def close(self) -> None:
        self.forget()
        for relay in self._relays:
            relay.close()

    def forget(self) -> None:
        """What runs inside a container ends with it; the next question starts it again, in whichever is there then."""
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
