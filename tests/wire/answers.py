"""Reads responses from any source of bytes: strictly, and never past their end."""

import json
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPMessage, parse_headers
from typing import IO, Any, Protocol, cast

BODILESS = {100, 103, 204, 304}  # RFC 9112, section 6.3


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message = field(default_factory=HTTPMessage)
    body: bytes = b""
    version: str = "1.1"

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refused(self) -> str:
        """The name of the refusal in an error response of this project."""
        return str(self.json()["error"])


class Source(Protocol):
    """A binary file or a similar object. Each read is complete or ends with the source."""

    def readline(self, limit: int = -1, /) -> bytes: ...
    def read(self, size: int = -1, /) -> bytes: ...


def read_answer(source: Source, *, method: str = "GET") -> Answer:
    """Read one response, interim or final. Raises ConnectionError if the source ends too early."""
    line = _line(source)
    assert line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), line
    version, status = line[5:8].decode(), int(line.split()[1])
    headers = parse_headers(cast("IO[bytes]", source))
    return Answer(status, headers, _body(source, status, headers, method), version)


def _body(source: Source, status: int, headers: Message, method: str) -> bytes:
    if method == "HEAD" or status in BODILESS:
        return b""
    if headers["Transfer-Encoding"] == "chunked":
        return b"".join(_chunks(source))
    if "Content-Length" in headers:
        return _exactly(source, int(headers["Content-Length"]))
    return source.read()


def _chunks(source: Source) -> list[bytes]:
    chunks = []
    while size := int(_line(source), 16):
        chunks.append(_exactly(source, size))
        assert _exactly(source, 2) == b"\r\n"
    assert _exactly(source, 2) == b"\r\n"
    return chunks


def _line(source: Source) -> bytes:
    line = source.readline()
    if not line.endswith(b"\n"):
        raise ConnectionError(f"the connection ended after {line!r}")
    return line


def _exactly(source: Source, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise ConnectionError(f"the connection ended after {len(data)} of {size} bytes")
    return data
