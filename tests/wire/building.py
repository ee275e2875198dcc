"""Requests and chunks as bytes on the wire."""

from collections.abc import Iterable, Iterator


def request(
    method: str, target: str, *fields: str, body: bytes = b"", version: str = "1.1", host: str = "test"
) -> bytes:
    """Build a request. Each field can be any text."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def sized(target: str, body: bytes, *fields: str) -> bytes:
    return request("POST", target, f"Content-Length: {len(body)}", *fields, body=body)


def chunked(target: str, body: bytes, *fields: str, size: int = 65536) -> bytes:
    return request("POST", target, "Transfer-Encoding: chunked", *fields, body=chunks(body, size))


def chunks(body: bytes, size: int) -> bytes:
    """Build a chunked body with chunks of this size."""
    return b"".join(as_chunks(body[start : start + size] for start in range(0, len(body), size)))


def as_chunks(pieces: Iterable[bytes], extension: bytes = b"", trailer: bytes = b"") -> Iterator[bytes]:
    """Yield each piece as a chunk, then the last chunk with the lines of the trailer."""
    for piece in pieces:
        yield chunk(piece, extension)
    yield b"0\r\n" + trailer + b"\r\n"


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)
