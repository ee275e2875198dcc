"""Waiting for a state, in the place of sleeping until it may be there."""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 60.0  # seconds: a busy machine is no failure
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1  # seconds: what is asked may be a container, and that takes its time
T = TypeVar("T")


def poll(check: Callable[[], T], what: str, within: float = PATIENCE) -> T:
    """Look until there is something to see, and return it. Fails after so many seconds, and says for what it waited."""
    deadline, pause = time.monotonic() + within, _FIRST_PAUSE
    while not (result := check()):
        assert time.monotonic() < deadline, f"waited {within:.0f} seconds for {what}"
        time.sleep(pause)
        pause = min(pause * 1.1, _LONGEST_PAUSE)
    return result
