"""How much processor time a thread has used: told apart, a thread that computes and one that waits."""

import threading
import time


def own_clock() -> int:
    """Return the clock of the calling thread's processor time; 0 where the system has none that others can read."""
    return time.pthread_getcpuclockid(threading.get_ident()) if hasattr(time, "pthread_getcpuclockid") else 0


def processor_time(clock: int) -> float:
    """Seconds of processor time that a thread has used; 0 where the system does not tell, or the thread has ended.

    By its clock, which the system looks up: to ask for the clock of a thread that has ended follows a stale pointer.
    """
    try:
        return time.clock_gettime(clock) if clock else 0.0
    except OSError:
        return 0.0
