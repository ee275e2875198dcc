"""One stack for all tests of this folder: started before the first, deleted with its data after the last.

It has its own project name, ports, secrets and volumes, so a stack that is up beside it stays as it is; the images are
shared, being the same. Without an engine all of this folder is skipped.

    STACK_ENV_FILE=.env pytest tests/stack     use the stack that runs with these settings; nothing is started or ended
    STACK_SCREENSHOTS=folder                   keep what the browser saw
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.stack import pictures
from tests.stack.pictures import Picture
from tests.stack.stack import ROOT, SCRIPTS, Stack, clean_environment, engine_trouble, free_ports, run

FIRST_START = 1500  # seconds; with base images to pull or to build
UPLOAD_MAX = "16m"  # not the default, and small enough to exceed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    if ours:
        ours[0].add_marker(pytest.mark.timeout(FIRST_START))  # its fixtures start the stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if trouble := engine_trouble():
        pytest.skip(f"no stack without an engine: {trouble}")
    if given := os.environ.get("STACK_ENV_FILE"):
        with Stack(Path(given).resolve()) as running:
            yield ready(running)
        return
    folder = tmp_path_factory.mktemp("stack")
    with Stack(settings_file(folder / "env")) as new:
        try:
            start(new, folder / "up.log")
            yield ready(new)
        finally:
            new.compose("down", "--volumes", "--remove-orphans", "--timeout", "3")


def settings_file(path: Path) -> Path:
    web, https, gunicorn, runserver = free_ports(4)
    settings = {
        "COMPOSE_PROJECT_NAME": f"uploadstack-test-{os.getpid()}",
        "COMPOSE_PROFILES": "demo",
        "HTTP_PORT": web,
        "HTTPS_PORT": https,
        "GUNICORN_PORT": gunicorn,
        "RUNSERVER_PORT": runserver,
        "UPLOAD_MAX": UPLOAD_MAX,
        "LOGIN_RATE": "100r/s",  # all tests come from one address
        "HEALTH_INTERVAL": "2s",
    }
    pairs = [f"{name}={value}" for name, value in settings.items()]
    run(str(SCRIPTS / "env.sh"), "--output", str(path), *pairs, env=clean_environment())
    return path


def start(stack: Stack, log: Path) -> None:
    with log.open("w") as output:
        status = subprocess.run(
            [SCRIPTS / "up.sh"], stdout=output, stderr=output, env=stack.environment, cwd=ROOT, check=False
        ).returncode
    if status != 0:
        sys.stderr.write(log.read_text()[-6000:])
        pytest.fail(f"the stack did not start; the end of {log} is above", pytrace=False)


def ready(stack: Stack) -> Stack:
    """Makes a token now: that takes seconds, which nginx does not give to a client that has connected."""
    assert len(stack.token) == 64
    return stack


@pytest.fixture(scope="session")
def photo() -> Picture:
    return pictures.photo()


@pytest.fixture
def name() -> str:
    """A name for one upload."""
    return f"{uuid.uuid4().hex}.jpg"


@pytest.fixture(scope="session")
def anonymous() -> Iterator[requests.Session]:
    """A client that no proxy of this machine's environment gets in the way of."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[requests.Session]:
    """The same, with the sample user's token."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Token {stack.token}"
        yield session
