"""Runs other programs: for their output, for success or failure, or silently. They inherit the lock of the stack."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TAIL = 40  # lines of output that are shown of a program that failed


def attempt(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end. The exit code is 127 if the program is not installed, and 124 after `timeout` seconds."""
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd=folder,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            close_fds=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no response within {timeout:.0f} seconds")


def output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Return its output without blanks at the ends; nothing if it fails."""
    done = attempt(command, environment)
    return done.stdout.strip() if done.returncode == 0 else ""


def succeeds(command: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    return attempt(command, environment).returncode == 0


def run_silently(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> bool:
    """Return whether it succeeds. If it fails, show its last lines of output."""
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=False,
    )
    if done.returncode != 0:
        # Compose 1.29 also prints the exit code of a failed step, as a number alone in a line.
        lines = [line for line in done.stdout.decode(errors="replace").splitlines() if not line.strip().isdigit()]
        print("\n".join(lines[-TAIL:]), file=sys.stderr, flush=True)
    return done.returncode == 0


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run it with the terminal of this process. Return its exit code."""
    return subprocess.run(command, env=environment, check=False, close_fds=False).returncode
