"""Containers, volumes and images of a project, read from `docker` as JSON. Changes nothing.

Containers of `compose run` (one-off) do not count as containers of their service, and are left out everywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import programs
from .console import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LABEL = "com.docker.compose"
MAX_RESTARTS = 3  # a container that ended this often will not become healthy


@dataclass(frozen=True)
class Container:
    """The fields of `docker inspect` that are used here."""

    id: str
    name: str
    service: str
    image: str  # the name it had when the container was created
    image_id: str
    config_hash: str  # Compose's hash of all its settings
    status: str  # created, running, exited, ...
    health: str  # starting, healthy or unhealthy; empty without a health check
    exit_code: int
    restarts: int
    restart_policy: str
    environment: dict[str, str]
    addresses: dict[str, str]  # network -> IPv4
    mounts: dict[str, str]  # path in the container -> volume, or folder of this machine

    @property
    def state(self) -> str:
        """Return one word: healthy, running, starting, unhealthy, restarting, failed, done, stopped, created, ...

        A container that keeps ending is `restarting`, even while it is starting again. Only a container that is meant
        to run once can be `done`; a service that ended with exit code 0 is `stopped`.
        """
        if self.status == "running":
            return "restarting" if self.health == "starting" and self.restarts else self.health or "running"
        if self.status == "exited":
            is_once = self.restart_policy in {"", "no"}
            return "failed" if self.exit_code else "done" if is_once else "stopped"
        return self.status

    @property
    def is_healthy(self) -> bool:
        """Whether it is healthy, or has done what it is meant to run once for."""
        return self.state in {"healthy", "done"}

    def address_in(self, network: str) -> str:
        """Return its IPv4 address in a network of compose.yaml; nothing if it is not in that network."""
        return next((address for name, address in self.addresses.items() if name.endswith(f"_{network}")), "")

    @property
    def progress(self) -> Progress:
        """Whether it is healthy, may become healthy, or never will."""
        if self.status in {"created", "exited", "dead"}:
            return Progress.HOPELESS
        if self.status == "running" and self.health in {"", "healthy"}:
            return Progress.DONE
        return Progress.HOPELESS if self.restarts >= MAX_RESTARTS else Progress.WAITING


def container_of(known: dict[str, Any]) -> Container:
    """Read an entry of `docker inspect`."""
    config, state = known["Config"], known["State"]
    labels = config.get("Labels") or {}
    networks = known["NetworkSettings"]["Networks"] or {}
    return Container(
        id=known["Id"],
        name=known["Name"].lstrip("/"),
        service=labels.get(f"{LABEL}.service", ""),
        image=config["Image"],
        image_id=known["Image"],
        config_hash=labels.get(f"{LABEL}.config-hash", ""),
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", ""),
        exit_code=state["ExitCode"],
        restarts=known["RestartCount"],
        restart_policy=known["HostConfig"]["RestartPolicy"]["Name"],
        environment=dict(pair.partition("=")[::2] for pair in config.get("Env") or []),
        addresses={name: network["IPAddress"] for name, network in networks.items()},
        mounts={mount["Destination"]: mount.get("Name") or mount["Source"] for mount in known["Mounts"]},
    )


def ids(project: str, service: str = "", *, states: Iterable[str] = ()) -> list[str]:
    """Return the containers of a project, or of one of its services, in these states or in any; newest first."""
    labels = [f"project={project}", "oneoff=False", *([f"service={service}"] if service else [])]
    filters = [f"--filter=label={LABEL}.{label}" for label in labels] + [f"--filter=status={state}" for state in states]
    return programs.output(["docker", "ps", "--all", "--quiet", "--no-trunc", *filters]).split()


def is_running(project: str, *services: str) -> bool:
    """Whether one of these services has a container that runs."""
    return any(ids(project, service, states=["running"]) for service in services)


def inspect(containers: Sequence[str]) -> list[Container]:
    """Leave out containers that no longer exist."""
    if not containers:
        return []
    # It fails if one of them does not exist, but prints the others.
    printed = programs.attempt(["docker", "inspect", "--type=container", *containers]).stdout
    return [container_of(known) for known in json.loads(printed or "[]")]


def containers(project: str, service: str = "", *, states: Iterable[str] = ()) -> list[Container]:
    return inspect(ids(project, service, states=states))


def first(project: str, service: str) -> str:
    """Return the id of one that runs, or nothing.

    `compose exec` cannot be used instead: 1.29 knows only the container with the number 1, which a deploy replaces
    with number 2.
    """
    return next(iter(ids(project, service, states=["running"])), "")


def health(containers: Sequence[str]) -> Progress:
    """Return the progress of all of them together: HOPELESS if one has ended, does not exist, or keeps ending."""
    found = [container.progress for container in inspect(containers)]
    if len(found) < len(containers) or Progress.HOPELESS in found:
        return Progress.HOPELESS
    return Progress.WAITING if Progress.WAITING in found else Progress.DONE


def show_logs(containers: Iterable[str]) -> None:
    """Print their last log lines on stderr."""
    for container in containers:
        programs.run(["sh", "-c", 'exec docker logs --tail 30 "$1" >&2', "sh", container])


# --- volumes and images -----------------------------------------------------------------------------------------------


def volumes(project: str) -> list[str]:
    return programs.output(["docker", "volume", "ls", "--quiet", f"--filter=label={LABEL}.project={project}"]).split()


def has_volume(name: str) -> bool:
    return programs.succeeds(["docker", "volume", "inspect", name])


def other_users(volume: str, project: str) -> list[str]:
    """Return the names of containers of other stacks, running or not, that mount this volume or folder."""
    template = f'{{{{.Label "{LABEL}.project"}}}} {{{{.Names}}}}'
    printed = programs.output(["docker", "ps", "--all", f"--filter=volume={volume}", "--format", template])
    rows = [line.split() for line in printed.splitlines()]
    return [row[1] for row in rows if len(row) == 2 and row[0] != project]  # noqa: PLR2004  # a project and a name


def image_id(name: str) -> str:
    """Return nothing if there is no such image."""
    return programs.output(["docker", "image", "inspect", "--format", "{{.Id}}", name])


def cpus() -> float | None:
    """Return None where no engine answers."""
    printed = programs.output(["docker", "info", "--format", "{{.NCPU}}"])
    return float(printed) if printed.isdigit() else None
