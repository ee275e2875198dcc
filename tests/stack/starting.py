"""Stacks that tests start, with settings, ports, secrets and volumes of their own, and delete with their data.

Other running stacks stay untouched. The images have names of their own too, and are deleted with the stack; the build
cache stays, so the next build takes seconds.
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

FIRST_START = 1500  # seconds; base images may have to be pulled or built
UPLOAD_MAX = "52m"  # not the default; above the largest of test_10_matrix.py, and small enough to exceed


def may_start_a_stack(items: list[pytest.Item], folder: Path) -> None:
    """Give the first test of the folder time for its fixtures."""
    own = [item for item in items if item.path.parent == folder]
    if own:
        own[0].add_marker(pytest.mark.timeout(FIRST_START))


def overlaid(*overlays: Path) -> dict[str, str]:
    """The variable that makes Compose read these files over compose.yaml."""
    return {"COMPOSE_FILE": os.pathsep.join(map(str, [ROOT / "compose.yaml", *overlays]))}


@contextmanager
def provided(
    factory: pytest.TempPathFactory,
    kind: str,
    environment: Mapping[str, str] = MappingProxyType({}),
    /,
    **settings: str,
) -> Iterator[Stack]:
    """The running stack of the settings file in KIND_ENV_FILE, or a new one."""
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
    """A new stack; skips the test if there is no engine. `kind` is part of its name; its scripts get `environment`."""
    with started_from(ROOT, folder, kind, environment, **settings) as new:
        yield ready(new)


@contextmanager
def started_from(
    root: Path, folder: Path, kind: str, environment: Mapping[str, str] = MappingProxyType({}), /, **settings: str
) -> Iterator[Stack]:
    """The same for a copy of this project, whose app/ may have no tokens."""
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
    """Delete the images of the stack. Without --no-prune, the classic builder would lose its cache."""
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
    """Make the token now: that takes seconds, and nginx would close a connection meanwhile."""
    assert len(stack.token) == 64
    return stack
