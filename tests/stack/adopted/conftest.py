"""A stack with another project instead of the sample, built and started as README.md says.

`scripts/test.sh` runs this folder in a process of its own, in parallel with other stacks.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.stack.adopted.adopting import SETTINGS_MODULE, adopt, copy_to, own_project
from tests.stack.stack import Stack, engine_trouble
from tests.stack.starting import may_start_a_stack, started_from

NAME, PASSWORD = "ada", "of ada, and long"
# As in the README, but without questions: the variables have the answers.
CREATE = ["env", f"DJANGO_SUPERUSER_PASSWORD={PASSWORD}", "python", "manage.py", "createsuperuser", "--noinput"]


@pytest.hookimpl(trylast=True)  # after -k has selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if trouble := engine_trouble():
        pytest.skip(f"no stack without an engine: {trouble}")
    home = tmp_path_factory.mktemp("home")
    own_project(home)
    copy = copy_to(tmp_path_factory.mktemp("copy"))
    adopt(copy, home)
    settings = {"UPLOAD_MAX": "100m", "DJANGO_SETTINGS_MODULE": SETTINGS_MODULE}
    with started_from(copy, tmp_path_factory.mktemp("adopted"), "adopted", **settings) as stack:
        stack.script("shell.sh", "web", *CREATE, f"--username={NAME}", "--email=ada@localhost")
        yield stack


def token_of(session: requests.Session) -> str:
    """The CSRF token for forms. The name of its cookie ends with the name of the stack."""
    (token,) = [cookie.value for cookie in session.cookies if cookie.name.startswith("csrftoken_")]
    assert token
    return token


@pytest.fixture(scope="session")
def staff(adopted: Stack) -> Iterator[requests.Session]:
    """A client that has logged in to the admin."""
    with requests.Session() as session:
        session.trust_env = False
        address = f"{adopted.url}/admin/login/"
        session.get(address, timeout=20)
        form = {"username": NAME, "password": PASSWORD, "csrfmiddlewaretoken": token_of(session)}
        answer = session.post(address, data=form, allow_redirects=False, timeout=20)
        assert answer.status_code == 302, answer.text
        yield session
