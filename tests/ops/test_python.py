"""Without Python, or with a version that is too old, every script first prints one line about it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NEEDED = ("bash", "dirname", "basename", "env", "sh")
OURS = sorted(path.name for path in SCRIPTS.glob("*.sh") if path.name not in {"lib.sh", "python.sh"})
# A python3 that reports version 3.8 to its programs.
OLD = """#!/bin/sh
for file; do case $file in *.py) break ;; esac; done
exec {python} -c 'import sys; sys.version_info = (3, 8, 10); exec(open(sys.argv[1]).read())' "$file"
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """The only folder in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def run(script: str, tools: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(tools), "ENV_FILE": str(tools / "none")}
    command = [str(SCRIPTS / script), "app"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", OURS)
def test_a_script_without_python_prints_one_error_line(tools: Path, script: str) -> None:
    done = run(script, tools)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: python3 is not installed; this command needs Python 3.9 or newer")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", OURS)
def test_a_script_with_an_old_python_prints_one_error_line(tools: Path, script: str) -> None:
    (tools / "python3").write_text(OLD.format(python=sys.executable))
    (tools / "python3").chmod(0o755)
    done = run(script, tools)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: python3 is Python 3.8; this command needs Python 3.9 or newer\n"


@pytest.mark.parametrize("python", ["python3.9", "python3.10", "python3.14"])
def test_every_module_can_be_imported_by_each_installed_python(python: str) -> None:
    found = shutil.which(python)
    if not found or subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"no {python} on this machine")
    files = [path for folder in ("ops", "standin") for path in (SCRIPTS / folder).glob("[!_]*.py")]
    names = sorted(f"scripts.{path.parent.name}.{path.stem}" for path in files)
    program = f"import sys; sys.path.append({str(SCRIPTS.parent)!r}); import importlib; " + "; ".join(
        f"importlib.import_module({name!r})" for name in names
    )
    done = subprocess.run([found, "-I", "-S", "-B", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scripts_run_with_only_python_and_bash(tools: Path) -> None:
    """Settings are read, and a script that needs an engine reports that there is none."""
    (tools / "python3").symlink_to(sys.executable)
    done = run("ps.sh", tools)
    assert done.stderr.startswith("error: Docker is not installed"), done.stderr
