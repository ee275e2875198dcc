"""Compose for this project: which generation is installed, whether it can be used, and its commands.

COMPOSE sets the command, such as COMPOSE=docker-compose where both generations are installed. DOCKER_BUILDKIT sets the
builder: 0 for the classic one, 1 for BuildKit.
"""

from __future__ import annotations

import functools
import getpass
import os
import re
import shutil
from typing import TYPE_CHECKING, NoReturn

from . import images, ownership, programs
from . import settings as settings_
from .console import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Settings

ANSWERS_WITHIN = 20  # seconds
# Before 1.29 Compose cannot read compose.yaml. Before 2.22 `config --hash` prints other hashes than `up` records on
# containers (docker/compose#11010), and deploy compares the two.
TOO_OLD = re.compile(r"v?(1\.(1?[0-9]|2[0-8])|2\.(1?[0-9]|2[01]))(\.|$)")


def command(settings: Settings) -> list[str]:
    """Return the words of the command; none if Compose is not installed."""
    if given := settings.environment.get("COMPOSE", ""):
        return given.split()
    return _found()


@functools.lru_cache(maxsize=1)
def _found() -> list[str]:
    if programs.succeeds(["docker", "compose", "version"]):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


@functools.lru_cache(maxsize=1)
def has_buildx() -> bool:
    """Whether buildx is installed, which Compose needs to use BuildKit."""
    return programs.succeeds(["docker", "buildx", "version"])


def version(settings: Settings) -> str:
    return programs.output([*command(settings), "version", "--short"])


def is_too_old(version: str) -> bool:
    return TOO_OLD.match(version) is not None


def trouble(settings: Settings) -> str:
    """Return why containers cannot be used here, and what to do, in one line; nothing if they can."""
    if not shutil.which("docker", path=settings.environment.get("PATH")):
        return "Docker is not installed (how to install it: https://docs.docker.com/engine/install/)"
    done = programs.attempt(["docker", "version", "--format", "{{.Server.Version}}"], timeout=ANSWERS_WITHIN)
    if "permission denied" in done.stdout + done.stderr and done.returncode:
        user = getpass.getuser()
        return f"the user {user} has no access to Docker's socket (sudo usermod -aG docker {user}, then log in again)"
    if done.returncode:
        return (
            "Docker is installed, but its engine does not respond (sudo systemctl start docker, or open Docker Desktop)"
        )
    if not command(settings):
        return (
            "Docker is installed, but Compose is not (install docker-compose-plugin, docker-compose-v2 or"
            " docker-compose)"
        )
    return ""


def need_engine(settings: Settings) -> None:
    """Raise Failure if there is no engine, or if the stack belongs to another copy."""
    if found := trouble(settings):
        raise Failure(found)
    ownership.refuse_another_copy(settings)


def run(settings: Settings, *arguments: str, profiles: str = "") -> bool:
    """Return whether it succeeds. Its output is shown only if it fails."""
    environment = {**_environment(settings), **({"COMPOSE_PROFILES": profiles} if profiles else {})}
    return programs.run_silently(_command(settings, arguments), environment, settings.root)


def line(settings: Settings, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment, for callers that run it themselves, in the folder settings.root."""
    return _command(settings, arguments), _environment(settings)


def hashes(settings: Settings) -> dict[str, str]:
    """Return the hash of the settings of each enabled service; Compose records it on each container.

    In 1.29, `config` and `config --services` also list services whose profiles are off.
    """
    done = programs.attempt(_command(settings, ["config", "--hash", "*"]), _environment(settings), settings.root)
    if done.returncode:
        raise Failure(f"Compose cannot read compose.yaml: {done.stderr.strip()}")
    return dict(line.split() for line in done.stdout.splitlines())


def builder(settings: Settings) -> dict[str, str]:
    """Return the variables that select the classic builder, if buildx is not installed."""
    if settings.environment.get("DOCKER_BUILDKIT") or has_buildx():
        return {}
    return {"DOCKER_BUILDKIT": "0", "COMPOSE_BAKE": "false"}


def main(arguments: Sequence[str]) -> NoReturn:
    """Become Compose: scripts/compose.sh ps, scripts/compose.sh exec web sh, ..."""
    settings = settings_.here()
    need_engine(settings)
    if not settings.has_file:
        raise Failure(f"{settings.file} does not exist yet; write it first: make env")
    if arguments and "down" in arguments and {"-v", "--volumes"} & set(arguments[arguments.index("down") :]):
        ownership.forget_folder(settings)  # Compose does not know the volume that records the folder
    words, environment = line(settings, *arguments)
    os.chdir(settings.root)
    os.execvpe(words[0], words, environment)  # noqa: S606  # the purpose of this command


def _command(settings: Settings, arguments: Sequence[str]) -> list[str]:
    return [*command(settings), "--env-file", str(settings.file), *arguments]


def _environment(settings: Settings) -> dict[str, str]:
    return {**settings.environment, **builder(settings), **images.chosen(settings)}
