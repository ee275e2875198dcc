"""Opens a shell, or runs a command, in a container of a service: scripts/shell.sh [SERVICE [COMMAND ...]]."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from . import compose, engine
from . import settings as settings_
from .console import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> NoReturn:
    service, *command = arguments or ["web"]
    settings = settings_.here()
    compose.need_engine(settings)
    container = engine.first(settings.project, service)
    if not container:
        raise Failure(f"{service} does not run; to see which services do: make ps")
    terminal = ["--tty"] if sys.stdin.isatty() else []
    line = ["docker", "exec", "--interactive", *terminal, container, *(command or ["sh"])]
    os.execvp(line[0], line)  # noqa: S606  # the purpose of this command
