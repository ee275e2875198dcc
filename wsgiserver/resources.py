"""What this process may use of the machine, and what it does use.

    root/proc/self/cgroup       which control groups it is in: of version 2 ("0::/path") or 1 ("4:cpu,cpuacct:/path")
    root/sys/fs/cgroup/...      their limits; those of every group above count as well
    root/proc/meminfo           the machine's memory

Linux tells this in files, whose folder `root` is an argument. Elsewhere there is no limit to be seen. (`cgroups(7)`,
and Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.)
"""

import os
import re
import resource
import sys
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple

WORKER_MEMORY: Final = 128 << 20  # bytes to count on for a worker: what a Django project takes, and its spools


class Advice(NamedTuple):
    """How many workers to have, and why."""

    workers: int
    reason: str


def advise(cpus: int, root: Path = Path("/")) -> Advice:
    """Return how many workers to have: one for each of `cpus`, as far as quota and memory allow, and at least one."""
    quota, memory = cpu_quota(root), memory_limit(root)
    limits = [(cpus, f"{cpus} CPUs to run on")]
    if quota is not None:
        limits.append((ceil(quota), f"a quota of {quota:g} CPUs"))
    if memory is not None:
        limits.append((memory // WORKER_MEMORY, f"{memory >> 20} MiB of memory, {WORKER_MEMORY >> 20} for each"))
    return Advice(max(1, min(limits)[0]), "; ".join(f"{text}: {workers}" for workers, text in limits))


def cpus() -> int:
    """Return the number of CPUs this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path) -> float | None:
    """Return how many CPUs' time may be used, or None for no limit."""
    quotas = []
    for group in _groups(root, "cpu"):
        text = _read(group / "cpu.max") or f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):  # and not "max", or -1
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def memory_limit(root: Path) -> int | None:
    """Return how many bytes may be used: no more than the machine has; None where nothing is to be seen."""
    limits = []
    for group in _groups(root, "memory"):
        text = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
        if text.isdigit():
            limits.append(int(text))
    machine = re.search(r"MemTotal: *([0-9]+) kB", _read(root / "proc/meminfo"))
    if machine:
        limits.append(int(machine[1]) << 10)
    return min(limits, default=None)


def resident() -> int:
    """Return the bytes of memory this process has resident; where that cannot be seen, the most it ever had."""
    fields = _read(Path("/proc/self/statm")).split()
    if fields:
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups that limit `controller`, and of those above them.

    Without a mount of its own groups a container sees them at the top, and the path of its group leads nowhere.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        mount = root / "sys/fs/cgroup"
        top = mount / names if (mount / names).is_dir() else mount / controller
        group = top / path.lstrip("/")
        yield group
        while group != top:
            group = group.parent
            yield group


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
