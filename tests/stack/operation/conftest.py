"""A stack to operate on: its containers are replaced, its data restored. SQLite, one container of web.

`scripts/test.sh` runs this folder in a process of its own, in parallel with other stacks.

    OPERATION_ENV_FILE=file pytest tests/stack/operation     use the running stack with these settings
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.operating import Source
from tests.stack.stack import ROOT, Stack, run
from tests.stack.starting import may_start_a_stack, overlaid, provided

# With an option, as the scripts may meet it.
DATABASE_URL = "sqlite:////srv/data/db.sqlite3?timeout=20"


@pytest.hookimpl(trylast=True)  # after -k has selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """What is built without an overlay. (1.29 makes other containers out of two files, whatever is in the second.)"""
    first = Source(tmp_path_factory.mktemp("source") / "overlay.yaml")
    first.choose(ROOT)
    return first


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, source: Source) -> Iterator[Stack]:
    with provided(tmp_path_factory, "operation", overlaid(source.overlay), DATABASE_URL=DATABASE_URL) as running:
        yield running
        source.choose(ROOT)
        running.compose("build", "web")  # gives the name back to what this folder makes
    for image in source.built:
        run("docker", "image", "rm", image)
