"""Measures our server next to others, which it installs into bench/.venv: exactly the locked packages, by hash.

    scripts/bench.sh --only hello,upload --servers granian,bjoern --seconds 3        scripts/bench.sh --help

A server that cannot be compiled here is left out, with a warning.

    PYTHON    the interpreter for all of them. Default: the system's, which is built with profile-guided optimization.
              Those of version managers are a third slower, which would make every uncompiled server look worse.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import python, venv
from . import settings as settings_
from .console import Failure, say, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Settings

SYSTEM = "/usr/bin/python3"
COMPILED = ("bjoern", "uwsgi")


def main(arguments: Sequence[str]) -> NoReturn:
    settings = settings_.here()
    folder, note = settings.root / "bench" / ".venv", settings.root / "bench" / ".venv" / ".holds"
    locked = venv.checksum(*sorted((settings.root / "requirements").glob("bench*.txt")))
    if not note.exists() or note.read_text(encoding="utf-8").strip() != locked:
        _install(settings, folder)
        if _compile(settings, folder):  # otherwise the next run tries again
            note.write_text(f"{locked}\n", encoding="utf-8")
    os.chdir(settings.root)
    command = [str(folder / "bin" / "python"), "-m", "bench.run", *arguments]
    os.execv(command[0], command)  # noqa: S606  # the purpose of this command


def _install(settings: Settings, folder: Path) -> None:
    say("installing the servers to compare with into bench/.venv")
    venv.create(folder, python.need(settings.environment, SYSTEM), "--clear")
    if not venv.install(folder, settings.root / "requirements" / "bench.txt", venv.BINARY):
        raise Failure("requirements/bench.txt could not be installed: the reason is above")


def _compile(settings: Settings, folder: Path) -> bool:
    """Return whether all of them could be compiled."""
    text = (settings.root / "requirements" / "bench-compiled.txt").read_text(encoding="utf-8")
    missing = []
    for package in COMPILED:
        with tempfile.TemporaryDirectory() as place:
            requirements = Path(place) / "requirements.txt"
            requirements.write_text(locked_lines(text, package), encoding="utf-8")
            if not venv.install(folder, requirements):
                warn(f"{package} could not be compiled and is left out: the reason is above")
                missing.append(package)
    return not missing


def locked_lines(text: str, package: str) -> str:
    """Return the lines of one package, hashes included."""
    found = re.search(rf"(?ms)^{re.escape(package)}==.*?(?=^\S|\Z)", text)
    return found[0] if found else ""
