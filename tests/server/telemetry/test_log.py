"""Lines that are written without waiting: events, a reader that stalls, and files that cannot be opened."""

import fcntl
import json
import os
import select
import threading
from pathlib import Path
from typing import Self

import pytest

from wsgiserver.telemetry.log import MAX_PENDING, Sink, check_file, event


def test_events(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    event("happened", text='a"b\n\u20ac', number=1.5, count=3)
    monkeypatch.setattr("sys.stderr", None)
    event("again")
    first, second = map(json.loads, capfd.readouterr().err.splitlines())
    assert (first["event"], first["pid"], first["text"]) == ("happened", os.getpid(), 'a"b\n\u20ac')
    assert (first["number"], first["count"]) == (1.5, 3)
    assert second["event"] == "again"


# --- A reader that stalls -----------------------------------------------------------------------------------


class Stalled:
    """A pipe, as small as the kernel makes them, that nobody reads until `read` is called."""

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
def test_what_does_not_fit_is_kept_and_comes_later(length: int, *, never_blocks: bool) -> None:
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


def test_what_is_too_much_is_lost_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    line = "x" * 999 + "\n"
    with Stalled() as pipe:
        sink = Sink("test", pipe.writer)
        for _ in range(3000):
            sink.write([line])
        kept = MAX_PENDING / 1000
        assert 2900 - kept < sink.lost < 3000 - kept
        data = b""
        while piece := pipe.read():
            data += piece
            sink.push()
        sink.write(["the end\n"])
        assert (data + pipe.read()).decode() == line * (3000 - sink.lost) + "the end\n"
        said = [json.loads(said) for said in capfd.readouterr().err.splitlines()]
        assert sum(each["lines"] for each in said) == sink.lost
        assert {(each["event"], each["log"]) for each in said} == {("log-lines-lost", "test")}


def test_threads_write_at_once() -> None:
    """Events come from any thread; once, two of them took the same piece, and the worker ended."""
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


def test_a_reader_that_is_gone_costs_lines_and_no_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink("test", writer)
    sink.write(["one\n", "two\n"])
    sink.write(["three\n"])
    os.close(writer)
    assert sink.lost == 3


def test_what_is_kept_is_not_a_childs_to_write() -> None:
    with Stalled() as pipe:
        sink = Sink("test", pipe.writer)
        sink.write(["x" * 4000 + "\n", "kept\n"] * 3)
        sink.forked()
        pipe.read()
        sink.write(["new\n"])
        assert pipe.read() == b"new\n"


# --- Files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "missing/access.log", "."])
def test_a_file_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"No such file|Is a directory"):
        check_file(str(tmp_path / name) if name else "")


def test_a_pipe_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        check_file(str(tmp_path / "pipe"))
