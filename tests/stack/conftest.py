"""One stack for all tests of this folder: started before the first, deleted with its data after the last.

It has its own project name, ports, secrets and volumes, so a stack that is up beside it stays as it is; the images are
shared, being the same. Without an engine all of this folder is skipped.

    STACK_ENV_FILE=.env pytest tests/stack     use the stack that runs with these settings; nothing is started or ended
    STACK_SCREENSHOTS=folder                   keep what the browser saw
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser

from tests.stack import pictures
from tests.stack.browsing import chromium
from tests.stack.echo import Backends, Edge
from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.starting import may_start_a_stack, provided


@pytest.hookimpl(trylast=True)  # when -k has taken its choice
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provided(tmp_path_factory, "stack", COMPOSE_PROFILES="demo") as running:
        yield running


@pytest.fixture(scope="session")
def backends(stack: Stack) -> Iterator[Backends]:
    """An application that says what it got, on both servers."""
    with Backends(stack) as running:
        yield running


@pytest.fixture(scope="session")
def edge(backends: Backends) -> Iterator[Edge]:
    """The real nginx in front of it, with the settings of .env.example but for these."""
    settings = {"ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],.example.com", "UPLOAD_MAX": "1m"}
    with Edge(backends, settings) as running:
        yield running


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running
