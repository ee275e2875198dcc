"""A stack as in production: PostgreSQL, several containers of web, TLS; no demo.

`scripts/test.sh` runs this folder in a process of its own, in parallel with other stacks.

    PRODUCTION_ENV_FILE=file pytest tests/stack/production     use the running stack with these settings
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.stack import Stack
from tests.stack.starting import may_start_a_stack, provided

SETTINGS = {
    "COMPOSE_PROFILES": "postgres",
    "DATABASE_URL": "postgres://uploads:${POSTGRES_PASSWORD}@db:5432/uploads",  # as in .env.example
    "WEB_REPLICAS": "3",
    "TLS": "on",
}


@pytest.hookimpl(trylast=True)  # after -k has selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provided(tmp_path_factory, "production", **SETTINGS) as running:
        yield running
