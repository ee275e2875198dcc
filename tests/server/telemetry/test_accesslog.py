"""Each finished request is one line of JSON, whatever text a client or an application sends."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.conftest import ROOT, Serve
from tests.server.telemetry.test_log import Stalled
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll
from wsgiserver.telemetry.accesslog import AccessLog, NoAccessLog, Record

RECORD = Record("192.0.2.1", "id", "GET", "/", 200, 0, 5, "none", "none", 0.0001, 1.5, 0.00000001, "")


class Lines:
    """A log that writes to a pipe."""

    def __init__(self, clock: Callable[[], float] = lambda: 784111777.0625) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)
        self.log = AccessLog(self.writer, clock)

    def read(self) -> list[str]:
        try:
            return os.read(self.reader, 1 << 20).decode("ascii").splitlines(keepends=True)
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    yield lines
    lines.close()


def check(lines: Lines, record: Record) -> dict[str, Any]:
    """One record becomes one line with the same values."""
    lines.log.add(record)
    lines.log.flush()
    (line,) = lines.read()
    assert line.endswith("}\n")
    assert line.isascii()
    assert line[:-1].isprintable()
    logged: dict[str, Any] = json.loads(line)
    assert logged.pop("time") == "1994-11-06T08:49:37.062Z"
    assert logged.pop("event") == "request"
    expected = record._asdict()
    expected["path"] = expected.pop("target").partition("?")[0]
    assert set(logged) == set(expected)
    times = {"receive_seconds", "application_seconds", "send_seconds"}
    assert {key: value for key, value in logged.items() if key not in times} == {
        key: value for key, value in expected.items() if key not in times
    }
    assert all(logged[key] == pytest.approx(expected[key], abs=1e-6) for key in times)
    return logged


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"',
        '","status":200,"x":"',
        "\n",
        '\r\n{"time":"now","event":"request"}\r\n',
        "\0\x1b[31m\x7f",
        "\\",
        "\\u0022",
        "\u2028\u2029\x85",
        "\xe9\xff",
        "\udcff",
        "x" * 10_000,
    ],
)
def test_a_client_cannot_forge_a_log_line(lines: Lines, text: str) -> None:
    check(lines, RECORD._replace(client=text, request_id=text, method=text, target=text))


@given(st.text(), st.text(), st.integers(0, 2**63), st.floats(0, 1e6))
def test_any_text_is_logged_as_one_line_of_json(target: str, request_id: str, size: int, seconds: float) -> None:
    lines = Lines()
    check(lines, RECORD._replace(target=target, request_id=request_id, received_bytes=size, send_seconds=seconds))
    lines.close()


def test_lines_are_buffered_until_a_flush_or_64_lines(lines: Lines) -> None:
    lines.log.add(RECORD)
    assert lines.read() == []
    lines.log.flush()
    assert len(lines.read()) == 1
    lines.log.flush()
    assert lines.read() == []
    for _ in range(70):
        lines.log.add(RECORD)
    assert len(lines.read()) == 64
    lines.log.flush()
    assert len(lines.read()) == 6


def test_a_log_that_cannot_be_written_raises_nothing() -> None:
    lines = Lines()
    os.close(lines.reader)
    for _ in range(100):
        lines.log.add(RECORD)
    lines.log.flush()
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device, not a path
        log = AccessLog(full.fileno())
        log.add(RECORD)
        log.flush()
    os.close(lines.writer)


def test_a_disabled_log_writes_nothing(lines: Lines) -> None:
    log = NoAccessLog()
    log.add(RECORD)
    log.flush()
    log.reopen()
    log.close()
    assert (log.wanted, lines.read()) == (False, [])


def test_each_line_has_its_own_time() -> None:
    seconds = iter([0.0, 0.999, 1.0, 59.9999])
    lines = Lines(lambda: next(seconds))
    for _ in range(4):
        lines.log.add(RECORD)
    lines.log.flush()
    assert [json.loads(line)["time"][17:] for line in lines.read()] == ["00.000Z", "00.999Z", "01.000Z", "59.999Z"]
    lines.close()


# --- A reader that stalls -----------------------------------------------------------------------------------


def test_a_shared_descriptor_keeps_its_flags() -> None:
    """The descriptor may be a shell's terminal: its other users expect it to block."""
    with Stalled() as pipe:
        log = AccessLog(pipe.writer)
        for _ in range(100):
            log.add(RECORD)
        log.flush()
        assert os.get_blocking(pipe.writer)


def test_a_stopped_terminal_loses_lines_but_does_not_block() -> None:
    controlling, terminal = os.openpty()
    log = AccessLog(terminal)
    for _ in range(10_000):
        log.add(RECORD)
    log.flush()
    assert log.lost
    assert os.read(controlling, 10) == b'{"time":"2'
    os.close(controlling)
    os.close(terminal)


