"""A stack with small spools, a small disk for photos, and short limits for the database and for leftover files.

`scripts/test.sh` runs this folder in a process of its own, in parallel with other stacks.

    LOW_RESOURCES_ENV_FILE=file pytest tests/stack/low_resources     use the running stack with these settings
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import pictures
from tests.stack.faults import PHOTO
from tests.stack.pictures import MEGABYTE, Picture
from tests.stack.stack import Stack
from tests.stack.starting import may_start_a_stack, overlaid, provided

VOLUMES = Path(__file__).with_name("volumes.yaml")
SETTINGS = {
    "UPLOAD_MAX": "16m",
    "DATABASE_URL": "sqlite:////srv/data/db.sqlite3?timeout=1",  # seconds that it waits for another writer
    "SWEEP_AGE": "5",
    "SWEEP_INTERVAL": "5",
}


@pytest.hookimpl(trylast=True)  # after -k has selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def small_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provided(tmp_path_factory, "low_resources", overlaid(VOLUMES), **SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
def large() -> Picture:
    """Just below the limit: an empty spool has room for one and a half."""
    return pictures.padded(PHOTO, 15 * MEGABYTE)
