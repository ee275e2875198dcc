"""Waiting for a state instead of sleeping for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 60.0  # seconds: enough for a busy machine
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1  # seconds: a check may run in a container, which is slow
T = TypeVar("T")


def poll(check: Callable[[], T], what: str, within: float = PATIENCE) -> T:
    """Check until the result is true, and return it. After `within` seconds, fail with `what` in the message."""
    deadline, pause = time.monotonic() + within, _FIRST_PAUSE
    while not (result := check()):
        assert time.monotonic() < deadline, f"waited {within:.0f} seconds for {what}"
        time.sleep(pause)
        pause = min(pause * 1.1, _LONGEST_PAUSE)
    return result
