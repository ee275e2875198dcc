"""The real nginx with other settings, in front of an echo application: the stack under test stays untouched, and a
container starts in a second.

    with Backends(stack) as backends, Edge(backends, {"TLS": "on"}) as edge: ...

`Backends` is a network in which inside/echo_app.py runs twice, as `web` and as `gunicorn`, with the commands of
compose.yaml. `Edge` is the nginx image of the stack with other settings, on free ports of loopback.
"""

import io
import re
import subprocess
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

import yaml

from tests.stack.programs import program, source
from tests.stack.stack import EXAMPLE, ROOT, SETTING, Stack, free_ports, log_of, run
from tests.stack.wire import Tcp, Tls, Wire
from tests.wire import building
from tests.wire.answers import Answer, read_answer
from tests.wire.polling import poll

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
DEFAULTS = {name: value for name, value in SETTING.findall(EXAMPLE) if value}
HARDENING = ["--init", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
# Its module name in the container; the program comes in a variable, because the engine may not see local folders.
PROGRAM = "echoed"
WRITE_PROGRAM = f'printf %s "$PROGRAM" > /tmp/{PROGRAM}.py && cd /tmp && exec "$@"'
INSIDE = {"web": 8080, "gunicorn": 8081, "tls": 8443}  # ports of nginx
TOO_LARGE = b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"x" * (64 << 10))  # refused with any settings
ECHO = source("echo_app.py")


def settled(text: object, **settings: str) -> str:
    """A value of compose.yaml as Compose resolves it, with `settings` over the defaults of .env.example."""
    values = {**DEFAULTS, **settings}
    return re.sub(r"\$\{([A-Z_]+)[^}]*\}", lambda match: values.get(match[1], ""), str(text))


def server_command(service: str) -> tuple[list[str], dict[str, str]]:
    """The command of a service and the variables of its server, for echo_app.py in one process."""
    one = {"WEB_WORKERS": "1", "WEB_THREADS": "8"}
    command = [settled(word, **one) for word in SERVICES[service]["command"]]
    command = [word.replace("uploadstack.wsgi:", f"{PROGRAM}:") for word in command]
    variables = {
        name: settled(value, **one)
        for name, value in SERVICES[service]["environment"].items()
        if name.startswith("WSGISERVER_")
    }
    return command, variables | ({"WSGISERVER_SPOOL_DIR": "/tmp"} if variables else {})


