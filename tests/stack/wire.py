"""HTTP on the wire: one picture in every framing that a client may choose, sent piece by piece.

Client libraries choose pieces and framing of a body themselves, so these tests write the bytes. A `Wire` is a TCP
connection to a published port, or (Relay) one from inside the network of the stack, past nginx.
"""

import contextlib
import io
import itertools
import select
import socket
import ssl
import struct
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any, Protocol, Self

from tests.stack.programs import program
from tests.wire.answers import Answer, read_answer
from tests.wire.building import as_chunks

BLOCK = 64 * 1024
ANSWER_WITHIN = 90.0  # seconds; longer than web (60) and nginx (70) may wait, so that no answer means a hang
BOUNDARY = "mUvzbYpTaAGJ"


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    fields: dict[str, str]
    pieces: Iterable[bytes] = ()  # as they are given to the socket
    awaits_continue: bool = False
    version: str = "1.1"

    def head(self, host: str, token: str | None) -> bytes:
        fields = {"Host": host, **self.fields}
        if token:
            fields["Authorization"] = f"Token {token}"
        lines = [
            f"{self.method} {self.target} HTTP/{self.version}",
            *(f"{name}: {value}" for name, value in fields.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


@contextlib.contextmanager
def may_break() -> Iterator[None]:
    """The connection may be refused, reset or closed. A hang still raises TimeoutError, which is an OSError too."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError:
        pass


class Wire(Protocol):
    reader: IO[bytes]
    host: str

    def send(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...


class Tcp:
    """From this machine to a published port; with TLS, if `trust` is given."""

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

    def reset(self) -> None:
        """Close the connection with RST instead of FIN."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Tls(Tcp):
    """The same over TLS and HTTP/1.1, with any certificate; `version` and `cipher` (of 1.2) restrict the handshake."""

    def __init__(self, port: int, version: str = "", cipher: str = "") -> None:
        super().__init__(port)
        self.reader.close()
        try:
            tls = _context(version, cipher).wrap_socket(self._socket)
        except OSError:
            self._socket.close()
            raise
        self._socket, self.reader = tls, tls.makefile("rb")
        self.version, self.cipher = tls.version(), (tls.cipher() or ("",))[0]
        self.certificate = tls.getpeercert(binary_form=True) or b""


def _context(version: str, cipher: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.set_ciphers(f"{cipher or 'ALL'}:@SECLEVEL=0")  # so that the server refuses, not this side
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    return context


class Relay:
    """inside/relay.py in a container, which reaches services without published ports: one connection after the other.

    A start takes longer than most requests, so Stack.relay reuses idle relays.
    """

    def __init__(self, container: str) -> None:
        command = ["docker", "exec", "-i", container, *program("relay.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._is_taken = False

    @property
    def is_idle(self) -> bool:
        return not self._is_taken and self._process.poll() is None

    def connect(self, service: str, port: int) -> "Relayed":
        assert self.is_idle
        assert self._process.stdin
        assert self._process.stdout
        self._is_taken = True
        self._process.stdin.write(f"{service} {port}\n".encode())
        return Relayed(self, self._process.stdin, self._process.stdout)

    def release(self) -> None:
        self._is_taken = False

    def close(self) -> None:
        self._process.kill()  # `docker exec`; its program sees the end of stdin and ends too
        self._process.communicate()


class Relayed:
    """One connection through a relay."""

    def __init__(self, relay: Relay, writer: IO[bytes], source: IO[bytes]) -> None:
        self.host = "localhost"
        self._relay = relay
        self._writer = writer
        self._is_closed = False
        self.reader: IO[bytes] = io.BufferedReader(_Frames(source))

    def send(self, data: bytes) -> None:
        if data:  # an empty frame means the end
            self._frame(data)

    def _frame(self, data: bytes) -> None:
        for part in (len(data).to_bytes(4, "big"), data):
            view = memoryview(part)
            while view:  # the unbuffered pipe may take only a part
                view = view[self._writer.write(view) :]

    def close(self) -> None:
        """Release the relay for the next connection, if it still works."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._frame(b"")
            while self.reader.read(BLOCK):
                pass
        except OSError:  # the relay ended, or the server neither reads nor closes
            self._relay.close()
        self._relay.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Frames(io.RawIOBase):
    """The content of a relay's frames, until the empty one. Raises TimeoutError when nothing comes for too long."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._left = 0  # bytes of the current frame
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left == 0 and not self._is_over:
            length = b""
            while len(length) < 4 and (data := self._receive(4 - len(length))):
                length += data
            self._left = int.from_bytes(length, "big")
        self._is_over = self._left == 0
        if self._is_over:
            return 0
        data = self._receive(min(len(buffer), self._left))
        self._left -= len(data)
        self._is_over = not data
        buffer[: len(data)] = data
        return len(data)

    def _receive(self, size: int) -> bytes:
        if not select.select([self._source], [], [], ANSWER_WITHIN)[0]:
            raise TimeoutError
        return self._source.read(size)


def exchange(wire: Wire, request: Request, token: str | None) -> Answer:
    """Send the request, or as much as the server takes, and read the answer."""
    wire.send(request.head(wire.host, token))
    if request.awaits_continue:
        interim = read_answer(wire.reader)
        if interim.status != 100:
            return interim
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused meanwhile; the answer shows it
        for piece in request.pieces:
            wire.send(piece)
    return read_answer(wire.reader)


def pipeline(wire: Wire, requests: Iterable[Request], token: str | None) -> None:
    """Send all requests without waiting for answers; the end of one and the start of the next are one piece."""
    ready = b""
    for request in requests:
        ready += request.head(wire.host, token)
        for piece in request.pieces:
            wire.send(ready)
            ready = piece
    wire.send(ready)


# --- one picture, every framing ---------------------------------------------------------------------------------------

Shape = Callable[[str, bytes], Request]


def cut(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, of which there must be enough."""
    start = 0
    for size in sizes:
        if start >= len(data):
            return
        yield data[start : start + size]
        start += size


def form(files: dict[str, bytes]) -> Request:
    """A form that a browser would send: file name -> content."""
    return _form(_part(f'name="file"; filename="{name}"\r\nContent-Type: image/jpeg', files[name]) for name in files)


def _form(parts: Iterable[bytes]) -> Request:
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    fields = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(len(body))}
    return Request("POST", "/api/photos/", fields, [body])


def _part(parameters: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {parameters}\r\n\r\n".encode() + content + b"\r\n"


def with_length(name: str, picture: bytes) -> Request:
    fields = {"Content-Length": str(len(picture))}
    return Request("PUT", f"/api/photos/{name}", fields, cut(picture, itertools.repeat(BLOCK)))


def chunked(sizes: Callable[[], Iterable[int]], extension: bytes = b"", trailer: bytes = b"") -> Shape:
    def shape(name: str, picture: bytes) -> Request:
        fields = {"Transfer-Encoding": "chunked"}
        return Request("PUT", f"/api/photos/{name}", fields, as_chunks(cut(picture, sizes()), extension, trailer))

    return shape


def expecting_continue(name: str, picture: bytes) -> Request:
    fields = {"Content-Length": str(len(picture)), "Expect": "100-continue"}
    return Request("PUT", f"/api/photos/{name}", fields, [picture], awaits_continue=True)


def of_http_1_0(name: str, picture: bytes) -> Request:
    return replace(with_length(name, picture), version="1.0")


def multipart(name: str, picture: bytes) -> Request:
    return form({name: picture})


def multipart_without_file(name: str, picture: bytes) -> Request:
    """The picture in a field without a file name, as when a library gets `data` instead of `files`."""
    return _form([_part('name="file"', picture)])


def in_chunks(shape: Shape) -> Shape:
    """The same in chunks instead of with a length."""

    def chunked_shape(name: str, picture: bytes) -> Request:
        request = shape(name, picture)
        fields = {key: value for key, value in request.fields.items() if key != "Content-Length"}
        pieces = as_chunks(cut(b"".join(request.pieces), itertools.repeat(BLOCK)))
        return replace(request, fields=fields | {"Transfer-Encoding": "chunked"}, pieces=pieces)

    return chunked_shape


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
    "expect, chunked": in_chunks(expecting_continue),
    "multipart": multipart,
    "multipart, chunked": in_chunks(multipart),
}
