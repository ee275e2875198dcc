"""Stacks that tests start: with settings, ports, secrets and volumes of their own, deleted with their data afterwards.

A stack that is up beside one of these stays as it is. Its images have names of its own, too, and go with it;
what they were built from stays, so the next one is built in seconds.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.stack.stack import ROOT, SCRIPTS, Stack, clean_environment, engine_trouble, free_ports, run

FIRST_START = 1500  # seconds; with base images to pull or to build
UPLOAD_MAX = "52m"  # not the default; above the largest of test_10_matrix.py, and small enough to exceed


def may_start_a_stack(items: list[pytest.Item], folder: Path) -> None:
    """The first test of the folder takes as long as its fixtures do."""
    ours = [item for item in items if item.path.parent == folder]
    if ours:
        ours[0].add_marker(pytest.mark.timeout(FIRST_START))


def overlaid(*overlays: Path) -> dict[str, str]:
    """What makes Compose read these over compose.yaml."""
    return {"COMPOSE_FILE": os.pathsep.join(map(str, [ROOT / "compose.yaml", *overlays]))}


@contextmanager
def provided(
    factory: pytest.TempPathFactory,
    kind: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    /,
    **settings: str,
) -> Iterator[Stack]:
    """The stack that runs with the settings in the file that KIND_ENV_FILE names, or one of our own."""
    if given := os.environ.get(f"{kind.upper()}_ENV_FILE"):
        with Stack(Path(given).resolve(), environment) as running:
            yield ready(running)
        return
    with started(factory.mktemp(kind), kind, environment, **settings) as new:
        yield new


@contextmanager
def started(
    folder: Path, kind: str, environment: Mapping[str, str] = MappingProxyType({}), /, **settings: str
) -> Iterator[Stack]:
    """Skips the test where there is no engine. `kind` goes into the project's name, `environment` to its scripts."""
    with started_from(ROOT, folder, kind, environment, **settings) as new:
        yield ready(new)


@contextmanager
def started_from(
    root: Path, folder: Path, kind: str, environment: Mapping[str, str] = MappingProxyType({}), /, **settings: str
) -> Iterator[Stack]:
    """The same of a copy of this project, and what is in its app/ need not know tokens."""
    if trouble := engine_trouble():
        pytest.skip(f"no stack without an engine: {trouble}")
    web, https, gunicorn, runserver = free_ports(4)
    common = {
        "COMPOSE_PROJECT_NAME": f"uploadstack-{kind}-{os.getpid()}",
        "HTTP_PORT": web,
        "HTTPS_PORT": https,
        "GUNICORN_PORT": gunicorn,
        "RUNSERVER_PORT": runserver,
        "UPLOAD_MAX": UPLOAD_MAX,
        "LOGIN_RATE": "100000r/s",  # all tests come from one address
        "HEALTH_INTERVAL": "2s",
    }
    pairs = [f"{name}={value}" for name, value in {**common, **settings}.items()]
    run(str(SCRIPTS / "env.sh"), "--output", str(folder / "env"), *pairs, env=clean_environment())
    with Stack(folder / "env", environment, root) as new:
        try:
            _up(new, folder / "up.log")
            yield new
        finally:
            new.compose("down", "--volumes", "--remove-orphans", "--timeout", "3")
            _drop_images(new.project)


def _drop_images(project: str) -> None:
    """Not what they were built from: without --no-prune the classic builder would have to build all of it again."""
    named = ("docker", "image", "ls", "--filter", f"reference={project}-*", "--format", "{{.Repository}}:{{.Tag}}")
    if images := run(*named).split():
        run("docker", "image", "rm", "--force", "--no-prune", *images)


def _up(stack: Stack, log: Path) -> None:
    with log.open("w") as output:
        status = subprocess.run(
            [stack.root / "scripts" / "up.sh"],
            stdout=output,
            stderr=output,
            env=stack.environment,
            cwd=stack.root,
            check=False,
        ).returncode
    if status != 0:
        sys.stderr.write(log.read_text()[-6000:])
        pytest.fail(f"the stack did not start; the end of {log} is above", pytrace=False)


def ready(stack: Stack) -> Stack:
    """Makes a token now: that takes seconds, which nginx does not give to a client that has connected."""
    assert len(stack.token) == 64
    return stack
