"""`make down`: stops the stack, or the server of `make dev`. Photos, rows and settings are kept."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from . import compose, dev, engine, lock, ownership
from . import settings as settings_
from .console import Failure, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Settings

STOPPED_WITHIN = 90  # seconds


def main(_: Sequence[str]) -> None:
    stop(settings_.here())


def stop(settings: Settings) -> None:
    if process := dev.process(settings):
        _stop_server(settings, process)
    if settings.has_file and not compose.trouble(settings):
        ownership.refuse_another_copy(settings)
        lock.hold(settings, 900, "down.sh")
        if services := sorted({container.service for container in engine.containers(settings.project)}):
            say(f"stopping {' '.join(services)}")
        # With every profile: Compose does not stop services whose profile is off.
        if not compose.run(settings, "down", "--remove-orphans", profiles=settings_.ALL_PROFILES):
            raise Failure("some containers were not stopped: the reason is above")


def _stop_server(settings: Settings, process: int) -> None:
    """Stop it. It finishes its requests first."""
    say("stopping the server of make dev")
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + STOPPED_WITHIN
    while dev.is_alive(process):
        if time.monotonic() >= deadline:
            raise Failure(f"process {process} still runs after {STOPPED_WITHIN} seconds; to end it: kill -9 {process}")
        time.sleep(0.2)
    dev.note(settings, "pid").unlink()
