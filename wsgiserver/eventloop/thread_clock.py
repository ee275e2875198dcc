"""How much processor time a thread has used: the difference between a thread that computes and one that waits."""

import threading
import time


def own_clock() -> int:
    """Return the clock of the calling thread's processor time; 0 where the system has none that others can read."""
    return time.pthread_getcpuclockid(threading.get_ident()) if hasattr(time, "pthread_getcpuclockid") else 0


def processor_time(clock: int) -> float:
    """Return the seconds of processor time of a thread; 0 if the system has none, or the thread has ended.

    The argument is a clock from `own_clock`: to request the clock of a thread that has ended would follow a stale
    pointer.
    """
    try:
        return time.clock_gettime(clock) if clock else 0.0
    except OSError:
        return 0.0
