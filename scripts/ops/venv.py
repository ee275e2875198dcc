"""Installs exactly the locked packages into .venv, checked by hash; does nothing if they are installed already.

scripts/venv.sh app    for the application        scripts/venv.sh dev    also for tests and checks

PYTHON    the interpreter that makes the environment; default: the first on PATH that is new enough
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import programs, python
from . import settings as settings_
from .console import Failure, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PIP = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
BINARY = "--only-binary=:all:"


def main(arguments: Sequence[str]) -> None:
    if list(arguments) not in (["app"], ["dev"]):
        raise Failure("the name of the environment is missing; run: scripts/venv.sh app, or scripts/venv.sh dev")
    settings = settings_.here()
    (name,) = arguments
    venv, requirements = settings.root / ".venv", settings.root / "requirements"
    good_enough = ["app", "dev"] if name == "app" else ["dev"]
    if any(_holds(venv, requirements, each) for each in good_enough):
        return
    if not (venv / "bin" / "python").exists():
        create(venv, python.need(settings.environment))
    say(f"installing requirements/{name}.txt into .venv (the first time takes a minute or two)")
    if not install(venv, requirements / f"{name}.txt", BINARY):
        raise Failure(f"requirements/{name}.txt could not be installed: the reason is above")
    for note in venv.glob(".holds-*"):
        note.unlink()
    _note(venv, name).write_text(f"{checksum(requirements / f'{name}.txt')}\n", encoding="utf-8")


def create(venv: Path, interpreter: str, *options: str) -> None:
    say(f"making {venv.name} with {programs.output([interpreter, '--version'])}")
    if programs.run([interpreter, "-m", "venv", *options, str(venv)]):
        raise Failure(f"{interpreter} could not make {venv}: the reason is above")


def install(venv: Path, requirements: Path, *options: str) -> bool:
    """Return whether it succeeds. pip's output is shown if it fails."""
    return programs.run_silently([str(venv / "bin" / "python"), *PIP, *options, "-r", str(requirements)])


def checksum(*files: Path) -> str:
    """Return the checksum and the length of all files together."""
    return programs.output(["sh", "-c", 'cat "$@" | cksum', "sh", *map(str, files)])


def _holds(venv: Path, requirements: Path, name: str) -> bool:
    note = _note(venv, name)
    return note.exists() and note.read_text(encoding="utf-8").strip() == checksum(requirements / f"{name}.txt")


def _note(venv: Path, name: str) -> Path:
    return venv / f".holds-{name}"
