"""Prints a new API token of DEMO_USER and nothing else, from the stack or from the server of make dev."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import compose, dev, engine, ownership, programs
from . import settings as settings_
from .console import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(_: Sequence[str]) -> int:
    settings = settings_.here()
    command = ["create_token", settings["DEMO_USER"]]
    if dev.process(settings):
        environment = {**settings.environment, "SECRET_KEY": settings["SECRET_KEY"]}
        return programs.run([*dev.manage(settings), *command], environment)
    web = "" if compose.trouble(settings) else engine.first(settings.project, "web")
    if not web:
        raise Failure("nothing runs that could make a token; start the stack first: make up")
    ownership.refuse_another_copy(settings)
    return programs.run(["docker", "exec", web, "python", "manage.py", *command])
