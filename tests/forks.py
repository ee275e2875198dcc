"""Actions in a forked process, which must not return into the tests: the tests would continue in it."""

import os
import traceback
from collections.abc import Callable


def in_fork(action: Callable[[], object]) -> int:
    """Run the action in a forked process; return its exit code: 0, 1 after a (printed) exception, or -SIGNAL."""
    return exit_code(fork(action))


def fork(action: Callable[[], object]) -> int:
    """Start a forked process that runs the action; return its process id."""
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


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
