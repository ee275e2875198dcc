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
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from tests.stack.wire import Relay, Relayed, Tcp, Wire

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
EXAMPLE = (ROOT / ".env.example").read_text()
COMPOSE = "com.docker.compose"  # how its labels begin, in either generation
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}
SETTING = re.compile(r"(?m)^#?([A-Z_]+)=(.*)$")

# Programs that run inside a container. Its main process is the child of process 1, the init.
_FAMILY = """
import os, signal, sys
from pathlib import Path
def parent(pid):
    try:
        return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
def children(of):
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(path.name) == of]
def workers():
    return [pid for main in children(1) for pid in children(main)]
def kill_all():
    for pid in [*workers(), *children(1)]:
        os.kill(pid, signal.SIGKILL)
"""
WORKERS = _FAMILY + "print(*workers())\n"
# The one with the most connections; not the oldest, which is web's for health and metrics.
KILL_ONE_WORKER = (
    _FAMILY
    + """
def sockets(pid):
    return sum(file.is_socket() for file in Path(f"/proc/{pid}/fd").iterdir())
os.kill(max(sorted(workers())[1:], key=sockets), signal.SIGKILL)
"""
)
RELOAD = _FAMILY + "[os.kill(pid, signal.SIGHUP) for pid in children(1)]\n"
# All processes but the init. From the inside, because the engine does not restart what `docker kill` ended.
KILL = ["sh", "-c", "kill -KILL -1"]
KILL_WORKERS = _FAMILY + "[os.kill(pid, signal.SIGKILL) for pid in workers()]\n"

# Where bodies are received, and what lies in such a folder. nginx takes a file's name away as soon as it is open, and
# those of wsgiserver never have one: they are among what processes have open. A process may end meanwhile.
SPOOLS = {"nginx": "/var/spool/nginx", "web": "/var/spool/wsgiserver"}
BODIES = r"""find "$0" -type f; find /proc/[0-9]*/fd -lname "$0/*" -printf '%l\n' 2>/dev/null; true"""

# Kills all at a moment of storing a photo, in one of the media folders: "new", when a file appears there, whoever made
# it; "open", when a process of this very container has opened one there. Says "ready", and watches until stdin ends.
KILL_WHEN_STORING = (
    _FAMILY
    + """
import select
top = f"/srv/media/{sys.argv[2]}/"
def files():
    return {path for pattern in ("*", "*/*") for path in Path(top).glob(pattern) if path.is_file()}
def open_files():
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found.add(os.readlink(link))
        except OSError:
            pass
    return {path for path in found if path.startswith(top)}
look = {"new": files, "open": open_files}[sys.argv[1]]
before = look()
print("ready", flush=True)
is_over = False
while not look() - before:
    if is_over:
        sys.exit()
    is_over = bool(select.select([sys.stdin], [], [], 0)[0])  # and then a last look
kill_all()
"""
)


def eventually(check: Callable[[], object], within: float, what: str) -> None:
    """Poll until the check is true. Fails when that takes longer than `within` seconds."""
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, f"not within {within:.0f} seconds: {what}"
        time.sleep(0.1)


def engine_trouble() -> str:
    """Why there can be no stack here; empty if there can."""
    command = ["bash", "-c", 'source "$0/lib.sh"; engine_trouble', str(SCRIPTS)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


def clean_environment() -> dict[str, str]:
    """Our own, without settings of the stack, which would outdo its file. Which images to take stays the machine's."""
    ours = {name for name, _ in SETTING.findall(EXAMPLE) if "IMAGE" not in name}
    return {name: value for name, value in os.environ.items() if name not in ours}


def run(*command: str, env: dict[str, str] | None = None, timeout: float = 600) -> str:
    """Run to its end; returns stdout. Fails with all that was said."""
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout, check=False, cwd=ROOT)
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
    """Questions to probe.py inside the stack: `probe("photo", "cat.jpg")`."""

    def __init__(self, container: str) -> None:
        program = Path(__file__).with_name("probe.py").read_text()
        command = ["docker", "exec", "-i", container, "python", "-c", program]
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
    """A running stack, known by its settings file."""

    def __init__(self, env_file: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
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
        return run(str(SCRIPTS / name), *arguments, env={**self.environment, **settings})

    def compose(self, *arguments: str, **settings: str) -> str:
        return self.script("compose.sh", *arguments, **settings)

    def paste_upload(self) -> None:
        """Upload docs/sample.jpg by the command that `make up` ends with, pasted into a shell."""
        story = self.script("story.sh", "stack")
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
            eventually(lambda name=service: self.is_healthy(name), within, f"{service} is healthy")  # type: ignore[misc]  # a default binds the loop's value

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
        said = [self.exec(service, "sh", "-c", BODIES, folder) for service, folder in SPOOLS.items()]
        return "".join(said).splitlines()

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """What happens inside leaves no row and no file, half-received ones included."""
        before = self.state()
        yield
        eventually(lambda: self.state() == before, 30, f"rows and files are what they were: {before}")
        eventually(lambda: not self.leftovers(), 30, "no half-received body is left")

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

        eventually(is_new, within, f"{service} is back, by itself")

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
