"""Log lines written without blocking: events, a stalled reader, and files that cannot be opened."""

import fcntl
import json
import os
import select
import threading
from pathlib import Path
from typing import Self

import pytest

from wsgiserver.telemetry.log import MAX_PENDING, Sink, check_file, event


def test_events_are_lines_of_json(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    event("happened", text='a"b\n\u20ac', number=1.5, count=3)
    monkeypatch.setattr("sys.stderr", None)
    event("again")
    first, second = map(json.loads, capfd.readouterr().err.splitlines())
    assert (first["event"], first["pid"], first["text"]) == ("happened", os.getpid(), 'a"b\n\u20ac')
    assert (first["number"], first["count"]) == (1.5, 3)
    assert second["event"] == "again"


# --- A reader that stalls -----------------------------------------------------------------------------------


class Stalled:
    """The smallest pipe that the kernel allows, unread until `read` is called."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)
        os.close(self.writer)

    def read(self) -> bytes:
        data = b""
        while select.select([self.reader], [], [], 0)[0] and (piece := os.read(self.reader, 1 << 16)):
            data += piece
        return data


@pytest.mark.parametrize("never_blocks", [True, False])
@pytest.mark.parametrize("length", [10, 1000, 4095, 4096, 4097, 10_000])
def test_lines_that_do_not_fit_into_the_pipe_are_written_later(length: int, *, never_blocks: bool) -> None:
    lines = [f"{n:x}".ljust(length - 1, ".") + "\n" for n in range(100)]
    with Stalled() as pipe:
        os.set_blocking(pipe.writer, not never_blocks)
        sink = Sink("test", pipe.writer, never_blocks=never_blocks)
        for n in range(0, 100, 10):
            sink.write(lines[n : n + 10])
        data = b""
        while piece := pipe.read():
            data += piece
            sink.push()
        assert data.decode() == "".join(lines)
        assert sink.lost == 0


def test_lines_beyond_the_limit_are_dropped_and_their_number_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    line = "x" * 999 + "\n"
    with Stalled() as pipe:
        sink = Sink("test", pipe.writer)
        for _ in range(3000):
            sink.write([line])
        pending = MAX_PENDING / 1000
        assert 2900 - pending < sink.lost < 3000 - pending
        data = b""
        while piece := pipe.read():
            data += piece
            sink.push()
        sink.write(["the end\n"])
        assert (data + pipe.read()).decode() == line * (3000 - sink.lost) + "the end\n"
        events = [json.loads(text) for text in capfd.readouterr().err.splitlines()]
        assert sum(event["lines"] for event in events) == sink.lost
        assert {(event["event"], event["log"]) for event in events} == {("log-lines-lost", "test")}


def test_threads_can_write_at_the_same_time() -> None:
    """Any thread can log events. Once, two threads took the same piece, and the worker ended."""
    reader, writer = os.pipe()
    sink = Sink("test", writer)
    failed: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            for n in range(500):
                sink.write([f"{thread} {n}\n"])
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(writer)
    lines = b"".join(iter(lambda: os.read(reader, 1 << 16), b"")).decode().splitlines()
    os.close(reader)
    assert failed == []
    assert sorted(lines) == sorted(f"{thread} {n}" for thread in range(4) for n in range(500))


def test_a_reader_that_has_gone_causes_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink("test", writer)
    sink.write(["one\n", "two\n"])
    sink.write(["three\n"])
    os.close(writer)
    assert sink.lost == 3


def test_a_forked_child_does_not_write_the_pending_lines_of_its_parent() -> None:
    with Stalled() as pipe:
        sink = Sink("test", pipe.writer)
        sink.write(["x" * 4000 + "\n", "kept\n"] * 3)
        sink.forked()
        pipe.read()
        sink.write(["new\n"])
        assert pipe.read() == b"new\n"


# --- Files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "missing/access.log", "."])
def test_a_log_file_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"No such file|Is a directory"):
        check_file(str(tmp_path / name) if name else "")


def test_a_named_pipe_without_a_reader_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        check_file(str(tmp_path / "pipe"))
