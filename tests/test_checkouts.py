"""Checkouts on other machines: line ends of Windows, a strict umask, a blank in the path."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def git(*arguments: str, cwd: Path) -> str:
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the current files, committed."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("no git, or no checkout of it")
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    copy = tmp_path_factory.mktemp("repository")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    git("init", "--quiet", cwd=copy)
    git("add", "--all", "--force", cwd=copy)
    git("commit", "--quiet", "--message=all", cwd=copy)
    return copy


def test_a_checkout_with_autocrlf_has_the_same_bytes(repository: Path, tmp_path: Path) -> None:
    """Git for Windows sets autocrlf by default; a shell in a container cannot read CRLF."""
    git("clone", "--quiet", "--config", "core.autocrlf=true", str(repository), str(tmp_path / "windows"), cwd=tmp_path)
    differing = [
        name
        for name in git("ls-files", "-z", cwd=repository).split("\0")
        if name and (tmp_path / "windows" / name).read_bytes() != (repository / name).read_bytes()
    ]
    assert differing == []


# Names of folders that users have.
FOLDERS = ["with a blank", "it's", "ümlaut", "two  blanks and (more)", "a&b;c", "$HOME"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_scripts_work_in_a_folder_with_special_characters(tmp_path: Path, folder: str) -> None:
    copy = tmp_path / folder
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    shutil.copytree(ROOT / "nginx", copy / "nginx")
    shutil.copy2(ROOT / ".env.example", copy)
    environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nowhere"}
    subprocess.run([copy / "scripts" / "env.sh"], env=environment, check=True, capture_output=True)
    assert "SECRET_KEY=" in (copy / ".env").read_text()
    program = f"source {shlex.quote(str(copy))}/scripts/lib.sh; setting HTTP_PORT"
    done = subprocess.run(["bash", "-euc", program], env=environment, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("8080\n", "")
    doctor = subprocess.run(
        [copy / "scripts" / "doctor.sh"], env=environment, check=False, capture_output=True, text=True
    )
    assert "ok       settings: valid, and consistent with each other\n" in doctor.stdout, doctor.stderr
