"""Runs other programs: for their answer, for success or failure, or silently. They inherit the lock of the stack."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TAIL = 40  # lines of what a program that failed has printed


def attempt(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end. One that is not installed fails with exit code 127, one that takes too long with 124."""
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
    """Return what it prints, without blanks at the ends; nothing if it fails."""
    done = attempt(command, environment)
    return done.stdout.strip() if done.returncode == 0 else ""


def succeeds(command: Sequence[str], environment: Mapping[str, str] | None = None) -> bool:
    return attempt(command, environment).returncode == 0


def run_silently(
    command: Sequence[str], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> bool:
    """Return whether it succeeds. Only of one that fails what it printed last is shown."""
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
        # Compose 1.29 prints the status of what failed, too, which is a number in a line by itself.
        lines = [line for line in done.stdout.decode(errors="replace").splitlines() if not line.strip().isdigit()]
        print("\n".join(lines[-TAIL:]), file=sys.stderr, flush=True)
    return done.returncode == 0


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run with our own terminal. Return its exit code."""
    return subprocess.run(command, env=environment, check=False, close_fds=False).returncode
