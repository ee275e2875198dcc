"""Fixtures of the connection tests."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server.serving.link import Link


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    link.close()


@pytest.fixture
def events(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """Return the events that the server logged since the last call."""
    return lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
