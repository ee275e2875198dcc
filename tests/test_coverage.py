"""All of what decides about bytes is covered, each branch both ways, by tests that run it in their own process.

`python tests/test_coverage.py` (make coverage) prints the table.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What has to be covered -> the tests that have to do it.
COVERED = {
    "http1/*": "http1",
    "buffers/spool": "buffers/test_spool.py",
    "wsgi/*": "wsgi",
    "serving/receiver": "serving/test_receiver.py",
}


def measured(folder: Path) -> tuple[int, str]:
    """Return the exit code of coverage's report, 0 where nothing is missing, and what it or the tests said."""
    tests = sorted({f"tests/server/{test}" for test in COVERED.values()})
    modules = ",".join(f"wsgiserver/{module}{'' if '*' in module else '.py'}" for module in COVERED)
    coverage = [sys.executable, "-m", "coverage"]
    these = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    # The tracer in C, on every Python: the one that is faster since 3.14 is new to branches.
    environment = os.environ | {"COVERAGE_FILE": str(folder / "data"), "COVERAGE_CORE": "ctrace"}
    ran = run([*coverage, "run", "--branch", "--source=wsgiserver", *these], environment)
    if ran[0]:
        return ran
    return run([*coverage, "report", f"--include={modules}", "--show-missing", "--fail-under=100"], environment)


def run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)  # seconds: many tests in one
def test_every_branch_of_the_parsing_code_is_covered(tmp_path: Path) -> None:
    code, report = measured(tmp_path)
    assert code == 0, report


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        code, report = measured(Path(folder))
    sys.stdout.write(report)
    sys.exit(code)
