"""Writes .env from .env.example with random secrets, readable by you alone. Never overwrites an existing file.

scripts/env.sh                                        writes .env (`make env`)
scripts/env.sh --output FILE NAME=value NAME=value    writes another file with these settings
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import dotenv
from . import settings as settings_
from .console import Failure, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .settings import Settings

PLACEHOLDER = "change-me"
SECRET_BYTES = 32
PASSWORD_BYTES = 12  # shorter, because people type them


def main(arguments: Sequence[str]) -> None:
    environment = dict(os.environ)
    if arguments[:1] == ["--output"]:
        if not arguments[1:2]:
            raise Failure("--output needs a file name")
        environment["ENV_FILE"] = arguments[1]
        arguments = arguments[2:]
    settings = settings_.read(settings_.ROOT, environment)
    given = dict(argument.partition("=")[::2] for argument in arguments)
    for name in given:
        if name not in settings.example.names:
            raise Failure(f"{name} is not a setting of .env.example")
    write_if_missing(settings, given)


def write_if_missing(settings: Settings, given: Mapping[str, str] | None = None) -> None:
    if settings.file.exists():
        _refuse_missing_values(settings)
        _refuse_to_change(settings, given or {})
        say(f"{settings.file} exists and is not changed")
        return
    _write(settings.file, render((settings.root / ".env.example").read_text(encoding="utf-8"), given or {}))
    say(f"wrote {settings.file}, with new secrets")


def _refuse_missing_values(settings: Settings) -> None:
    """Settings without a # in the example have no default. A file from an earlier version may lack some of them."""
    names = [name for name in settings.example.without_default if settings.is_required(name)]
    if missing := [name for name in names if settings.in_file(name) in {"", PLACEHOLDER}]:
        raise Failure(
            f"{settings.file} has no value, or only the placeholder, for: {' '.join(missing)}. Write a line NAME=value"
            f" for each (.env.example explains them; this command prints a random secret: openssl rand -hex 32)"
        )


def _refuse_to_change(settings: Settings, given: Mapping[str, str]) -> None:
    """An existing file belongs to the user, who has to add these settings by hand."""
    if other := [f"{name}={value}" for name, value in given.items() if settings.in_file(name) != value]:
        raise Failure(f"{settings.file} exists and is not changed. Write into it: {' '.join(other)}")


def _write(file: Path, text: str) -> None:
    """Write it atomically: under another name, then link it, which fails if another process was faster."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as output:
            output.write(text)
        os.link(draft, file)
    except FileExistsError:
        raise Failure(f"another process wrote {file} in the meantime; it is not changed") from None
    finally:
        Path(draft).unlink()


def render(example: str, given: Mapping[str, str]) -> str:
    """Fill in the example: the given settings, and random secrets in place of placeholders."""
    return "".join(f"{_rendered(line, given)}\n" for line in example.splitlines())


def _rendered(line: str, given: Mapping[str, str]) -> str:
    found = dotenv.EXAMPLE.match(line)
    if not found:
        return line
    _, name, default = found.groups()
    if name in given:
        return f"{name}={quoted(name, given[name])}"
    if default != PLACEHOLDER:
        return line
    # Hexadecimal, which needs no escapes in .env, in a URL and in a shell.
    return f"{name}={secrets.token_hex(PASSWORD_BYTES if name.endswith('_PASSWORD') else SECRET_BYTES)}"


def quoted(name: str, value: str) -> str:
    """Return the value as it has to be written, in quotes if necessary. ${NAME} of another line is not changed."""
    inside = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    for written in (value, f"'{value}'", f'"{inside}"'):
        found = dotenv.read(f"{name}={written}\n".encode(errors="surrogateescape"), {})
        if not found.complaints and (found.values.get(name) == value or found.used):
            return written
    raise Failure(f"{name} cannot have this value: the generations of Compose would read it differently from .env")
