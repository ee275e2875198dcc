"""make deploy: a valid version takes over without a lost request, an invalid one changes nothing."""

import re
import shutil
import socket
import uuid
from pathlib import Path

import pytest

from tests.stack.operating import PATIENCE, Source, attempt, check_deploy, ids, upload
from tests.stack.pictures import Picture
from tests.stack.stack import ROOT, Stack, run
from tests.stack.starting import overlaid
from tests.stack.wire import Request, exchange

pytestmark = pytest.mark.timeout(PATIENCE)

# The files that the Dockerfile copies into this image.
BUILT_OF = ["Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"]
BUILT_OF += ["requirements", "wsgiserver", "uploadstack", "app", "nginx"]


def test_a_deploy_without_changes_replaces_nothing(stack: Stack) -> None:
    """The first test, because others change the stack."""
    before = ids(stack)
    deploy = attempt(stack, "deploy.sh")
    assert (deploy.returncode, "nothing has changed" in deploy.stderr) == (0, True), deploy.stderr
    assert ids(stack) == before


MARK = "a new version of the page"


@pytest.fixture(scope="module")
def new_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose pages have a MARK."""
    copy = tmp_path_factory.mktemp("new")
    for name in BUILT_OF:
        source, target = ROOT / name, copy / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    page = copy / "app" / "photos" / "templates" / "photos" / "base.html"
    page.write_text(page.read_text().replace("</body>", f"<!-- {MARK} --></body>"))
    return copy


def test_a_deploy_of_a_new_version_loses_no_request(stack: Stack, source: Source, new_version: Path) -> None:
    """For gunicorn, only the image behind the same image name has changed."""
    assert MARK not in page_of(stack)
    source.choose(new_version)
    check_deploy(stack)
    source.built.append(stack.container("web")["Image"])
    assert MARK in page_of(stack)


def page_of(stack: Stack) -> str:
    with stack.nginx("web") as wire:
        return exchange(wire, Request("GET", "/", {"Accept": "text/html"}), None).body.decode()


def test_a_deploy_with_a_port_in_use_changes_nothing(stack: Stack) -> None:
    before = ids(stack)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        deploy = attempt(stack, "deploy.sh", HTTP_PORT=str(port))
    assert (deploy.returncode, f"port {port} is taken" in deploy.stderr) == (1, True), deploy.stderr
    assert ids(stack) == before


# Setting -> an invalid value, the message, and the reason from the logs.
BROKEN = {
    "SECRET_KEY": ("short", "nothing was changed", "SECRET_KEY has fewer than 32 characters"),
    "DEMO_PASSWORD": ("change-me", "nothing was changed", "DEMO_PASSWORD is still the placeholder"),
    "DATABASE_URL": ("mysql://db/uploads", "the new application cannot be loaded", "MySQLdb"),
    "LOGIN_RATE": ("none", "nothing was changed", "LOGIN_RATE: 'none' is not a rate"),
}


@pytest.mark.parametrize("setting", BROKEN)
def test_a_deploy_with_a_broken_setting_changes_nothing(stack: Stack, photo: Picture, name: str, setting: str) -> None:
    value, complaint, reason = BROKEN[setting]
    before = ids(stack)
    deploy = attempt(stack, "deploy.sh", **{"YES": "1", "WEB_THREADS": "3", setting: value})
    assert deploy.returncode == 1
    assert complaint in deploy.stderr
    assert reason in deploy.stderr
    assert ids(stack) == before
    upload(stack, name, photo)


def check_new_web_stays_unhealthy(stack: Stack, folder: Path, web: str, reason: str, **settings: str) -> None:
    """A deploy with this definition of web in an overlay of compose.yaml fails and changes nothing."""
    overlay = folder / "overlay.yaml"
    overlay.write_text(f"services: {{web: {web}}}")
    before = ids(stack)
    deploy = attempt(stack, "deploy.sh", **settings, **overlaid(overlay))
    assert deploy.returncode == 1
    assert "the new web did not become healthy" in deploy.stderr, deploy.stderr
    assert reason in deploy.stderr
    assert ids(stack) == before


def test_a_deploy_whose_web_cannot_be_created_keeps_the_old_one(
    stack: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    taken = stack.container("nginx")["Name"].lstrip("/")
    check_new_web_stays_unhealthy(stack, tmp_path, f"{{container_name: {taken}}}", "could not start another container")
    upload(stack, name, photo)


def test_a_deploy_whose_web_exits_keeps_the_old_one(stack: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    """The old one keeps its database, although the new one had another, which the deploy migrated."""
    (password,) = re.findall(r"(?m)^POSTGRES_PASSWORD=(.+)$", Path(stack.environment["ENV_FILE"]).read_text())
    settings = {
        "YES": "1",
        "COMPOSE_PROFILES": "postgres",
        "DATABASE_URL": f"postgres://uploads:{password}@db:5432/uploads",
    }
    ends = """{command: ["sh", "-c", "echo not today; [ $$WSGISERVER_CHECK_CONFIG ]"]}"""
    try:
        check_new_web_stays_unhealthy(stack, tmp_path, ends, "not today", **settings)
        rows = "SELECT count(*) FROM photos_photo"
        assert stack.exec("db", "psql", "-U", "uploads", "-tAc", rows, "uploads").strip() == "0"
    finally:
        stack.compose("rm", "--stop", "--force", "-v", "db", COMPOSE_PROFILES="postgres")
        run("docker", "volume", "rm", f"{stack.project}_postgres")
    upload(stack, name, photo)


def test_a_deploy_can_switch_tls_on_and_off(stack: Stack) -> None:
    """The last to be replaced is nginx: it has to find the new web while it has the old setting."""
    for tls, replicas in (("on", "2"), ("off", "1")):
        deploy = attempt(stack, "deploy.sh", TLS=tls, WEB_REPLICAS=replicas)
        assert deploy.returncode == 0, deploy.stderr


@pytest.mark.parametrize("script", ["deploy.sh", "backup.sh"])
def test_deploy_and_backup_without_a_running_stack_ask_for_make_up(stack: Stack, script: str) -> None:
    refused = attempt(stack, script, COMPOSE_PROJECT_NAME=f"uploadstack-none-{uuid.uuid4().hex}")
    assert (refused.returncode, "make up" in refused.stderr) == (1, True)
