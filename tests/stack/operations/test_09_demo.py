"""make demo: who loses a photo that is sent in chunks."""

import json

import pytest

from tests.stack.operating import PATIENCE, attempt
from tests.stack.stack import Stack, run
from tests.stack.wire import Request, exchange

pytestmark = pytest.mark.timeout(PATIENCE)

# Server -> whether a plain view stores the whole photo, and what the sample's view answers.
EXPECTED = {
    "nginx, then wsgiserver": ("same SHA-256", "201 Created"),
    "nginx, then gunicorn": ("same SHA-256", "201 Created"),
    "nginx without its buffer, then wsgiserver": ("same SHA-256", "201 Created"),
    "nginx without its buffer, then gunicorn": ("LOST", "400 Bad Request empty-body"),
    "wsgiserver alone": ("same SHA-256", "201 Created"),
    "gunicorn alone": ("LOST", "400 Bad Request empty-body"),
    "Django's runserver": ("LOST", "400 Bad Request empty-body"),
}


def test_the_demo_shows_who_loses_a_photo_that_is_sent_in_chunks(stack: Stack) -> None:
    """Afterwards there is nothing left of it: no photo, no token, no runserver."""
    before = stack.state(), tokens(stack)
    shown = attempt(stack, "demo.sh")
    assert shown.returncode == 0, shown.stderr
    rows = [line.strip() for line in shown.stdout.splitlines() if "200 OK" in line]
    found = {name: row for name in EXPECTED for row in rows if row.startswith(name + "  ")}
    assert list(found) == list(EXPECTED), shown.stdout
    for name, (stored, answered) in EXPECTED.items():
        assert stored in found[name]
        assert found[name].endswith(answered)
    assert (stack.state(), tokens(stack)) == before
    services = run("docker", "ps", "--all", "--format", "{{.Names}}", f"--filter=name={stack.project}")
    assert "runserver" not in services


def tokens(stack: Stack) -> set[str]:
    with stack.nginx("web") as wire:
        answer = exchange(wire, Request("GET", "/api/tokens", {}), stack.token)
    return {token["key"] for token in json.loads(answer.body)}


def test_the_demo_without_a_running_stack_asks_for_make_up(stack: Stack) -> None:
    refused = attempt(stack, "demo.sh", COMPOSE_PROJECT_NAME="uploadstack-none")
    assert (refused.returncode, "make up" in refused.stderr) == (1, True)


def test_the_demo_of_another_project_says_that_it_needs_the_sample(stack: Stack) -> None:
    refused = attempt(stack, "demo.sh", DJANGO_SETTINGS_MODULE="mysite.settings")
    assert (refused.returncode, "sample project" in refused.stderr) == (1, True)
