"""What this process may use of the machine, what it uses now, and what a server of a given size needs.

    root/proc/self/cgroup       which control groups it is in: of version 2 ("0::/path") or 1 ("4:cpu,cpuacct:/path")
    root/sys/fs/cgroup/...      their limits; those of every group above count as well
    root/proc/meminfo           the machine's memory
    getrlimit(RLIMIT_NOFILE)    how many descriptors a process may have

Linux has this in files; the folder `root` is an argument. Other systems show no limits. (`cgroups(7)`,
and Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.)
"""

import contextlib
import os
import re
import resource
import sys
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple

WORKER_MEMORY: Final = 128 << 20  # bytes to count on for a worker: what a Django project takes, and its spools

# Descriptors: the most that a connection takes, what a thread takes in the application (a database, files, pipes to a
# child), and the others (listeners, pipes, logs, what the application holds open, which a worker counts again).
DESCRIPTORS_PER_CONNECTION: Final = 2  # its socket, and a file for what comes in or for what goes out
DESCRIPTORS_PER_THREAD: Final = 16
OTHER_DESCRIPTORS: Final = 64
UNLIMITED_DESCRIPTORS: Final = 1 << 30

# Tasks, as the control group counts them, are threads: each worker has `threads` of them, and its watchdog.
WATCHDOG_TASKS: Final = 1
ADMIN_TASKS: Final = 2  # the admin listener's process
OTHER_TASKS: Final = 8  # health checks, a shell, what the application starts


class Advice(NamedTuple):
    """How many workers to have, and why."""

    workers: int
    reason: str


def advise(cpus: int, root: Path = Path("/"), threads: int = 4) -> Advice:
    """Return how many workers to have: one for each of `cpus`, as far as quota, memory and the limit of tasks allow,
    and at least one.
    """
    quota, memory, tasks = cpu_quota(root), memory_limit(root), spare_tasks(root)
    limits = [(cpus, f"{cpus} CPUs to run on")]
    if quota is not None:
        limits.append((ceil(quota), f"a quota of {quota:g} CPUs"))
    if memory is not None:
        limits.append((memory // WORKER_MEMORY, f"{memory >> 20} MiB of memory, {WORKER_MEMORY >> 20} for each"))
    if tasks is not None:
        limits.append((workers_within(tasks.left, threads), f"{tasks.limit} processes and threads at once"))
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


class Tasks(NamedTuple):
    """Processes and threads: how many there may be, and how many more than there are now."""

    limit: int
    left: int


def spare_tasks(root: Path = Path("/")) -> Tasks | None:
    """Return what the control groups allow (`pids.max`): of several, that which leaves least; None for no limit."""
    found = []
    for group in _groups(root, "pids"):
        limit, current = _read(group / "pids.max"), _read(group / "pids.current")
        if limit.isdigit():  # and not "max"
            found.append(Tasks(int(limit), int(limit) - int(current if current.isdigit() else 1)))
    return min(found, key=lambda tasks: tasks.left, default=None)


def tasks_needed(workers: int, threads: int) -> int:
    """Return how many tasks there are besides this process: one worker more than usual, while one is replaced."""
    return (workers + 1) * (threads + WATCHDOG_TASKS) + ADMIN_TASKS + OTHER_TASKS


def workers_within(tasks: int, threads: int) -> int:
    """Return how many workers need no more tasks than that."""
    return max(0, (tasks - ADMIN_TASKS - OTHER_TASKS) // (threads + WATCHDOG_TASKS) - 1)


def descriptors_needed(connections: int, threads: int, rest: int = OTHER_DESCRIPTORS) -> int:
    """Return how many descriptors a process needs for that many connections, whatever each of them does."""
    return connections * DESCRIPTORS_PER_CONNECTION + threads * DESCRIPTORS_PER_THREAD + rest


def connections_within(descriptors: int, threads: int, rest: int = OTHER_DESCRIPTORS) -> int:
    """Return how many connections need no more descriptors than that."""
    return max(0, (descriptors - threads * DESCRIPTORS_PER_THREAD - rest) // DESCRIPTORS_PER_CONNECTION)


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else UNLIMITED_DESCRIPTORS


def raise_descriptor_limit(wanted: int) -> None:
    """Have as many descriptors as `wanted`, or as the hard limit allows.

    No more than that: processes that the application starts inherit the limit, and some close every number below it.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if possible > descriptor_limit():
        with contextlib.suppress(OSError, ValueError):  # macOS has another limit, below the one it shows
            resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))


def descriptors_open() -> int:
    """Return how many descriptors this process has; 0 where that cannot be seen."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder)) - 1  # noqa: PTH208 - the folder's own is not counted
        except OSError:
            continue
    return 0


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
