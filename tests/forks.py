"""What a forked process does, of which nothing may come back into the tests: they would run on in it."""

import os
import traceback
from collections.abc import Callable


def in_fork(action: Callable[[], object]) -> int:
    """Return how a forked process ends that does this: 0; 1 if it raised, which it prints; or -SIGNAL."""
    return ended(fork(action))


def fork(action: Callable[[], object]) -> int:
    """Return the number of a process that does this, beside the test."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:  # noqa: BLE001 - pytest's own as well
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
