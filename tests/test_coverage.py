"""The tests of the parsing code cover every branch both ways, in the process of the tests.

`python tests/test_coverage.py` (make coverage) prints the table.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Modules that must be covered -> the tests that must cover them.
COVERED = {
    "http1/*": "http1",
    "buffers/spool": "buffers/test_spool.py",
    "wsgi/*": "wsgi",
    "serving/receiver": "serving/test_receiver.py",
}


def measured(folder: Path) -> tuple[int, str]:
    """Return the exit code of coverage's report, 0 if nothing is missing, and the output of it or of the tests."""
    tests = sorted({f"tests/server/{test}" for test in COVERED.values()})
    modules = ",".join(f"wsgiserver/{module}{'' if '*' in module else '.py'}" for module in COVERED)
    coverage = [sys.executable, "-m", "coverage"]
    pytest_run = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    # The tracer in C for every Python: the faster one of 3.14 has only recently supported branches.
    environment = os.environ | {"COVERAGE_FILE": str(folder / "data"), "COVERAGE_CORE": "ctrace"}
    ran = run([*coverage, "run", "--branch", "--source=wsgiserver", *pytest_run], environment)
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
