"""The limits of a process, from files in the format of the kernel."""

import mmap
from pathlib import Path

import pytest

from wsgiserver.process import preflight
from wsgiserver.settings import Settings
from wsgiserver.telemetry.resources import (
    advise,
    connections_within,
    cpu_quota,
    cpus,
    descriptors_needed,
    memory_limit,
    resident,
    spare_tasks,
    tasks_needed,
    workers_within,
)
from wsgiserver.values import SettingError

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
        (V2_BELOW | v2("", "200000 100000", "400"), 2.0, 400),  # a container whose group is the visible root
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
def test_the_limits_of_cpu_and_memory_are_read_from_the_control_groups(
    tmp_path: Path, files: Files, quota: float | None, memory: int | None
) -> None:
    write_files(tmp_path, files)
    assert cpu_quota(tmp_path) == quota
    assert memory_limit(tmp_path) == memory


def write_files(root: Path, files: Files) -> None:
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
def test_the_advised_number_of_workers_fits_cpus_and_memory(
    tmp_path: Path, available: int, files: Files, workers: int, reason: str
) -> None:
    write_files(tmp_path, files)
    assert advise(available, tmp_path) == (workers, reason)


# --- Processes and threads ----------------------------------------------------------------------------------------


def tasks(folder: str, limit: str, current: str, controller: str = "") -> Files:
    return {
        f"sys/fs/cgroup/{controller}{folder}pids.max": limit,
        f"sys/fs/cgroup/{controller}{folder}pids.current": current,
    }


PIDS_V1 = {"proc/self/cgroup": "8:pids:/docker/x\n4:cpu,cpuacct:/docker/x\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (V2, None),
        (V2 | tasks("", "max", "5"), None),
        (V2 | tasks("", "128", "2"), (128, 126)),
        (V2 | {"sys/fs/cgroup/pids.max": "128"}, (128, 127)),
        (V2 | {"sys/fs/cgroup/pids.max": "nonsense"}, None),
        (V2_BELOW | tasks("a/b/", "max", "2") | tasks("a/", "100", "70"), (100, 30)),
        (V2_BELOW | tasks("a/b/", "50", "2") | tasks("a/", "100", "70"), (100, 30)),
        (V2_BELOW | tasks("a/b/", "20", "2") | tasks("a/", "100", "70"), (20, 18)),
        (PIDS_V1 | tasks("docker/x/", "64", "1", "pids/"), (64, 63)),
        (PIDS_V1 | tasks("", "64", "1", "pids/"), (64, 63)),
        (PIDS_V1 | tasks("docker/x/", "max", "1", "pids/"), None),
    ],
)
def test_the_number_of_spare_tasks_is_read_from_the_control_groups(
    tmp_path: Path, files: Files, expected: tuple[int, int] | None
) -> None:
    write_files(tmp_path, files)
    assert spare_tasks(tmp_path) == expected


@pytest.mark.parametrize("threads", [1, 4, 16, 100])
@pytest.mark.parametrize("workers", [1, 2, 8, 200])
def test_the_largest_number_of_workers_that_fits_the_tasks_is_found(workers: int, threads: int) -> None:
    needed = tasks_needed(workers, threads)
    assert needed > workers * threads
    assert (workers_within(needed, threads), workers_within(needed - 1, threads)) == (workers, workers - 1)
    assert workers_within(0, threads) == 0


@pytest.mark.parametrize(
    ("workers", "threads", "limit", "message"),
    [
        (2, 4, 128, ""),
        (8, 8, 128, ""),
        (8, 16, 128, "163 processes and threads"),  # exceeds the limit of the stack
        (8, 16, 192, ""),
        (1, 200, 128, "or use fewer threads"),
        (30, 4, 128, "at most 22 workers of 4 threads"),
    ],
)
def test_too_many_workers_and_threads_are_refused_by_name(
    tmp_path: Path, workers: int, threads: int, limit: int, message: str
) -> None:
    write_files(tmp_path, V2 | tasks("", str(limit), "2"))
    settings = Settings(workers=workers, threads=threads)
    if not message:
        preflight.check(settings, tmp_path)
        return
    with pytest.raises(SettingError, match=message) as error:
        preflight.check(settings, tmp_path)
    for part in (f"--workers {workers}", f"--threads {threads}", f"room for {limit - 2}", f"pids.max is {limit}"):
        assert part in str(error.value)


def test_an_additional_worker_that_does_not_fit_is_not_started(tmp_path: Path) -> None:
    """As for TTIN: running processes and threads are already counted."""
    write_files(tmp_path, V2 | tasks("", "40", "28"))
    assert "use fewer threads" in preflight.too_many(1, 4, tmp_path)
    write_files(tmp_path, V2 | tasks("", "60", "28"))
    assert preflight.too_many(1, 4, tmp_path) == ""


def test_workers_auto_is_at_most_as_many_as_fit(tmp_path: Path) -> None:
    write_files(tmp_path, V2 | tasks("", "40", "2"))
    assert advise(64, tmp_path, 4) == (4, "64 CPUs to run on: 64; 40 processes and threads at once: 4")
    preflight.check(Settings(workers=4), tmp_path)


# --- Descriptors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4, 100])
@pytest.mark.parametrize("connections", [1, 100, 8000])
def test_the_largest_number_of_connections_that_fits_the_descriptors_is_found(connections: int, threads: int) -> None:
    needed = descriptors_needed(connections, threads)
    assert connections_within(needed, threads) == connections
    assert connections_within(needed - 1, threads) == connections - 1
    assert connections_within(10, threads) == 0


def test_the_resources_of_this_machine_can_be_read() -> None:
    assert cpus() >= 1
    assert advise(cpus()).workers >= 1


def test_resident_memory_is_measured_now_and_not_at_its_peak() -> None:
    size = 64 << 20
    before = resident()
    with mmap.mmap(-1, size) as block:  # new memory, not memory that an allocator reuses
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1
        assert resident() > before + size * 3 // 4
    assert resident() < before + size * 3 // 4
