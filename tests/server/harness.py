"""What the server's tests share: limits of this process, patience, and a raw HTTP client.

`poll` waits for a state instead of sleeping until it may be there; every wait ends in an error that says for what.
"""

import json
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self, TypeVar

PATIENCE = 60.0  # seconds: a busy machine is no failure
T = TypeVar("T")


def poll(look: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + patience
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {patience} s for {what}"
        time.sleep(0.01)
    return seen


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    """Let the kernel refuse this process more: RLIMIT_FSIZE stands for a full disk, RLIMIT_NOFILE for descriptors."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


class Answer(NamedTuple):
    """One response as it was read. `fields` has lower-case names; a repeated one keeps its last value."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def refused(self) -> str:
        """The name of the refusal in one of the server's own answers."""
        return str(json.loads(self.body)["error"])


class Client:
    """A connection that says exactly what it is told to, and reads answers strictly."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> Self:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def get(self, target: str, *fields: str) -> Answer:
        return self.send(request("GET", target, *fields)).answer()

    def has_ended(self) -> bool:
        """Whether the server has ended the connection, and left nothing to read."""
        if self._buffer or not select.select([self.socket], [], [], 0)[0]:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def answer(self, *, method: str = "GET") -> Answer:
        """Read one answer, and not a byte more."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1", lines[0]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
        return Answer(int(status), fields, self._body(int(status), fields, method))

    def rest(self) -> bytes:
        """Read until the server ends the connection."""
        data = self._buffer
        self._buffer = b""
        while received := self.socket.recv(1 << 16):
            data += received
        return data

    def _body(self, status: int, fields: dict[str, str], method: str) -> bytes:
        if method == "HEAD" or status in {100, 103, 204, 304}:
            return b""
        if fields.get("transfer-encoding") == "chunked":
            return self._chunks()
        if "content-length" in fields:
            return self._exactly(int(fields["content-length"]))
        return self.rest()

    def _chunks(self) -> bytes:
        pieces = []
        while size := int(self._until(b"\r\n"), 16):
            pieces.append(self._exactly(size))
            assert self._exactly(2) == b"\r\n"
        assert self._exactly(2) == b"\r\n"
        return b"".join(pieces)

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._receive()
        data, _, self._buffer = self._buffer.partition(end)
        return data + end

    def _exactly(self, size: int) -> bytes:
        pieces, missing = [self._buffer], size - len(self._buffer)
        while missing > 0:
            pieces.append(self._received())
            missing -= len(pieces[-1])
        data = b"".join(pieces)
        self._buffer = data[size:]
        return data[:size]

    def _receive(self) -> None:
        self._buffer += self._received()

    def _received(self) -> bytes:
        received = self.socket.recv(1 << 18)
        if not received:
            raise EOFError(f"the connection ended after {self._buffer!r}")
        return received


def request(method: str, target: str, *fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def sized(target: str, body: bytes, *fields: str) -> bytes:
    return request("POST", target, f"Content-Length: {len(body)}", *fields, body=body)


def chunks(body: bytes, size: int) -> bytes:
    pieces = (body[n : n + size] for n in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def chunked(target: str, body: bytes, *fields: str, size: int = 65536) -> bytes:
    return request("POST", target, "Transfer-Encoding: chunked", *fields, body=chunks(body, size))
