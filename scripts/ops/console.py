"""Messages, questions and waiting. Progress and errors go to stderr, so that stdout has only the result."""

from __future__ import annotations

import enum
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

POLL_INTERVAL = 0.5  # seconds between two checks
REPORT_INTERVAL = 10  # seconds between two lines of progress


class Failure(Exception):
    """Ends the command with exit code 1 and this message."""


class Progress(enum.Enum):
    """The result of a repeated check."""

    DONE = enum.auto()
    WAITING = enum.auto()
    HOPELESS = enum.auto()


def outcome(command: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int:
    """Run a command. Return its exit code."""
    try:
        return command(arguments) or 0
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr, flush=True)
        return 1
    except BrokenPipeError:  # as in `make ps | head`; the rest of the output is discarded
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


def say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def explain(text: str) -> None:
    """Print text that the user needs before a question, or before `make up` continues."""
    print(text, file=sys.stderr, flush=True)


def is_confirmed(environment: Mapping[str, str]) -> bool:
    """Ask whether to continue. With YES=1 the answer is yes, without a question."""
    if environment.get("YES") == "1":
        return True
    if sys.stdin.isatty():
        print("Type yes to continue: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"


def wait_until(what: str, seconds: float, check: Callable[[], Progress]) -> bool:
    """Repeat the check until it is done. Return False after `seconds`, or when it is hopeless."""
    began = reported = time.monotonic()
    while True:
        found = check()
        if found is Progress.DONE:
            return True
        now = time.monotonic()
        if found is Progress.HOPELESS or now >= began + seconds:
            return False
        if now >= reported + REPORT_INTERVAL:
            reported = now
            say(f"still waiting for {what} ({now - began:.0f} s)")
        time.sleep(POLL_INTERVAL)
