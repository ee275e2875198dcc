"""A stack to operate on: its containers are replaced, its data restored. SQLite, one container of web.

`scripts/test.sh` runs this folder by itself, when the stack of the others has ended.

    OPERATION_ENV_FILE=file pytest tests/stack/operation     use the stack that runs with these settings
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.stack import Stack
from tests.stack.starting import may_start_a_stack, provided

# With an option, as the scripts may meet it.
DATABASE_URL = "sqlite:////srv/data/db.sqlite3?timeout=20"


@pytest.hookimpl(trylast=True)  # when -k has taken its choice
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provided(tmp_path_factory, "operation", DATABASE_URL=DATABASE_URL) as running:
        yield running
