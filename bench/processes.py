"""What a server and its children cost, read from /proc: CPU time and memory of a whole tree of processes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def cores() -> tuple[int, int]:
    """Return a core for the server and another for the load: the same one twice where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants, as far as they are alive."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its descendants, those that have ended and were waited for included."""
    return sum(_cpu_seconds(member) for member in tree(pid))


def memory(pid: int) -> int:
    """Bytes of memory that the tree has in use (the kernel's socket buffers are not among them)."""
    return sum(_resident(member) for member in tree(pid))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS  # utime, stime, and those of children waited for


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
