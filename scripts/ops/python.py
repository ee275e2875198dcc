"""Finds an interpreter to make an environment with: the one that PYTHON names, or else the first usable one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import programs
from .console import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

CANDIDATES = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
IS_USABLE = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"


def find(environment: Mapping[str, str], *preferred: str) -> str:
    """Return its name; nothing if no interpreter is new enough and has venv."""
    given = environment.get("PYTHON")
    candidates = [given] if given else [*preferred, *CANDIDATES]
    return next((python for python in candidates if programs.succeeds([python, "-c", IS_USABLE])), "")


def need(environment: Mapping[str, str], *preferred: str) -> str:
    found = find(environment, *preferred)
    if not found:
        raise Failure(
            "no Python 3.11 or newer with venv was found; install one (Debian, Ubuntu: sudo apt-get install"
            " python3-venv), or name one with PYTHON=/path/to/python3"
        )
    return found
