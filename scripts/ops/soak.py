"""Sends traffic to a separate stack and causes faults, then checks that no upload with a 201 response was lost.

The program is tests/stack/soak.py. Its last line is `lost: 0`; any other number is a failure.

    MINUTES=30         how long; use 0.2 to try it out
    WEB_REPLICAS=2     containers of web
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from . import compose, venv
from . import settings as settings_
from .console import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(_: Sequence[str]) -> NoReturn:
    settings = settings_.here()
    if trouble := compose.trouble(settings):
        raise Failure(trouble)
    venv.main(["dev"])
    os.chdir(settings.root)
    python = str(settings.root / ".venv" / "bin" / "python")
    given = settings.environment
    options = ["--minutes", given.get("MINUTES") or "30", "--replicas", given.get("WEB_REPLICAS") or "2"]
    os.execv(python, [python, "-m", "tests.stack.soak", *options])  # noqa: S606  # the purpose of this command
