"""The lock that lets one script at a time change a stack (scripts/ops/lock.py): real processes, no engine."""

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Takes the lock, prints a line, and holds the lock until its stdin ends.
HOLD = """
import sys
from . import lock, settings
def main(_):
    lock.hold(settings.here(), 0, "hold.py")
    print("held", flush=True)
    sys.stdin.read()
"""


def copy_to(root: Path) -> None:
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / ".env.example", root)
    (root / "scripts" / "ops" / "hold.py").write_text(HOLD)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    copy_to(tmp_path)
    return tmp_path


def holder(root: Path, umask: str = "0") -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", 'umask "$0"; exec "$@"', umask, "scripts/python.sh", "hold"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COMPOSE_PROJECT_NAME": "tested"},
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return str(process.stdout.readline())


@pytest.mark.parametrize("umask", ["0", "022", "077"])
@pytest.mark.parametrize("before", [None, 0o666, 0o644])
def test_a_lock_is_not_world_writable(copy: Path, umask: str, before: int | None) -> None:
    """An older version left a world-writable lock."""
    lock = copy / "var" / "tested.lock"
    if before is not None:
        lock.parent.mkdir()
        lock.touch()
        lock.chmod(before)
    with holder(copy, umask) as process:
        assert line_of(process) == "held\n"
        process.communicate("")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o644


def test_the_error_about_a_held_lock_names_its_holder(copy: Path) -> None:
    with holder(copy) as first:
        assert line_of(first) == "held\n"
        with holder(copy) as second:
            out, complaint = second.communicate("")
        assert (second.returncode, out) == (1, "")
        assert f"(process {first.pid}) is working on this stack" in complaint
        first.communicate("")
    with holder(copy) as third:
        assert line_of(third) == "held\n"
        third.communicate("")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_root_and_the_owner_of_the_folder_share_one_lock() -> None:
    """Root makes nightly backups, the owner deploys. The lock belongs to the owner, even if root created it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder)
        copy_to(root)
        os.chown(root, 12345, 12345)
        root.chmod(0o755)
        with holder(root) as first:
            assert line_of(first) == "held\n"
            lock = root / "var" / "tested.lock"
            assert (lock.stat().st_uid, lock.parent.stat().st_uid) == (12345, 12345)
            command = ["flock", "--nonblock", str(lock), "true"]
            as_owner = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *command]
            assert subprocess.run(as_owner, check=False).returncode == 1
            first.communicate("")
        assert subprocess.run(as_owner, check=False).returncode == 0
        assert not list((root / "scripts").rglob("__pycache__")), "root left files that only root can delete"
