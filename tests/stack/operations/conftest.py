"""A stack whose containers are replaced and whose data are restored. SQLite, one container of web.

`scripts/test.sh` runs this folder in a process of its own, in parallel with other stacks.

    OPERATIONS_ENV_FILE=file pytest tests/stack/operations     use the running stack with these settings
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.operating import Source
from tests.stack.stack import ROOT, Stack, run
from tests.stack.starting import may_start_a_stack, overlaid, provided

# With an option, which the scripts have to handle.
DATABASE_URL = "sqlite:////srv/data/db.sqlite3?timeout=20"


@pytest.hookimpl(trylast=True)  # after -k has selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The same build as without an overlay. (Compose 1.29 recreates containers if the number of files changes.)"""
    first = Source(tmp_path_factory.mktemp("source") / "overlay.yaml")
    first.choose(ROOT)
    return first


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, source: Source) -> Iterator[Stack]:
    with provided(tmp_path_factory, "operations", overlaid(source.overlay), DATABASE_URL=DATABASE_URL) as running:
        yield running
        source.choose(ROOT)
        running.compose("build", "web")  # the image name stands for the build of this folder again
    for image in source.built:
        run("docker", "image", "rm", image)
