"""Follows the logs of the stack, or of the server of make dev: scripts/logs.sh [SERVICE ...]."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from . import compose, dev
from . import settings as settings_
from .console import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(services: Sequence[str]) -> NoReturn:
    settings = settings_.here()
    if not dev.process(settings):
        compose.main(["logs", "--follow", "--tail", "100", *services])
    log = dev.note(settings, "log")
    if not log.is_file():
        raise Failure("the server of make dev writes its log to the terminal in which it was started")
    os.execvp("tail", ["tail", "-n", "100", "-F", str(log)])  # noqa: S606  # the purpose of this command
