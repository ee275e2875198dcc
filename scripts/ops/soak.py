"""Half an hour of traffic and trouble on a stack of its own, and then: is every upload that was answered 201 there?

tests/stack/soak.py is the program. It ends with `lost: 0`, and fails if it is another number.

    MINUTES=30         how long; 0.2 is a try
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
    os.execv(python, [python, "-m", "tests.stack.soak", *options])  # noqa: S606  # it is what was asked for
