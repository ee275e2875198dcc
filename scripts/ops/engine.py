"""What the engine knows: containers of a project, volumes, images. Asks `docker` for JSON; changes nothing by itself.

A container of `compose run` (one-off) is not its service's, and is left out everywhere.
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
GIVEN_UP_AFTER = 3  # restarts: what ends so often will not become healthy


@dataclass(frozen=True)
class Container:
    """What `docker inspect` says of one, as far as it is used here."""

    id: str
    name: str
    service: str
    image: str  # as it was named when this was made
    image_id: str
    config_hash: str  # Compose's, of all settings
    status: str  # created, running, exited, ...
    health: str  # starting, healthy or unhealthy; nothing for one without a check
    exit_code: int
    restarts: int
    restart_policy: str
    environment: dict[str, str]
    addresses: dict[str, str]  # network -> IPv4
    mounts: dict[str, str]  # place -> volume, or folder of this machine

    @property
    def state(self) -> str:
        """Return one word: healthy, running, starting, unhealthy, restarting, failed, done, stopped, created, ...

        One that ends again and again is `restarting`, also while it tries once more. Only what is there to run once is
        ever `done`; a service that has ended in order is `stopped`, by whoever stopped it.
        """
        if self.status == "running":
            return "restarting" if self.health == "starting" and self.restarts else self.health or "running"
        if self.status == "exited":
            is_once = self.restart_policy in {"", "no"}
            return "failed" if self.exit_code else "done" if is_once else "stopped"
        return self.status

    @property
    def is_well(self) -> bool:
        return self.state in {"healthy", "done"}

    def address_in(self, network: str) -> str:
        """Return its IPv4 address in a network of compose.yaml; nothing if it is not in there."""
        return next((address for name, address in self.addresses.items() if name.endswith(f"_{network}")), "")

    @property
    def progress(self) -> Progress:
        """Whether it is healthy, may become so, or never will."""
        if self.status in {"created", "exited", "dead"}:
            return Progress.HOPELESS
        if self.status == "running" and self.health in {"", "healthy"}:
            return Progress.DONE
        return Progress.HOPELESS if self.restarts >= GIVEN_UP_AFTER else Progress.WAITING


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
    """Ask for the containers of a project, or of one of its services, in these states or in any; newest first."""
    labels = [f"project={project}", "oneoff=False", *([f"service={service}"] if service else [])]
    filters = [f"--filter=label={LABEL}.{label}" for label in labels] + [f"--filter=status={state}" for state in states]
    return programs.output(["docker", "ps", "--all", "--quiet", "--no-trunc", *filters]).split()


def is_running(project: str, *services: str) -> bool:
    """Whether one of these services has a container that runs."""
    return any(ids(project, service, states=["running"]) for service in services)


def inspect(containers: Sequence[str]) -> list[Container]:
    """Those that are gone meanwhile are left out."""
    if not containers:
        return []
    # It fails when one of them is gone, and prints the others.
    said = programs.attempt(["docker", "inspect", "--type=container", *containers]).stdout
    return [container_of(known) for known in json.loads(said or "[]")]


def containers(project: str, service: str = "", *, states: Iterable[str] = ()) -> list[Container]:
    return inspect(ids(project, service, states=states))


def first(project: str, service: str) -> str:
    """Return the id of one that runs, or nothing.

    Not by `compose exec`: 1.29 knows only the container with the number 1, which a deploy replaces by 2.
    """
    return next(iter(ids(project, service, states=["running"])), "")


def health(containers: Sequence[str]) -> Progress:
    """Of all of them: never, should one have ended, be gone, or end again and again."""
    found = [container.progress for container in inspect(containers)]
    if len(found) < len(containers) or Progress.HOPELESS in found:
        return Progress.HOPELESS
    return Progress.WAITING if Progress.WAITING in found else Progress.DONE


def show_logs(containers: Iterable[str]) -> None:
    """Print what they said last, on stderr."""
    for container in containers:
        programs.run(["sh", "-c", 'exec docker logs --tail 30 "$1" >&2', "sh", container])


# --- volumes and images -----------------------------------------------------------------------------------------------


def volumes(project: str) -> list[str]:
    return programs.output(["docker", "volume", "ls", "--quiet", f"--filter=label={LABEL}.project={project}"]).split()


def has_volume(name: str) -> bool:
    return programs.succeeds(["docker", "volume", "inspect", name])


def other_users(volume: str, project: str) -> list[str]:
    """Name containers of other stacks that have a volume, or a folder, as well, running or not."""
    template = f'{{{{.Label "{LABEL}.project"}}}} {{{{.Names}}}}'
    said = programs.output(["docker", "ps", "--all", f"--filter=volume={volume}", "--format", template])
    rows = [line.split() for line in said.splitlines()]
    return [row[1] for row in rows if len(row) == 2 and row[0] != project]  # noqa: PLR2004  # a project and a name


def image_id(name: str) -> str:
    """Return nothing if there is no such image."""
    return programs.output(["docker", "image", "inspect", "--format", "{{.Id}}", name])


def cpus() -> float | None:
    """Return None where no engine answers."""
    said = programs.output(["docker", "info", "--format", "{{.NCPU}}"])
    return float(said) if said.isdigit() else None
