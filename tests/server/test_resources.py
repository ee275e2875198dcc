"""What a process may use, from files as the kernel shows them."""

import mmap
from pathlib import Path

import pytest

from wsgiserver.resources import advise, cpu_quota, cpus, memory_limit, resident

Files = dict[str, str]

MACHINE = {"proc/meminfo": "MemTotal:       16000000 kB\nMemFree:        1 kB\n"}
V2 = {"proc/self/cgroup": "0::/\n"}
V2_BELOW = {"proc/self/cgroup": "0::/a/b\n"}
V1 = {"proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n"}
HYBRID = {"proc/self/cgroup": "4:memory:/x\n1:cpu:/\n0::/\n"}


def v1(folder: str, quota: str, memory: str = "9223372036854771712") -> Files:
    return {
        f"sys/fs/cgroup/cpu,cpuacct/{folder}cpu.cfs_quota_us": quota,
        f"sys/fs/cgroup/cpu,cpuacct/{folder}cpu.cfs_period_us": "100000",
        f"sys/fs/cgroup/memory/{folder}memory.limit_in_bytes": memory,
    }


def v2(folder: str, cpu: str, memory: str = "max") -> Files:
    return {f"sys/fs/cgroup/{folder}cpu.max": cpu, f"sys/fs/cgroup/{folder}memory.max": memory}


@pytest.mark.parametrize(
    ("files", "quota", "memory"),
    [
        ({}, None, None),
        (MACHINE, None, 16_384_000_000),
        (V2, None, None),
        (V2 | v2("", "max 100000"), None, None),
        (V2 | v2("", "150000 100000", "536870912"), 1.5, 512 << 20),
        (V2 | MACHINE | v2("", "50000 100000", "536870912"), 0.5, 512 << 20),
        (V2 | MACHINE | v2("", "50000 100000", "99999999999999"), 0.5, 16_384_000_000),
        (V2_BELOW | v2("a/b/", "200000 100000", "300") | v2("a/", "100000 100000", "max"), 1.0, 300),
        (V2_BELOW | v2("a/b/", "max 100000", "max") | v2("a/", "300000 100000", "200"), 3.0, 200),
        (V2_BELOW | v2("", "200000 100000", "400"), 2.0, 400),  # a container that sees its group at the top
        ({"proc/self/cgroup": "0::/../../x\n"} | v2("", "200000 100000"), 2.0, None),
        (V2 | {"sys/fs/cgroup/cpu.max": "nonsense"}, None, None),
        (V2 | {"sys/fs/cgroup/cpu.max": "1 0"}, None, None),
        (V2 | {"sys/fs/cgroup/cpu.max": ""}, None, None),
        (V1 | v1("docker/x/", "-1"), None, 9223372036854771712),
        (V1 | MACHINE | v1("docker/x/", "-1"), None, 16_384_000_000),
        (V1 | v1("docker/x/", "250000", "1000"), 2.5, 1000),
        (V1 | v1("", "250000", "1000"), 2.5, 1000),
        (V1 | v1("docker/x/", "-1", "1000") | v1("docker/", "100000", "2000"), 1.0, 1000),
        (HYBRID | {"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "5"}, None, 5),
        ({"proc/self/cgroup": "4:cpuacct,cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "1"}, None, None),
        (
            {"proc/self/cgroup": "4:cpuacct,cpu:/\n"}
            | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50"},
            2.0,
            None,
        ),
    ],
)
def test_limits(tmp_path: Path, files: Files, quota: float | None, memory: int | None) -> None:
    lay(tmp_path, files)
    assert cpu_quota(tmp_path) == quota
    assert memory_limit(tmp_path) == memory


def lay(root: Path, files: Files) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("available", "files", "workers", "reason"),
    [
        (8, {}, 8, "8 CPUs to run on: 8"),
        (1, {}, 1, "1 CPUs to run on: 1"),
        (8, V2 | v2("", "150000 100000"), 2, "8 CPUs to run on: 8; a quota of 1.5 CPUs: 2"),
        (1, V2 | v2("", "150000 100000"), 1, "1 CPUs to run on: 1; a quota of 1.5 CPUs: 2"),
        (8, V2 | v2("", "20000 100000"), 1, "8 CPUs to run on: 8; a quota of 0.2 CPUs: 1"),
        (8, V2 | v2("", "max 1", str(512 << 20)), 4, "8 CPUs to run on: 8; 512 MiB of memory, 128 for each: 4"),
        (8, V2 | v2("", "max 1", str(64 << 20)), 1, "8 CPUs to run on: 8; 64 MiB of memory, 128 for each: 0"),
    ],
)
def test_advice(tmp_path: Path, available: int, files: Files, workers: int, reason: str) -> None:
    lay(tmp_path, files)
    assert advise(available, tmp_path) == (workers, reason)


def test_this_machine() -> None:
    assert cpus() >= 1
    assert advise(cpus()).workers >= 1


def test_resident_memory_is_what_is_there_now() -> None:
    size = 64 << 20
    before = resident()
    with mmap.mmap(-1, size) as block:  # new memory, not what an allocator has left from before
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1
        assert resident() > before + size * 3 // 4
    assert resident() < before + size * 3 // 4
