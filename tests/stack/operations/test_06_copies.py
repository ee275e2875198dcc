"""Two copies of this folder on one machine: neither changes the stack of the other, even with equal settings."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.ops import ownership
from scripts.ops import settings as settings_
from scripts.ops.settings import Settings
from tests.stack.stack import COMPOSE, ROOT, SCRIPTS, Stack, run


def test_images_are_named_after_the_stack(stack: Stack) -> None:
    images = {service: container["Config"]["Image"] for service, container in stack.containers().items()}
    assert images["web"].startswith(f"{stack.project}-runtime:")
    assert images["nginx"].startswith(f"{stack.project}-nginx:")


@pytest.fixture
def other_copy(stack: Stack, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of a stack that another copy has made. It has one container, which does not run."""
    project, folder = f"uploadstack-copy-{uuid.uuid4().hex[:8]}", tmp_path / "another copy"
    folder.mkdir()
    (folder / "compose.yaml").touch()
    labels = {"project": project, "project.working_dir": folder, "oneoff": "False", "service": "web"}
    options = [f"--label={COMPOSE}.{key}={value}" for key, value in labels.items()]
    container = run("docker", "create", *options, stack.container("web")["Image"], "true").strip()
    yield project, folder
    run("docker", "rm", "--force", container)


def attempt(stack: Stack, script: str, project: str) -> subprocess.CompletedProcess[str]:
    environment = {**stack.environment, "COMPOSE_PROJECT_NAME": project, "YES": "1"}
    command = [str(SCRIPTS / script), "no.tar"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("script", ["up.sh", "down.sh", "deploy.sh", "backup.sh", "restore.sh", "clean.sh"])
def test_every_script_refuses_the_stack_of_another_folder(
    stack: Stack, other_copy: tuple[str, Path], script: str
) -> None:
    project, folder = other_copy
    refused = attempt(stack, script, project)
    assert refused.returncode == 1, refused.stderr
    assert f"belongs to the folder {folder}" in refused.stderr
    assert "set COMPOSE_PROJECT_NAME" in refused.stderr
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"label={COMPOSE}.project={project}").strip()


# --- photos outlive containers ----------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Path]:
    """The settings file of a stack that has no containers, but a volume with photos."""
    project, env_file = f"uploadstack-copy-{uuid.uuid4().hex[:8]}", tmp_path / ".env"
    lines = [f"COMPOSE_PROJECT_NAME={project}", "HTTP_PORT=24080", "HTTPS_PORT=24443", "GUNICORN_PORT=24081"]
    run(str(SCRIPTS / "env.sh"), "--output", str(env_file), *lines)
    volume(project, "media")
    yield env_file
    left = run("docker", "volume", "ls", "--quiet", "--filter", f"label={COMPOSE}.project={project}").split()
    if left:
        run("docker", "volume", "rm", *left)
    for note in (ROOT / "var").glob(f"{project}*"):
        note.unlink()


def project_of(env_file: Path) -> str:
    return env_file.read_text().partition("\nCOMPOSE_PROJECT_NAME=")[2].partition("\n")[0]


def volume(project: str, name: str, *labels: str) -> None:
    known = [f"{COMPOSE}.project={project}", f"{COMPOSE}.volume={name}", *labels]
    run("docker", "volume", "create", *(f"--label={label}" for label in known), f"{project}_{name}")


def belongs_to(env_file: Path, folder: Path) -> None:
    (folder / "compose.yaml").parent.mkdir(exist_ok=True)
    (folder / "compose.yaml").touch()
    volume(project_of(env_file), "folder", f"uploadstack.folder={folder}")


def script(env_file: Path, *command: str, yes: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ENV_FILE": str(env_file), "YES": yes}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
    )


def read(env_file: Path, yes: str = "") -> Settings:
    return settings_.read(ROOT, {**os.environ, "ENV_FILE": str(env_file), "YES": yes})


def has_photos(env_file: Path) -> bool:
    name = f"{project_of(env_file)}_media"
    return run("docker", "volume", "ls", "--quiet", "--filter", f"name=^{name}$").strip() == name


def test_clean_refuses_to_delete_the_photos_of_a_stopped_other_copy(settings: Path, tmp_path: Path) -> None:
    belongs_to(settings, tmp_path / "another copy")
    refused = script(settings, str(SCRIPTS / "clean.sh"), yes="1")
    assert (refused.returncode, has_photos(settings)) == (1, True), refused.stderr
    assert f"belong to the folder {tmp_path / 'another copy'}, another copy" in refused.stderr


def test_up_takes_over_the_photos_of_another_copy_only_with_confirmation(settings: Path, tmp_path: Path) -> None:
    belongs_to(settings, tmp_path / "another copy")
    refused = script(settings, str(SCRIPTS / "up.sh"))
    assert refused.returncode == 1, refused.stderr
    assert f"belong to the folder {tmp_path / 'another copy'}, another copy" in refused.stderr
    assert "YES=1" in refused.stderr
    agreed = read(settings, yes="1")
    ownership.take_over_volumes(agreed)
    ownership.note_folder(agreed)
    assert (ownership.owner_of_volumes(agreed), ownership.noted_folder(agreed)) == ("", str(ROOT))


def test_a_moved_folder_keeps_its_photos(settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    belongs_to(settings, tmp_path / "before")
    (tmp_path / "before" / "compose.yaml").unlink()
    ownership.take_over_volumes(read(settings))
    assert (ownership.owner_of_volumes(read(settings)), capsys.readouterr().err) == ("", "")


def test_photos_of_an_unknown_owner_are_taken_over_with_a_notice(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ownership.take_over_volumes(read(settings))
    assert "takes over their photos and rows" in capsys.readouterr().err
    refused = script(settings, str(SCRIPTS / "clean.sh"))
    assert (refused.returncode, has_photos(settings)) == (1, True)
    assert "This folder did not make the volumes" in refused.stderr


def test_photos_of_an_earlier_version_belong_to_this_folder(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (ROOT / "var").mkdir(exist_ok=True)
    (ROOT / "var" / f"{project_of(settings)}.database").write_text("sqlite:////srv/data/db.sqlite3\n")
    ownership.take_over_volumes(read(settings))
    assert capsys.readouterr().err == ""


def test_deleting_the_volumes_deletes_the_note_of_their_owner(settings: Path) -> None:
    ownership.note_folder(read(settings))
    assert ownership.noted_folder(read(settings)) == str(ROOT)
    deleted = script(settings, str(SCRIPTS / "compose.sh"), "down", "--volumes")
    assert deleted.returncode == 0, deleted.stderr
    named = ["docker", "volume", "ls", "--quiet", "--filter", f"name={project_of(settings)}"]
    assert run(*named) == ""


def test_a_moved_folder_keeps_its_stack(stack: Stack, other_copy: tuple[str, Path]) -> None:
    """The folder in which the containers were made is no copy any more."""
    project, folder = other_copy
    (folder / "compose.yaml").unlink()
    assert attempt(stack, "down.sh", project).returncode == 0


def test_doctor_reports_a_stack_of_another_copy(stack: Stack, other_copy: tuple[str, Path]) -> None:
    """And checks nothing else: the containers are those of the other copy."""
    project, folder = other_copy
    output = attempt(stack, "doctor.sh", project).stdout
    assert f"PROBLEM  the stack {project} belongs to the folder {folder}, another copy of this one\n" in output
    assert "-> set COMPOSE_PROJECT_NAME" in output
    assert "containers:" not in output
