"""Answers questions of the scripts that are bash (scripts/lib/*.sh), one process per question.

scripts/python.sh answers settings    assignments for bash: the settings of .env, and the defaults of .env.example
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
    """Print FROM_FILE_NAME=value for each line of .env, and FROM_EXAMPLE_NAME=value for each default."""
    for prefix, values in (("FILE", settings.read.values), ("EXAMPLE", settings.example.defaults)):
        for name, value in values.items():
            if "." not in name:
                _assign(f"FROM_{prefix}_{name}", value)
    _assign("ALL_PROFILES", settings_.ALL_PROFILES)
    _assign("NGINX_SETTINGS", " ".join(settings_.OF_NGINX))


def _assign(name: str, value: str) -> None:
    sys.stdout.buffer.write(f"{name}={shlex.quote(value)}\n".encode(errors="surrogateescape"))


def _images(settings: Settings) -> None:
    """Print the settings that chosen images replace, for scripts that run Docker without Compose."""
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
