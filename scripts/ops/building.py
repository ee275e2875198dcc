"""Builds the images of this project, and checks new ones before anything is replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import build_progress, compose
from .console import Failure, say, warn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from .settings import Settings


def build(settings: Settings) -> bool:
    """Return whether it succeeds.

    The builder's output goes to a log, and to the terminal if the build fails. While it runs, a line is printed for
    each stage that has work to do. The builder's own cache decides what is built again.
    """
    log = _log(settings)
    say(f"building the images (only what changed); the log is {log}")
    line, environment = compose.line(settings, "build")
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            line,
            env={**environment, "BUILDKIT_PROGRESS": "plain"},
            cwd=settings.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            close_fds=False,
        ) as builder,
    ):
        for message in build_progress.progress(_copied(builder.stdout, file), time.monotonic):
            say(f"  {message}")
    if builder.returncode:
        sys.stderr.write(log.read_text(encoding="utf-8"))
        warn(f"the images could not be built; the log above is also in {log}")
    return builder.returncode == 0


def _log(settings: Settings) -> Path:
    """Return the path of the log; a temporary file if another user made the usual one."""
    log = settings.note("-build.log")
    log.parent.mkdir(exist_ok=True)
    if os.access(log if log.exists() else log.parent, os.W_OK):
        return log
    return Path(tempfile.mkstemp(suffix="-build.log")[1])


def _copied(lines: IO[str] | None, file: IO[str]) -> Iterator[str]:
    for line in lines or ():
        file.write(line)
        yield line


def check_new_images(settings: Settings) -> None:
    """Check them before anything is changed, in containers that get no requests.

    A new container of a service would get requests as soon as it has started, because it has the service's name.
    """
    _check(settings, "nginx rejects its new configuration", "nginx", "-t")
    _check(settings, "the new application cannot be loaded", "-e", "WSGISERVER_CHECK_CONFIG=on", "web")


def _check(settings: Settings, complaint: str, *arguments: str) -> None:
    if not compose.run(settings, "run", "--rm", "--no-deps", "-T", *arguments):
        raise Failure(f"{complaint}: the reason is above; the running stack was not changed")
