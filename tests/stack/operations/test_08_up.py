"""make up on a running stack, without and with changes, and make ps."""

import re
import subprocess

import pytest

from tests.stack.operating import PATIENCE, attempt, ids, upload
from tests.stack.pictures import Picture
from tests.stack.stack import Stack, run
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(PATIENCE)


def services(stack: Stack) -> set[str]:
    return set(stack.containers())


def test_make_up_without_changes_starts_nothing_and_prints_few_lines(stack: Stack) -> None:
    stack.script("up.sh", YES="1")
    before = {service: stack.container(service)["State"]["StartedAt"] for service in services(stack)}
    again = attempt(stack, "up.sh")
    assert (again.returncode, "nothing has changed" in again.stderr) == (0, True), again.stderr
    assert {service: stack.container(service)["State"]["StartedAt"] for service in services(stack)} == before
    assert len(again.stderr.splitlines()) < 12, again.stderr
    assert not re.search("(?i)deprecated|Step [0-9]", again.stderr)


@pytest.mark.parametrize("service", ["web", "gunicorn", "nginx"])
def test_make_up_starts_a_stopped_container(stack: Stack, photo: Picture, name: str, service: str) -> None:
    """An exit with 0 counts as done only for services that run once."""
    container = stack.container(service)["Id"]
    run("docker", "stop", container)
    assert re.search(rf"{service} +stopped ", stack.script("ps.sh"))
    stack.script("up.sh")
    stack.forget()
    assert stack.container(service)["State"]["Health"]["Status"] == "healthy"
    upload(stack, name, photo)


# Setting -> a value that only the program can refuse, and the message.
BROKEN = {
    "DATABASE_URL": ("mysql://db/uploads", "the new application cannot be loaded"),
    "UPLOAD_MAX": ("100mb", "UPLOAD_MAX: '100mb' is not a size"),
    "WEB_WORKERS": ("two", "WEB_WORKERS: 'two' is not a number"),
}


@pytest.mark.parametrize("setting", BROKEN)
def test_make_up_with_a_broken_setting_leaves_the_site_running(
    stack: Stack, photo: Picture, name: str, setting: str
) -> None:
    value, complaint = BROKEN[setting]
    before = ids(stack)
    refused = attempt(stack, "up.sh", **{"YES": "1", setting: value})
    assert (refused.returncode, complaint in refused.stderr) == (1, True), refused.stderr
    assert not re.search(r"(?m)^[0-9]+$", refused.stderr), "a line is a number without explanation"
    assert ids(stack) == before
    upload(stack, name, photo)


@pytest.mark.parametrize("script", ["up.sh", "deploy.sh"])
def test_another_database_is_refused_without_confirmation(stack: Stack, script: str) -> None:
    before = ids(stack)
    refused = attempt(stack, script, DATABASE_URL="sqlite:////srv/data/another.sqlite3")
    assert (refused.returncode, "names another database" in refused.stderr) == (1, True), refused.stderr
    assert ids(stack) == before


@pytest.mark.parametrize("script", ["up.sh", "deploy.sh"])
def test_removing_a_profile_removes_its_service_but_not_its_volume(stack: Stack, script: str) -> None:
    stack.script("up.sh", YES="1", COMPOSE_PROFILES="postgres")
    assert "db" in services(stack)
    try:
        done = attempt(stack, script)
        assert (done.returncode, "db: stopping it, because COMPOSE_PROFILES" in done.stderr) == (0, True), done.stderr
        assert "db" not in services(stack)
        assert run("docker", "volume", "inspect", f"{stack.project}_postgres")
    finally:
        stack.compose("rm", "--stop", "--force", "-v", "db", COMPOSE_PROFILES="postgres")
        run("docker", "volume", "rm", f"{stack.project}_postgres")


def test_make_ps_shows_a_restarting_container_with_its_last_output(stack: Stack) -> None:
    """A container that Compose could have made, so that no service has to break."""
    labels = [f"--label=com.docker.compose.{key}" for key in (f"project={stack.project}", "service=x", "oneoff=False")]
    command = ["sh", "-c", "echo the disk is full; sleep 1; exit 1"]
    image = stack.container("web")["Image"]
    options = ["--restart=always", "--health-cmd=false", "--health-interval=1h", "--network=none", "--entrypoint="]
    container = run("docker", "run", "--detach", *labels, *options, image, *command).strip()
    try:
        row = r"x +restarting +restarted [1-9]\d* times.*\n +last log line: the disk is full\n"
        poll(lambda: re.search(row, stack.script("ps.sh")), "ps.sh shows that it restarts", 60)
        assert re.search(r"web +healthy +up ", stack.script("ps.sh"))
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)
