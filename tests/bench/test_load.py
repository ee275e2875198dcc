"""The load sends what it says, and believes only an answer that proves it. Nothing here measures time."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from bench.load import PATIENCE, downloads, percentiles, read_answer, upload_request, uploads
from bench.workloads import read_wrk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(("size", "chunk"), [(10_000, 8192), (65536, 65536), (3, 1), (1000, 0)])
def test_an_upload_is_framed_with_a_length_or_in_chunks(size: int, chunk: int) -> None:
    pieces, digest = upload_request("/upload", size, chunk)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    if chunk:
        assert b"Transfer-Encoding: chunked" in head
        sizes = []
        payload = b""
        while match := re.match(rb"([0-9a-f]+)\r\n", body):
            length = int(match[1], 16)
            payload += body[match.end() : match.end() + length]
            assert body[match.end() + length :][:2] == b"\r\n"
            body = body[match.end() + length + 2 :]
            sizes.append(length)
        assert body == b""
        assert sizes.pop() == 0
        assert set(sizes[:-1]) <= {chunk}
    else:
        assert b"Content-Length: %d" % size in head
        payload = body
    assert len(payload) == size
    assert hashlib.sha256(payload).hexdigest() == digest


@pytest.mark.parametrize(
    ("sent", "body", "kept"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\nhi", b"hi", True),
        (HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", b"hi", False),
        (HEAD + b"Content-Length: 2\r\nConnection: Close\r\n\r\nhi", b"hi", False),
        (HEAD + b"\r\nup to the end", b"up to the end", False),
        (HEAD + b"Content-Length: 0\r\n\r\n", b"", True),
    ],
)
def test_a_response_is_read_to_its_end(sent: bytes, body: bytes, kept: bool) -> None:
    here, there = socket.socketpair()
    with here, there:
        there.sendall(sent)
        if b"Content-Length" not in sent:
            there.shutdown(socket.SHUT_WR)
        assert read_answer(here) == (200, body, kept)


def test_a_missing_response_is_an_error() -> None:
    here, there = socket.socketpair()
    with here:
        there.close()
        with pytest.raises(ConnectionError):
            read_answer(here)


class Echo:
    """A server that answers each connection's first request with `answer`, or with the digest of its body."""

    def __init__(self, answer: bytes | None = None) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                data = b""
                while b"\r\n\r\n" not in data:  # a close with something unread would destroy the answer
                    data += sock.recv(65536)
                sock.sendall(self._answer if self._answer is not None else self._digest(sock, data))

    def _digest(self, sock: socket.socket, data: bytes) -> bytes:
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]  # it is there
        while len(body) < length:
            body += sock.recv(65536)
        text = hashlib.sha256(body).hexdigest() + " 0.25"
        return HEAD + f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode("ascii")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def test_an_upload_counts_if_the_response_has_its_digest(echo: Echo) -> None:
    seen = uploads(echo.port, "/upload", 1000, 0, clients=2, seconds=0.0)
    assert (seen["count"], seen["wrong"], seen["digest"]) == (2, 0, 0.5)


@pytest.mark.parametrize("answer", [HEAD + b"Content-Length: 5\r\n\r\nother", HEAD[:10], b""])
def test_an_upload_without_its_digest_in_the_response_is_lost(answer: bytes) -> None:
    server = Echo(answer)
    seen = uploads(server.port, "/upload", 10, 0, clients=1, seconds=PATIENCE)
    server.close()
    assert (seen["count"], seen["wrong"]) == (0, 1)


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (HEAD + b"Content-Length: 4\r\n\r\nfour", True),
        (HEAD + b"Content-Length: 4\r\n\r\nfou", False),
        (HEAD + b"\r\nfour", True),
        (HEAD + b"\r\nfou", False),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n", True),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n", False),
    ],
)
def test_a_download_counts_if_it_is_complete(answer: bytes, whole: bool) -> None:
    server = Echo(answer)
    seen = downloads(server.port, "/file", 4, clients=1, seconds=0.0)
    server.close()
    assert (seen["count"], seen["wrong"]) == ((1, 0) if whole else (0, 1))


def test_percentiles_are_computed() -> None:
    assert percentiles([float(number) for number in range(1, 101)]) == {"p50": 51.0, "p99": 100.0}
    assert percentiles([7.0]) == {"p50": 7.0, "p99": 7.0}
    assert percentiles([])["p99"] == float("inf")


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("  188974 requests in 3.00s, 25.1MB read", (188974, 3.0)),
        ("  10 requests in 900.00ms, 25.1MB read", (10, 0.9)),
        ("unable to connect", (0, 0.0)),
    ],
)
def test_the_output_of_wrk_is_parsed(output: str, read: tuple[int, float]) -> None:
    assert read_wrk(output) == read
