"""Files passed to wsgi.file_wrapper, and the bytes that the server sends."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.wsgi.applications import (
    TEXT,
    Exchange,
    Start,
    answering,
    fail,
    read,
)
from wsgiserver.wsgi.filewrapper import FileWrapper
from wsgiserver.wsgi.gateway import ResponsePhase

SIZE = 100_000  # bytes: too many for one send with the head


def wrapped(file: Any, *, length: int | None = None, status: str = "200 OK", write: bytes = b"") -> Any:
    """Make an application that sends a file."""

    def application(environ: dict[str, Any], start_response: Start) -> Any:
        headers = [("Content-Length", str(length))] if length is not None else []
        send = start_response(status, headers if status[:3] in {"204", "304"} else TEXT + headers)
        if write:
            send(write)
        return environ["wsgi.file_wrapper"](file, 30_000)

    return application


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 10 + b"y" * (SIZE - 10))
    with path.open("rb") as file:
        yield file


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "small"
    path.write_bytes(b"x" * 10)
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("position", "length", "method", "minor", "framing", "sends"),
    [
        (0, None, "GET", 1, "100000", 2),
        (0, SIZE, "GET", 1, "100000", 2),
        (10, None, "GET", 1, "99990", 2),
        (10, SIZE - 10, "GET", 0, "99990", 2),
        (0, None, "GET", 0, "100000", 2),
        (0, None, "HEAD", 1, "none", 1),
        (0, SIZE, "HEAD", 1, "100000", 1),
    ],
)
def test_a_large_file_is_sent_without_reading_it(
    large: io.BufferedReader, position: int, length: int | None, method: str, minor: int, framing: str, sends: int
) -> None:
    large.seek(position)
    exchange = Exchange(wrapped(large, length=length), method=method, minor=minor)
    body = (b"x" * 10 + b"y" * (SIZE - 10))[position:] if method == "GET" else b""
    assert exchange.error is None
    assert (read(exchange)[2], exchange.framing) == (body, framing)
    assert (exchange.files, len(exchange.sends)) == (1 if body else 0, sends)
    assert (exchange.response.sent, exchange.response.keep_alive) == (len(body), True)
    assert exchange.response.phase is ResponsePhase.FINISHED
    assert large.closed


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_file_is_sent_with_a_status_that_has_no_body(large: io.BufferedReader, status: str) -> None:
    exchange = Exchange(wrapped(large, status=status))
    assert exchange.error is None
    assert (read(exchange)[2], exchange.files) == (b"", 0)


def test_a_small_file_is_sent_together_with_the_head(small: io.BufferedReader) -> None:
    exchange = Exchange(wrapped(small))
    assert (read(exchange)[2], exchange.framing, len(exchange.sends)) == (b"x" * 10, "10", 1)


class Pipe:
    """Has a length but no end: a read beyond the length waits forever."""

    def __init__(self, data: bytes) -> None:
        self._left = data
        self.reads: list[int] = []

    def read(self, size: int) -> bytes:
        self.reads.append(size)
        assert len(self._left) >= size, "this read would wait forever"
        block, self._left = self._left[:size], self._left[size:]
        return block


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("length", [0, 1, 29_999, 30_000, 65_535, 65_536, SIZE - 1])
@pytest.mark.parametrize("kind", ["regular", "in memory", "pipe"])
def test_no_more_of_a_file_is_sent_than_was_declared(
    large: io.BufferedReader, kind: str, length: int, minor: int
) -> None:
    """As for a range, or a file that has grown since its size was read."""
    data = large.read()
    large.seek(0)
    file = {"regular": large, "in memory": io.BytesIO(data), "pipe": Pipe(data)}[kind]
    exchange = Exchange(wrapped(file, length=length), minor=minor)
    assert exchange.error is None
    assert (read(exchange)[2], exchange.framing) == (data[:length], str(length))
    assert (exchange.response.sent, exchange.response.keep_alive) == (length, True)
    assert exchange.response.phase is ResponsePhase.FINISHED


def test_a_small_part_of_a_file_is_sent_together_with_the_head(large: io.BufferedReader) -> None:
    large.seek(5)
    exchange = Exchange(wrapped(large, length=10))
    assert exchange.wire.partition(b"\r\n\r\n")[2] == b"x" * 5 + b"y" * 5
    assert len(exchange.sends) == 1


def test_a_pipe_is_read_only_up_to_the_declared_length() -> None:
    pipe = Pipe(b"z" * 70_000)
    exchange = Exchange(wrapped(pipe, length=70_000))
    assert exchange.error is None
    assert pipe.reads == [30_000, 30_000, 10_000]


def test_bytes_written_before_a_file_count_towards_content_length(large: io.BufferedReader) -> None:
    exchange = Exchange(wrapped(large, length=11, write=b"w"))
    assert exchange.error is None
    assert exchange.wire.partition(b"\r\n\r\n")[2] == b"w" + b"x" * 10


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [
        ("HEAD", "200 OK", None),
        ("HEAD", "200 OK", 10),
        ("HEAD", "200 OK", 200_000),
        ("GET", "204 No Content", None),
        ("GET", "304 Not Modified", None),
    ],
)
def test_a_file_that_is_not_sent_is_not_read(method: str, status: str, length: int | None) -> None:
    pipe = Pipe(b"z" * 70_000)
    exchange = Exchange(wrapped(pipe, status=status, length=length), method=method)
    assert exchange.error is None
    assert (pipe.reads, read(exchange)[2], exchange.response.keep_alive) == ([], b"", True)


@pytest.mark.parametrize("kind", ["regular", "in memory"])
def test_a_file_shorter_than_declared_is_cut_off(large: io.BufferedReader, kind: str) -> None:
    data = large.read()
    large.seek(0)
    file = large if kind == "regular" else io.BytesIO(data)
    exchange = fail(wrapped(file, length=SIZE + 1), "1 bytes shorter", data)
    assert exchange.response.phase is ResponsePhase.HEAD_SENT
    assert exchange.response.sent == SIZE
    assert file.closed


def test_a_file_after_written_bytes_is_read(large: io.BufferedReader) -> None:
    """The declared length is not that of the file or is missing, so the server reads the file."""
    body = b"w" + b"x" * 10 + b"y" * (SIZE - 10)
    for length, framing in ((None, "chunked"), (SIZE + 1, "100001")):
        large.seek(0)
        exchange = Exchange(wrapped(os.fdopen(os.dup(large.fileno()), "rb"), length=length, write=b"w"))
        assert exchange.error is None
        assert (read(exchange)[2], exchange.framing, exchange.files) == (body, framing, 0)


def test_a_file_without_start_response_is_an_error_and_closed(large: io.BufferedReader) -> None:
    fail(lambda environ, _: environ["wsgi.file_wrapper"](large), "before start_response")
    assert large.closed


def test_the_head_of_a_file_response_is_checked_before_the_file_is_sent(large: io.BufferedReader) -> None:
    fail(wrapped(large, status="200 OK\r\nX: y"), "cannot be sent")


def test_a_file_object_in_memory_is_read_in_blocks() -> None:
    exchange = Exchange(answering(kind=lambda _: FileWrapper(io.BytesIO(b"x" * 10), 4)))
    assert exchange.sends[1:] == [b"4\r\nxxxx\r\n", b"4\r\nxxxx\r\n", b"2\r\nxx\r\n", b"0\r\n\r\n"]
