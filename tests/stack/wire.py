"""HTTP as it stands on the wire: one picture in every framing a client may choose, sent piece by piece.

Client libraries decide for themselves how a body is cut and framed, so these tests write the bytes. A `Wire` is a TCP
connection to a published port, or (Relay) one that starts inside the stack's own network, past nginx.
"""

import contextlib
import http.client
import itertools
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol, Self

BLOCK = 64 * 1024
ANSWER_WITHIN = 60.0  # seconds
BOUNDARY = "mUvzbYpTaAGJ"

# Run inside a container: stdin to host:port, and what comes back to stdout.
_RELAY = """
import os, socket, sys, threading
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def back():
    try:
        while data := peer.recv(65536):
            os.write(1, data)
    except OSError:
        pass
    os._exit(0)
threading.Thread(target=back).start()
while data := os.read(0, 65536):
    peer.sendall(data)
os._exit(0)
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    fields: dict[str, str]
    pieces: Iterable[bytes] = ()  # as they are handed to the socket
    awaits_continue: bool = False

    def head(self, host: str, token: str | None) -> bytes:
        fields = {"Host": host, **self.fields}
        if token:
            fields["Authorization"] = f"Token {token}"
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode()


class Wire(Protocol):
    reader: IO[bytes]
    host: str

    def send(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class Tcp:
    """From this machine to a published port; through TLS, if there is something to trust."""

    def __init__(self, port: int, trust: ssl.SSLContext | None = None) -> None:
        self.host = f"127.0.0.1:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if trust:
            self._socket = trust.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self.reader: IO[bytes] = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self.reader.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Relay:
    """From inside a container to a service that publishes no port."""

    def __init__(self, container: str, service: str, port: int = 8000) -> None:
        self.host = "localhost"
        command = ["docker", "exec", "-i", container, "python", "-c", _RELAY, service, str(port)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin
        assert self._process.stdout
        self._writer: IO[bytes] = self._process.stdin
        self.reader: IO[bytes] = self._process.stdout

    def send(self, data: bytes) -> None:
        self._writer.write(data)
        self._writer.flush()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._writer.close()
        self.reader.close()
        self._process.wait(timeout=ANSWER_WITHIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def exchange(wire: Wire, request: Request, token: str | None) -> Answer:
    """Send all of the request, or as much as the other side takes, and read the answer."""
    wire.send(request.head(wire.host, token))
    if request.awaits_continue:
        interim = read_answer(wire)
        if interim.status != 100:
            return interim
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused meanwhile; the answer tells
        for piece in request.pieces:
            wire.send(piece)
    return read_answer(wire)


def read_answer(wire: Wire) -> Answer:
    """One answer, interim ones included. Raises ConnectionError when there is none."""
    line = wire.reader.readline()
    if not line:
        raise ConnectionError("closed without an answer")
    status = int(line.split()[1])
    headers = http.client.parse_headers(wire.reader)
    return Answer(status, headers, b"" if status == 100 else _answered_body(wire.reader, headers))


def _answered_body(reader: IO[bytes], headers: http.client.HTTPMessage) -> bytes:
    if "Transfer-Encoding" not in headers:
        return reader.read(int(headers.get("Content-Length", -1)))
    body = b""
    while size := int(reader.readline(), 16):
        body += reader.read(size)
        reader.readline()
    reader.readline()
    return body


# --- one picture, every framing ---------------------------------------------------------------------------------------

Shape = Callable[[str, bytes], Request]


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, which should not run out."""
    start = 0
    for size in sizes:
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension, data)


def _chunks(data: bytes, sizes: Iterable[int], extension: bytes = b"", trailer: bytes = b"") -> Iterator[bytes]:
    for piece in cut(data, sizes):
        yield chunk(piece, extension)
    yield b"0\r\n" + trailer + b"\r\n"


def _form(name: str, picture: bytes) -> bytes:
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


def with_length(name: str, picture: bytes) -> Request:
    fields = {"Content-Length": str(len(picture))}
    return Request("PUT", f"/api/photos/{name}", fields, cut(picture, itertools.repeat(BLOCK)))


def chunked(sizes: Callable[[], Iterable[int]], extension: bytes = b"", trailer: bytes = b"") -> Shape:
    def shape(name: str, picture: bytes) -> Request:
        fields = {"Transfer-Encoding": "chunked"}
        return Request("PUT", f"/api/photos/{name}", fields, _chunks(picture, sizes(), extension, trailer))

    return shape


def expecting_continue(name: str, picture: bytes) -> Request:
    fields = {"Content-Length": str(len(picture)), "Expect": "100-continue"}
    return Request("PUT", f"/api/photos/{name}", fields, [picture], awaits_continue=True)


def chunked_expecting_continue(name: str, picture: bytes) -> Request:
    fields = {"Transfer-Encoding": "chunked", "Expect": "100-continue"}
    pieces = _chunks(picture, itertools.repeat(BLOCK))
    return Request("PUT", f"/api/photos/{name}", fields, pieces, awaits_continue=True)


def multipart(name: str, picture: bytes) -> Request:
    body = _form(name, picture)
    fields = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(len(body))}
    return Request("POST", "/api/photos/", fields, [body])


def chunked_multipart(name: str, picture: bytes) -> Request:
    body = _form(name, picture)
    fields = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Transfer-Encoding": "chunked"}
    return Request("POST", "/api/photos/", fields, _chunks(body, itertools.repeat(BLOCK)))


def _blocks() -> Iterable[int]:
    return itertools.repeat(BLOCK)


def _bytes_first() -> Iterable[int]:
    return itertools.chain(itertools.repeat(1, 300), itertools.repeat(BLOCK))


def _odd_sizes() -> Iterable[int]:
    return itertools.cycle([1, 4095, 65537, 3, 131071, 16383, 7])


CHUNKED = chunked(_blocks)
SHAPES: dict[str, Shape] = {
    "length": with_length,
    "chunked": CHUNKED,
    "chunked, single bytes first": chunked(_bytes_first),
    "chunked, odd sizes, extensions, trailers": chunked(
        _odd_sizes, extension=b';name="a \\" b";flag', trailer=b"X-Checksum: none\r\nX-Other: 1\r\n"
    ),
    "expect": expecting_continue,
    "expect, chunked": chunked_expecting_continue,
    "multipart": multipart,
    "multipart, chunked": chunked_multipart,
}