def test_closing_the_log_waits_for_a_slow_reader() -> None:
    with Stalled() as pipe:
        log = AccessLog(pipe.writer)
        for _ in range(200):
            log.add(RECORD)
        with ThreadPoolExecutor() as reader:
            received = reader.submit(read_until_end, pipe.reader)
            log.close()
            os.write(pipe.writer, b"end")
        assert received.result().count(b"\n") == 200


def read_until_end(fd: int) -> bytes:
    data = b""
    while not data.endswith(b"end"):
        data += os.read(fd, 4096)
    return data


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_are_served_while_nobody_reads_the_log(serve: Serve, workers: str) -> None:
    """The server logs far more than the buffer holds. When the test reads again, the log reports the lost lines."""
    target, count = "/" * 3000, 1000
    with Stalled() as pipe:
        server = serve("-w", workers, "--threads", "2", stdout=pipe.writer)
        clients = [server.client() for _ in range(4)]  # so that more than one worker has connections
        for n in range(count):
            assert clients[n % 4].get(target).body == b"hello"
        fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 1 << 20)
        data, requests = b"", count

        def is_all_accounted_for() -> bool:
            nonlocal data, requests
            data += pipe.read()
            lost = sum(event["lines"] for event in server.events("log-lines-lost"))
            if lost and data.count(b"\n") + lost == requests:
                return True
            requests += 1
            return not server.get("/").body  # the request makes a worker write its log

        poll(is_all_accounted_for, "every line to be written or counted as lost")
    assert {json.loads(line)["path"] for line in data.splitlines()} == {target, "/"}


class UnreadServer:
    """A server on a unix socket, with standard streams set by shell redirections."""

    def __init__(self, folder: Path, redirections: str, stderr: int = subprocess.DEVNULL) -> None:
        self._path = folder / "socket"
        command = f"exec {sys.executable} -m wsgiserver tests.server.application -b unix:{self._path} {redirections}"
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(["sh", "-c", command], cwd=ROOT, stdin=null, stdout=null, stderr=stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0

    def status(self, target: str) -> int:
        with socket.socket(socket.AF_UNIX) as sock:
            poll(lambda: sock.connect_ex(str(self._path)) == 0, "the server to listen")
            return Client(sock).get(target).status


def test_failures_are_answered_while_nobody_reads_standard_error(tmp_path: Path) -> None:
    """Error events are long, and standard error is a pipe that is full after two of them."""
    with Stalled() as pipe:
        with UnreadServer(tmp_path, "--no-access-log", pipe.writer) as server:
            assert {server.status("/fail") for _ in range(100)} == {500}
        assert b'"started"' in pipe.read()


@pytest.mark.parametrize("redirections", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_replaced_by_dev_null(tmp_path: Path, redirections: str) -> None:
    """Otherwise a socket or pipe of the server could get these descriptors and receive the log."""
    with UnreadServer(tmp_path, redirections) as server:
        assert [server.status("/"), server.status("/fail"), server.status("/")] == [200, 500, 200]
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        for pid in (server.process.pid, *children):
            assert {Path(f"/proc/{pid}/fd/{fd}").readlink() for fd in range(3)} == {Path(os.devnull)}


# --- Files --------------------------------------------------------------------------------------------------


def test_several_workers_append_to_one_log_file(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text("before\n")
    logs = [AccessLog(str(path)), AccessLog(str(path))]  # two workers
    for _ in range(300):
        for log in logs:
            log.add(RECORD)
    for log in logs:
        log.close()
    before, *lines = path.read_text().splitlines()
    assert before == "before"
    assert [json.loads(line)["path"] for line in lines] == ["/"] * 600


def test_a_log_file_that_was_renamed_is_reopened(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.add(RECORD._replace(target="/1"))
    path.rename(tmp_path / "old")
    log.reopen()
    log.add(RECORD._replace(target="/2"))
    log.flush()
    assert json.loads((tmp_path / "old").read_text())["path"] == "/1"
    assert json.loads(path.read_text())["path"] == "/2"


def test_usr1_reopens_the_access_log_of_a_server(serve: Serve, tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "old"
    server = serve("--access-logfile", str(path), "-w", "2")
    server.get("/")
    poll(lambda: path.read_text().count("\n") == 1, "the request in the file")
    path.rename(old)
    server.signal(signal.SIGUSR1)
    poll(path.exists, "a new file")
    requests = 1

    def lines_in_new_file() -> int:
        nonlocal requests
        requests += 1
        server.get("/")
        return path.read_text().count("\n")

    poll(lines_in_new_file, "a request in the new file")
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    assert old.read_text().count("\n") + path.read_text().count("\n") == requests
    assert server.requests() == []


def test_a_log_file_that_cannot_be_reopened_stays_open_and_is_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "access.log"
    log = AccessLog(str(path))
    folder.rename(tmp_path / "moved")
    log.reopen()
    log.add(RECORD)
    log.flush()
    assert json.loads(capfd.readouterr().err)["event"] == "log-not-reopened"
    assert (tmp_path / "moved" / "access.log").read_text().count("\n") == 1


def test_a_log_on_standard_output_is_not_reopened(lines: Lines) -> None:
    lines.log.reopen()
    check(lines, RECORD)