class Backends:
    """A network with servers named `web` and `gunicorn`.

    `programs` maps a service to a Python program that runs instead and listens on port 8000. `application` replaces
    echo_app.py. If there are several `replicas` of web, the second is called web-2 and so on.
    """

    def __init__(
        self, stack: Stack, programs: Mapping[str, str] | None = None, *, application: str = ECHO, replicas: int = 1
    ) -> None:
        self._programs = programs or {}
        self._application = application
        self._names = ["web", "gunicorn", *(f"web-{number}" for number in range(2, replicas + 1))]
        self.images = {name: stack.container(name)["Config"]["Image"] for name in ("nginx", "web")}
        self.labels = stack.labels
        self.network = f"{stack.project}-echo-{uuid.uuid4().hex[:8]}"
        self.containers: dict[str, str] = {}

    def __enter__(self) -> Self:
        run("docker", "network", "create", *self.labels, self.network)
        try:
            for name in self._names:
                self.containers[name] = self._start(name.partition("-")[0])
            run("docker", "exec", self.containers["web"], *program("wait_for_both.py"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, service: str) -> str:
        command, variables = server_command(service)
        if service in self._programs:
            command, variables = ["python", f"{PROGRAM}.py"], {}
        variables["PROGRAM"] = self._programs.get(service, self._application)
        variables["PYTHONPATH"] = "/app"  # for gunicorn's access log, which compose.yaml names
        given = [f"--env={name}={value}" for name, value in variables.items()]
        where = [f"--network={self.network}", f"--network-alias={service}", "--tmpfs=/tmp:size=256m,mode=1777"]
        return run(
            *("docker", "run", "--detach", "--user=10001:10001", *HARDENING, *self.labels, *where, *given),
            *(self.images["web"], "sh", "-c", WRITE_PROGRAM, "sh", *command),
        ).strip()

    def logs(self, service: str) -> str:
        return log_of(self.containers[service])

    def __exit__(self, *error: object) -> None:
        if self.containers:
            run("docker", "rm", "--force", "--volumes", *self.containers.values())
        run("docker", "network", "rm", self.network)


class Edge:
    """nginx in front of `backends`, with these settings of .env; `files` replace files of its image."""

    def __init__(
        self,
        backends: Backends,
        settings: Mapping[str, str],
        *,
        files: Mapping[str, str] | None = None,
        mounts: Sequence[str] = (),
        spool: str = "size=64m",
    ) -> None:
        self._files = files or {}
        self._backends = backends
        self._settings = settings
        self._arguments = [
            *("--user=10002:10002", *HARDENING, *backends.labels, f"--network={backends.network}"),
            *(f"--tmpfs=/var/spool/nginx:uid=10002,{spool}", "--tmpfs=/srv/media:uid=10002"),
            "--tmpfs=/tmp:size=64m,mode=1777",
            *(mounts or ["--tmpfs=/srv/certificates:uid=10002,mode=700"]),
        ]
        if self._files:
            self._arguments.remove("--read-only")  # the engine copies no file into a read-only container
        self.ports: dict[str, int] = {}
        self.container = ""

    def __enter__(self) -> Self:
        try:
            self._start()
            self.wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, attempts: int = 3) -> None:
        """Start on free ports; try again if one was taken meanwhile."""
        try:
            self._create()
            run("docker", "start", self.container)
        except AssertionError:
            if attempts == 1:
                raise
            self.__exit__()
            self._start(attempts - 1)

    def _create(self) -> None:
        self.ports = dict(zip(INSIDE, free_ports(len(INSIDE)), strict=True))
        own = {"HTTPS_PORT": str(self.ports["tls"]), "NGINX_WORKERS": "1", "ANONYMOUS_UPLOADS": "on"}
        settings = {**own, **self._settings}
        given = {name: settled(value, **settings) for name, value in SERVICES["nginx"]["environment"].items()}
        published = [f"--publish=127.0.0.1:{self.ports[name]}:{port}" for name, port in INSIDE.items()]
        variables = [f"--env={name}={value}" for name, value in given.items()]
        image = self._backends.images["nginx"]
        self.container = run("docker", "create", *self._arguments, *published, *variables, image).strip()
        for path, text in self._files.items():
            put(self.container, path, text)

    def wait_until_up(self) -> None:
        """Wait for any answer: the engine accepts connections to a published port before nginx does."""

        def is_up() -> bool:
            try:
                return ask(self.wire("web"), TOO_LARGE) is not None
            except OSError:
                return False

        poll(is_up, "nginx answers", 60)

    def wire(self, server: str) -> Tcp:
        return Tcp(self.ports[server])

    def tls(self, server: str) -> Tls:
        return Tls(self.ports["tls" if server == "web" else server])

    def exec(self, *command: str) -> str:
        return run("docker", "exec", self.container, *command)

    def logs(self) -> str:
        return log_of(self.container)

    def restart(self) -> None:
        run("docker", "restart", self.container)
        self.wait_until_up()

    def __exit__(self, *error: object) -> None:
        if self.container:
            run("docker", "rm", "--force", "--volumes", self.container)
        self.container = ""


def ask(wire: Wire, request: bytes) -> Answer | None:
    """Send the bytes of a request and return the answer; None if the connection is closed instead."""
    with wire:
        wire.send(request)
        try:
            return read_answer(wire.reader, method=request.split(b" ", 1)[0].decode("latin-1"))
        except ConnectionError:
            return None


def request(target: str, *fields: str, method: str = "GET", version: str = "1.1", host: str = "localhost") -> bytes:
    """The bytes of a request without a body; a field may be any text."""
    return building.request(method, target, *fields, "Connection: close", version=version, host=host)


def put(container: str, path: str, text: str) -> None:
    """Write a file into a container that was created and not started."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(text.encode()), 0o644
        archive.addfile(entry, io.BytesIO(text.encode()))
    subprocess.run(["docker", "cp", "-", f"{container}:/"], input=data.getvalue(), check=True, timeout=60)
