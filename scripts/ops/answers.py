"""Answers for the scripts that are still bash: scripts/lib/*.sh ask, one process for each question.

scripts/python.sh answers settings    assignments for bash: what .env sets, and the defaults of .env.example
scripts/python.sh answers trouble     why containers cannot be used here; images, builder: see below
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence

from . import compose, images
from . import settings as settings_
from .settings import Settings

Answer = Callable[[Settings], None]


def main(arguments: Sequence[str]) -> None:
    (question,) = arguments
    ANSWERS[question](settings_.here())


def _settings(settings: Settings) -> None:
    """FROM_FILE_NAME=value, FROM_EXAMPLE_NAME=value of #NAME=value there, and the names of .env.example."""
    for prefix, values in (("FILE", settings.read.values), ("EXAMPLE", settings.example.defaults)):
        for name, value in values.items():
            if "." not in name:
                _assign(f"FROM_{prefix}_{name}", value)
    _assign("ALL_PROFILES", settings_.ALL_PROFILES)
    _assign("NGINX_SETTINGS", " ".join(settings_.OF_NGINX))


def _assign(name: str, value: str) -> None:
    sys.stdout.buffer.write(f"{name}={shlex.quote(value)}\n".encode(errors="surrogateescape"))


def _images(settings: Settings) -> None:
    """What takes the place of settings, for those who run Docker themselves."""
    _export(images.chosen(settings))


def _builder(settings: Settings) -> None:
    _export(compose.builder(settings))


def _export(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def _trouble(settings: Settings) -> None:
    if trouble := compose.trouble(settings):
        print(trouble)


ANSWERS: dict[str, Answer] = {
    "settings": _settings,
    "images": _images,
    "builder": _builder,
    "trouble": _trouble,
}
