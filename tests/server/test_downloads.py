"""Files sent by frameworks in a real process: the kernel sends them, and a slow client costs little."""

import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.building import request
from tests.wire.polling import poll

SLOW = 20  # clients
HUGE = 50 << 20  # bytes


@pytest.mark.parametrize("size", [0, 10, 100_000, 5_000_000])
@pytest.mark.parametrize("application", ["django_application", "werkzeug_application", "whitenoise_application"])
def test_files_from_frameworks_arrive_unchanged(serve: Serve, tmp_path: Path, application: str, size: int) -> None:
    pytest.importorskip(application.removesuffix("_application"))
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    server = serve(application=f"tests.server.downloads:{application}", TEST_DOWNLOAD=str(tmp_path / "file"))
    with server.client() as client:
        for target in ("/file", "/field"):
            answer = client.get(target)
            assert (answer.status, answer.body) == (200, content)
            answer = client.send(request("HEAD", target)).answer(method="HEAD")
            assert answer.status == 200
        if size:
            answer = client.get("/file", "Range: bytes=1-8")
            assert (answer.status, answer.body) in {(206, content[1:9]), (200, content)}
    (worker,) = server.workers()
    poll(lambda: str(tmp_path / "file") not in opened(worker), "the file to close")


@pytest.mark.parametrize("application", ["django_application", "werkzeug_application", "whitenoise_application"])
def test_ranges_of_files_from_frameworks_arrive_unchanged(serve: Serve, tmp_path: Path, application: str) -> None:
    """A range is sent as declared, the connection stays open, and no error is logged."""
    pytest.importorskip(application.removesuffix("_application"))
    content = os.urandom(200_000)
    (tmp_path / "file").write_bytes(content)
    server = serve(application=f"tests.server.downloads:{application}", TEST_DOWNLOAD=str(tmp_path / "file"))
    with server.client() as client:
        for first, last in [(0, 1), (1, 8), (0, 99_999), (70_000, 140_000), (100_000, 199_999)]:
            answer = client.get("/part", f"Range: bytes={first}-{last}")
            assert (answer.status, answer.body) == (206, content[first : last + 1])
            assert "connection" not in answer.headers
    assert server.events("application-error") == []


@pytest.mark.parametrize("application", ["django_application", "werkzeug_application", "whitenoise_application"])
def test_a_small_range_of_a_huge_file_reads_little(serve: Serve, tmp_path: Path, application: str) -> None:
    """The kernel counts the bytes that a process reads, including those sent by `sendfile`."""
    pytest.importorskip(application.removesuffix("_application"))
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(HUGE)
        file.seek(HUGE - 200)
        file.write(b"0123456789" * 20)
    server = serve(application=f"tests.server.downloads:{application}", TEST_DOWNLOAD=str(path))
    server.get("/part", "Range: bytes=0-9")  # the first request imports modules
    (worker,) = poll(server.workers, "a worker")
    before = bytes_read(worker)
    answer = server.get("/part", f"Range: bytes={HUGE - 200}-{HUGE - 101}")
    assert answer.body == b"0123456789" * 10
    assert bytes_read(worker) - before < HUGE // 10


def bytes_read(pid: int) -> int:
    """Return the number of bytes that a process has read from any source."""
    return int(Path(f"/proc/{pid}/io").read_text().split()[1])


def test_slow_downloads_of_a_large_file_hold_no_thread_and_no_memory(serve: Serve, tmp_path: Path) -> None:
    """Ten times as many downloads as threads: no thread is held, and nothing is copied to memory or to a spool."""
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(HUGE)
    server = serve("--threads", "2", application="tests.server.downloads:django_application", TEST_DOWNLOAD=str(path))
    server.get("/none")
    (worker,) = poll(server.workers, "a worker")
    before = resident(worker)
    slow = [server.client().send(request("GET", "/file")) for _ in range(SLOW)]
    poll(lambda: opened(worker).count(str(path)) == SLOW, "all downloads to start")
    assert server.get("/none").status == 404
    assert resident(worker) - before < HUGE // 2
    assert not [name for name in opened(worker) if name.endswith("(deleted)") and str(tmp_path) in name]
    assert slow[0].answer().body == bytes(HUGE)
    for client in slow:
        client.socket.close()
    poll(lambda: str(path) not in opened(worker), "all downloads to end")
    assert HUGE < bytes_sent(server) < HUGE * SLOW


def opened(pid: int) -> list[str]:
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since the listing
            names.append(str(link.readlink()))
    return names


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    match = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def bytes_sent(server: Server) -> int:
    """Return the number of bytes in the log: one client read everything, the others only filled the buffers."""
    poll(lambda: len(server.requests()) == SLOW + 2, "the log")
    return sum(record["sent_bytes"] for record in server.requests() if record["path"] == "/file")
