"""What arrives as HTTP/2 goes on as HTTP/1.1, and both have to be the same message (RFC 9113, sections 8.1.1 and 10.3).

In HTTP/2 nothing has to be found by its end: frames say what a body is, and field values might hold anything. So each
message here says something about itself that its frames do not bear out, or has in it what would be the next request if
it was written out as HTTP/1.1. A second request, the marker, follows on the same connection. Proven for both servers,
buffered and streamed: for one stream the application sees one request with the very body that the DATA frames hold; or
it sees none, or one that it can tell is not whole, and the client hears of it (an answer of 4xx, RST_STREAM or GOAWAY).
What the fields of one message say reaches no other, and no field of a name that only a proxy may use gets through.
"""

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.stack import http2
from tests.stack.echo import Backends, Edge
from tests.stack.http2 import Http2, Line, Stream
from tests.stack.stack import Stack, eventually
from tests.stack.test_15_boundary import FEW_NAMES, check_boundary
from tests.stack.test_16_smuggling import NAIVE, WAYS, is_nginx_s, path_of

STREAMED = [way for way in WAYS if "streamed" in way]
# In messages, as in test_16_smuggling.py: a key for the paths of one exchange, and what comes before it on the way.
KEY, PREFIX = b"K" * 32, b"@"
FIRST, MARKER, BODY = 1, 3, b"hello"  # the first two streams of a client; what most bodies are
FEW = 5  # streams that one client may have open, where that is limited
SMUGGLED = b"x-smuggled"
HIDDEN = b"GET /api/%s/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n" % KEY
INJECTED = b"\r\n%s: y\r\n" % SMUGGLED
PSEUDO: dict[str, bytes | None] = {
    "method": b"PUT",
    "scheme": b"https",
    "authority": b"localhost",
    "path": b"@%s/first" % KEY,
}


@dataclass(frozen=True)
class Message:
    """The lines of its head, and the frames after that."""

    lines: tuple[Line, ...]
    frames: bytes
    cuts: int = 1  # frames of the head
    is_ended: bool = True  # the head

    @property
    def body(self) -> bytes:
        return http2.content(self.frames, FIRST)

    def sent(self, way: str, key: bytes) -> bytes:
        def settled(text: bytes) -> bytes:
            return text.replace(KEY, key).replace(PREFIX, WAYS[way][1].encode())

        lines = [line if isinstance(line, bytes) else (settled(line[0]), settled(line[1])) for line in self.lines]
        head = http2.headers(FIRST, lines, is_all=not self.frames, cuts=self.cuts, is_ended=self.is_ended)
        return head + self.frames.replace(KEY, key)


def message(
    *lines: Line, frames: bytes | None = None, before: tuple[Line, ...] = (), cuts: int = 1, **pseudo: bytes | None
) -> Message:
    """Five bytes of body under these lines. A pseudo-field that is None is left out."""
    own = [(b":" + name.encode(), value) for name, value in {**PSEUDO, **pseudo}.items() if value is not None]
    return Message((*before, *own, *lines), http2.data(FIRST, BODY) if frames is None else frames, cuts)


def length(value: bytes | int, *more: Line, body: bytes = BODY) -> Message:
    """A body under a length that may be wrong."""
    text = value if isinstance(value, bytes) else b"%d" % value
    return message((b"content-length", text), *more, frames=http2.data(FIRST, body))


def bodiless(*lines: Line) -> Message:
    return message(*lines, frames=b"")


def trailed(*lines: Line) -> Message:
    return message(frames=http2.data(FIRST, BODY, is_all=False) + http2.headers(FIRST, lines))


# What is in a dynamic table is told by number; the first to come there has this one.
LATEST = bytes([0x80 | 62])
CRLF_IN_HUFFMAN = b"\x88\xff\xff\xff\xf7\xff\xff\xff\xcf"  # RFC 7541, appendix B

# Why a field does no harm.
NOT_READ = "nginx does not read it, nor send it on"

# A message -> the section of RFC 9113 that it is about, and what becomes of it in each of WAYS.
MESSAGES: dict[str, tuple[Message, str, str]] = {
    # --- sound, so that the table says something
    "no length": (message(), "8.1", "first:5 marker:0"),
    "a length": (length(5), "8.1.1", "first:5 marker:0"),
    "no body": (bodiless(), "8.1", "first:0 marker:0"),
    "a body of nothing": (message(frames=http2.data(FIRST, b"")), "8.1", "first:0 marker:0"),
    "a request in a body": (message(frames=http2.data(FIRST, HIDDEN)), "10.3", "first:78 marker:0"),
    "a request in a body with a length": (length(len(HIDDEN), body=HIDDEN), "10.3", "first:78 marker:0"),
    "chunks in a body": (message(frames=http2.data(FIRST, b"0\r\n\r\n" + HIDDEN)), "8.2.2", "first:83 marker:0"),
    "a head in five frames": (message(cuts=5), "6.10", "first:5 marker:0"),
    # --- lengths that the frames do not bear out
    "a length that is too short": (length(4), "8.1.1", "nginx:400 marker:0"),
    "one that is too short for a request": (length(20, body=HIDDEN), "8.1.1", "nginx:400 marker:0"),
    "one that is reached before the last frame": (
        message((b"content-length", b"5"), frames=http2.data(FIRST, BODY, HIDDEN)),
        "8.1.1",
        "nginx:400 marker:0",
    ),
    "a length that is too long": (length(6), "8.1.1", "nginx:400 marker:0"),
    "one that is too long by a request": (length(5 + len(HIDDEN)), "8.1.1", "nginx:400 marker:0"),
    "a length and no body": (bodiless((b"content-length", b"5")), "8.1.1", "nginx:400 marker:0"),
    "a length and a body of nothing": (length(5, body=b""), "8.1.1", "nginx:400 marker:0"),
    "a length that padding would fill": (
        message((b"content-length", b"10"), frames=http2.data(FIRST, BODY, padding=4)),
        "8.1.1",
        "nginx:400 marker:0",
    ),
    "two lengths, the same": (length(5, (b"content-length", b"5")), "8.1.1", "nginx:400 marker:0"),
    "two lengths": (length(5, (b"content-length", b"0")), "8.1.1", "nginx:400 marker:0"),
    "two lengths, the other way round": (length(0, (b"content-length", b"5")), "8.1.1", "nginx:400 marker:0"),
    "a list of lengths": (length(b"5, 5"), "8.1.1", "nginx:400 marker:0"),
    "a positive length": (length(b"+5"), "8.1.1", "nginx:400 marker:0"),
    "a negative length": (length(b"-5"), "8.1.1", "nginx:400 marker:0"),
    "a length of -1": (length(b"-1"), "8.1.1", "nginx:400 marker:0"),
    "a hexadecimal length": (length(b"0x5"), "8.1.1", "nginx:400 marker:0"),
    "a length with a zero": (length(b"05"), "8.1.1", "first:5 marker:0"),
    "a word for a length": (length(b"five"), "8.1.1", "nginx:400 marker:0"),
    "an empty length": (length(b""), "8.1.1", "nginx:400 marker:0"),
    "a length beyond 64 bits": (length(b"18446744073709551621"), "8.1.1", "nginx:400 marker:0"),
    "a space and a length": (length(b" 5"), "8.2.1", "nginx:400 marker:0"),
    "a length and a tab": (length(b"5\t"), "8.2.1", "nginx:400 marker:0"),
    "an underscore in content_length": (
        message((b"content_length", b"0"), frames=http2.data(FIRST, HIDDEN)),
        "8.2.1",
        "first:78 marker:0",
    ),
    # --- field lines: what would be more of them, if it was written out
    "expect": (message((b"expect", b"100-continue")), "8.1", "first:5 marker:0"),
    "CR LF in a value": (message((b"x", b"y" + INJECTED)), "8.2.1", "nginx:400 marker:0"),
    "a request in a value": (message((b"x", b"y\r\n\r\n" + HIDDEN)), "8.2.1", "nginx:400 marker:0"),
    "a coding in a value": (message((b"x", b"y\r\ntransfer-encoding: chunked")), "8.2.1", "nginx:400 marker:0"),
    "CR in a value": (message((b"x", b"y\r%s: y" % SMUGGLED)), "8.2.1", "nginx:400 marker:0"),
    "LF in a value": (message((b"x", b"y\n%s: y" % SMUGGLED)), "8.2.1", "nginx:400 marker:0"),
    "NUL in a value": (message((b"x", b"y\x00z")), "8.2.1", "nginx:400 marker:0"),
    "CR LF in a cookie": (message((b"cookie", b"y" + INJECTED)), "8.2.1", "nginx:400 marker:0"),
    "CR LF in Huffman's code": (message(b"\x00" + http2.string(b"x") + CRLF_IN_HUFFMAN), "8.2.1", "nginx:400 marker:0"),
    "CR LF in a name": (message((b"x: y" + INJECTED + b"z", b"y")), "8.2.1", "nginx:400 marker:0"),
    "LF in a name": (message((b"x\n%s" % SMUGGLED, b"y")), "8.2.1", "nginx:400 marker:0"),
    "NUL in a name": (message((b"x\x00", b"y")), "8.2.1", "nginx:400 marker:0"),
    "a colon in a name": (message((b"%s: y" % SMUGGLED, b"y")), "8.2.1", "nginx:400 marker:0"),
    "a colon that ends a name": (message((b"%s:" % SMUGGLED, b"y")), "8.2.1", "nginx:400 marker:0"),
    "a space in a name": (message((b"content-length ", b"0")), "8.2.1", "nginx:400 marker:0"),
    "capital letters in a name": (message((b"X-Smuggled", b"y")), "8.2.1", "nginx:400 marker:0"),
    "capital letters in the name of a length": (message((b"Content-Length", b"0")), "8.2.1", "nginx:400 marker:0"),
    "an empty name": (message((b"", b"y")), "8.2.1", "goaway:PROTOCOL_ERROR"),
    "a control byte in a value": (message((b"x", b"y\x01z")), "8.2.1", "server:400 marker:0"),
    # --- pseudo-fields
    "no :method": (message(method=None), "8.3.1", "nginx:400 marker:0"),
    "no :scheme": (message(scheme=None), "8.3.1", "nginx:400 marker:0"),
    "no :path": (message(path=None), "8.3.1", "nginx:400 marker:0"),
    "no :authority": (message(authority=None), "8.3.1", "nginx:400 marker:0"),
    "host for :authority": (message((b"host", b"localhost"), authority=None), "8.3.1", "first:5 marker:0"),
    "host and :authority": (message((b"host", b"localhost")), "8.3.1", "first:5 marker:0"),
    "host against :authority": (message((b"host", b"evil.example")), "8.3.1", "nginx:400 marker:0"),
    "host with a port against :authority": (message((b"host", b"localhost:1")), "8.3.1", "nginx:400 marker:0"),
    "two hosts": (message((b"host", b"localhost"), (b"host", b"localhost")), "8.3.1", "nginx:400 marker:0"),
    "two :method": (message((b":method", b"GET")), "8.3", "nginx:400 marker:0"),
    "two :scheme": (message((b":scheme", b"https")), "8.3", "nginx:400 marker:0"),
    "two :authority": (message((b":authority", b"localhost")), "8.3", "nginx:400 marker:0"),
    "two :path": (message((b":path", b"@%s/hidden" % KEY)), "8.3", "nginx:400 marker:0"),
    "an unknown one": (message(before=((b":protocol", b"websocket"),)), "8.3", "nginx:400 marker:0"),
    "one of answers": (message(before=((b":status", b"200"),)), "8.3", "nginx:400 marker:0"),
    "an empty :method": (message(method=b""), "8.3.1", "nginx:400 goaway:PROTOCOL_ERROR"),
    "a space in :method": (message(method=b"GET /api/%s/hidden HTTP/1.1" % KEY), "8.3.1", "nginx:400 marker:0"),
    "a request in :method": (message(method=HIDDEN + b"PUT"), "8.3.1", "nginx:400 marker:0"),
    ":method in lower case": (message(method=b"put"), "8.3.1", "nginx:400 marker:0"),
    "TRACE": (message(method=b"TRACE"), "8.3.1", "nginx:405 marker:0"),
    "CONNECT": (message(method=b"CONNECT"), "8.5", "nginx:405 marker:0"),
    "CONNECT as it should be": (message(method=b"CONNECT", scheme=None, path=None), "8.5", "nginx:400 marker:0"),
    "an empty :path": (message(path=b""), "8.3.1", "nginx:400 marker:0"),
    ":path without a slash": (message(path=b"api/%s/first" % KEY), "8.3.1", "nginx:400 marker:0"),
    ":path of an asterisk": (message(frames=b"", method=b"OPTIONS", path=b"*"), "8.3.1", "nginx:400 marker:0"),
    "an absolute :path": (message(path=b"https://localhost@%s/first" % KEY), "8.3.1", "nginx:400 marker:0"),
    "a space in :path": (message(path=b"@%s/first HTTP/1.1" % KEY), "8.3.1", "nginx:400 marker:0"),
    "CR LF in :path": (message(path=b"@%s/first HTTP/1.1%s" % (KEY, INJECTED)), "8.3.1", "nginx:400 marker:0"),
    "a request in :path": (
        message(path=b"@%s/first HTTP/1.1\r\nhost: localhost\r\n\r\n%s" % (KEY, HIDDEN)),
        "8.3.1",
        "nginx:400 marker:0",
    ),
    "a tab in :path": (message(path=b"@%s/first\tHTTP/1.1" % KEY), "8.3.1", "nginx:400 marker:0"),
    "NUL in :path": (message(path=b"@%s/\x00/first" % KEY), "8.3.1", "nginx:400 marker:0"),
    "another :scheme": (message(scheme=b"gopher"), "8.3.1", "first:5 marker:0"),
    "an empty :scheme": (message(scheme=b""), "8.3.1", "nginx:400 goaway:PROTOCOL_ERROR"),
    "a URI in :scheme": (message(scheme=b"https://localhost/api/%s/hidden?" % KEY), "8.3.1", "nginx:400 marker:0"),
    "CR LF in :scheme": (message(scheme=b"https" + INJECTED), "8.2.1", "nginx:400 marker:0"),
    "an empty :authority": (message(authority=b""), "8.3.1", "nginx:400 goaway:PROTOCOL_ERROR"),
    "an unknown :authority": (message(authority=b"evil.example"), "8.3.1", "reset:PROTOCOL_ERROR marker:0"),
    "a user in :authority": (message(authority=b"user@localhost"), "8.3.1", "nginx:400 marker:0"),
    "a path in :authority": (message(authority=b"localhost/api/%s/hidden" % KEY), "8.3.1", "nginx:400 marker:0"),
    "CR LF in :authority": (message(authority=b"localhost" + INJECTED), "8.2.1", "nginx:400 marker:0"),
    # --- frames
    "padding": (message(frames=http2.data(FIRST, BODY, padding=7)), "6.1", "first:5 marker:0"),
    "padding that is a request": (
        message(frames=http2.frame(http2.DATA, FIRST, b"\x4e" + BODY + HIDDEN, http2.END_STREAM | http2.PADDED)),
        "6.1",
        "first:5 marker:0",
    ),
    "padding longer than its frame": (
        message(frames=http2.frame(http2.DATA, FIRST, b"\xff" + BODY, http2.END_STREAM | http2.PADDED)),
        "6.1",
        "goaway:PROTOCOL_ERROR",
    ),
    "a body in many frames": (
        message(frames=http2.data(FIRST, *[b"ab"] * 1000)), "6.1", "first:2000 marker:0"
    ),
    "a body in many frames, padded": (
        message(frames=http2.data(FIRST, *[b"ab"] * 200, padding=255)), "6.1", "first:400 marker:0"
    ),
    "frames of nothing": (
        message(frames=http2.data(FIRST, b"", BODY, b"", b"")), "6.1", "first:5 marker:0"
    ),
    "more after the end": (
        message(frames=http2.data(FIRST, BODY) + http2.data(FIRST, HIDDEN)), "5.1", "reset:STREAM_CLOSED marker:0",
    ),
    "a body in a head without its end": (
        Message(message().lines, http2.data(FIRST, HIDDEN), is_ended=False), "6.10", "goaway:PROTOCOL_ERROR"
    ),
    "another head in a head without its end": (
        Message(message().lines, b"", is_ended=False), "6.10", "goaway:PROTOCOL_ERROR"
    ),
    "a head after the end": (
        message(frames=http2.data(FIRST, BODY) + http2.headers(FIRST, message().lines)), "5.1", "goaway:PROTOCOL_ERROR"
    ),
    # --- trailers, of which nginx knows none
    "a trailer": (trailed((b"x", b"y")), "8.1", "goaway:PROTOCOL_ERROR"),
    "a trailer that is a length": (trailed((b"content-length", b"0")), "8.1", "goaway:PROTOCOL_ERROR"),
    "a trailer that is a coding": (trailed((b"transfer-encoding", b"chunked")), "8.1", "goaway:PROTOCOL_ERROR"),
    "a trailer with a pseudo-field": (trailed((b":path", b"/api/%s/hidden" % KEY)), "8.3", "goaway:PROTOCOL_ERROR"),
    "a trailer with a request": (trailed((b"x", b"y\r\n\r\n" + HIDDEN)), "8.2.1", "goaway:PROTOCOL_ERROR"),
}  # fmt: skip

# The same for what RFC 9113 calls malformed and nginx takes, and why that does no harm.
LAX: dict[str, tuple[Message, str, str, str]] = {
    "chunked": (message((b"transfer-encoding", b"chunked")), "8.2.2", "first:5 marker:0", NOT_READ),
    "chunked, and chunks": (
        message((b"transfer-encoding", b"chunked"), frames=http2.data(FIRST, b"0\r\n\r\n" + HIDDEN)),
        "8.2.2", "first:83 marker:0", NOT_READ,
    ),
    "chunked, and a length": (
        length(83, (b"transfer-encoding", b"chunked"), body=b"0\r\n\r\n" + HIDDEN),
        "8.2.2", "first:83 marker:0", NOT_READ,
    ),
    "chunked, and no body": (bodiless((b"transfer-encoding", b"chunked")), "8.2.2", "first:0 marker:0", NOT_READ),
    "another coding": (message((b"transfer-encoding", b"gzip")), "8.2.2", "first:5 marker:0", NOT_READ),
    "connection": (message((b"connection", b"close")), "8.2.2", "first:5 marker:0", NOT_READ),
    "a length that connection takes away": (
        length(5, (b"connection", b"content-length")), "8.2.2", "first:5 marker:0", NOT_READ
    ),
    "keep-alive": (message((b"keep-alive", b"timeout=5")), "8.2.2", "first:5 marker:0", NOT_READ),
    "proxy-connection": (
        message((b"proxy-connection", b"close")), "8.2.2", "first:5 marker:0", "no server reads it"
    ),
    "upgrade": (message((b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk")), "8.2.2", "first:5 marker:0", NOT_READ),
    "te": (message((b"te", b"gzip")), "8.2.2", "first:5 marker:0", NOT_READ),
    "bytes beyond ASCII in a name": (
        message((b"x-smuggled\xff", b"y")), "8.2.1", "first:5 marker:0", "nginx leaves such a field out"
    ),
    "spaces around a value": (message((b"x", b" y\t")), "8.2.1", "first:5 marker:0", "HTTP/1.1 has them there"),
    "pseudo-fields after others": (
        message(before=((b"x", b"y"),)), "8.3", "first:5 marker:0", "none may come twice, wherever it is"
    ),
    "a fragment in :path": (
        message(path=b"@%s/x#/first" % KEY), "8.3.1", "server:400 marker:0", "it goes on as it is, as in HTTP/1.1"
    ),
    "a length of 0 before a request": (
        length(0, body=HIDDEN), "8.1.1", "nginx:400 marker:0", "streamed, a head goes on before its body is counted"
    ),
}  # fmt: skip
# What of that must not arrive. (nginx says Transfer-Encoding itself, where it streams.)
HOP_BY_HOP = {"HTTP_CONNECTION", "HTTP_KEEP_ALIVE", "HTTP_TE", "HTTP_UPGRADE", "HTTP_EXPECT"}
# Where the servers differ.
BY_SERVER = {("a fragment in :path", "gunicorn"): "first:5 marker:0"}


@dataclass
class Exchange:
    """What a client got for what it sent, and what the application saw of it."""

    streams: list[Stream]
    seen: list[dict[str, Any]]
    body: bytes = b""  # what the DATA frames of the first held
    way: str = "web, buffered"

    def faults(self) -> Iterator[str]:
        """What must never be."""
        answers = list(map(echoed, self.streams))
        answered = sorted(path_of(told) for told in answers if told)
        whole = sorted(path_of(told) for told in self.seen if is_whole(told))
        if whole != answered and not (self.is_cut() and whole == sorted([*answered, "first"])):
            yield f"the application saw {whole}, and the client got answers to {answered}"
        seen = [path_of(told) for told in self.seen]
        if len(seen) != len(set(seen)) or not {*seen} <= {"first", "marker"}:
            yield f"the application saw {seen}"
        for told, body in zip(answers, (self.body, b""), strict=True):
            if told and (told["length"], told["body"].encode("latin-1")) != (len(body), body):
                yield f"this was not sent: {told['body']}"
        if any("SMUGGLED" in name for told in self.seen for name in told.get("environ", {})):
            yield "a value has become a field"
        if any(HOP_BY_HOP & told.get("environ", {}).keys() for told in self.seen):
            yield "a field of the client's connection was handed on"
        yield from (f"an answer of {stream.status}" for stream in self.streams if stream.status >= 500)

    def is_cut(self) -> bool:
        """Streamed under a length that is too short, and refused: the application may have had so much, no more."""
        firsts = [told for told in self.seen if path_of(told) == "first"]
        sent = self.body.decode("latin-1")
        return "streamed" in self.way and any(
            told["length"] < len(sent) and sent.startswith(told["body"]) for told in firsts
        )

    def verdict(self) -> str:
        """As in the table."""
        words = []
        for stream in self.streams:
            told = echoed(stream)
            if told:
                words.append(f"{path_of(told)}:{told['length']}")
            elif stream.answer:
                words.append(f"{'nginx' if is_nginx_s(stream.answer) else 'server'}:{stream.status}")
            else:
                words.append(stream.error)
        return words[0] if "goaway" in words[0] else " ".join(words)


def echoed(stream: Stream) -> dict[str, Any] | None:
    told: dict[str, Any] | None = stream.answer.json() if stream.answer and stream.status == 200 else None
    return told


def is_whole(told: dict[str, Any]) -> bool:
    """For all that the application can tell when it has read to the end."""
    read: int = told["length"]
    return read >= 0 and read == int(told.get("environ", {}).get("CONTENT_LENGTH") or read)


def connected(edge: Edge, server: str) -> Http2:
    return Http2(edge.ports["tls" if server == "web" else server])


def lines_to(path: bytes, *lines: Line, method: bytes = b"GET") -> list[Line]:
    return [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path), *lines]


def under(way: str, key: bytes, name: bytes) -> bytes:
    return b"%s%s/%s" % (WAYS[way][1].encode(), key, name)


def exchange(edge: Edge, way: str, sent: Message) -> Exchange:
    key = uuid.uuid4().hex.encode()
    with connected(edge, WAYS[way][0]) as client:
        client.send(sent.sent(way, key) + http2.headers(MARKER, lines_to(under(way, key, b"marker"))))
        streams = client.wait([FIRST, MARKER])
        seen = seen_under(edge, way, key, client)
    return Exchange(streams, seen, sent.body.replace(KEY, key), way)


def so_far(edge: Edge, way: str, key: bytes, client: Http2 | None = None) -> list[dict[str, Any]]:
    """What the application was asked for; with a length, if it was read to its end."""
    if client is None or client.end:
        with connected(edge, WAYS[way][0]) as other:
            return so_far(edge, way, key, other)
    told: list[dict[str, Any]] = json.loads(client.ask(lines_to(b"/_so_far/" + key)).body)
    return told


def seen_under(edge: Edge, way: str, key: bytes, client: Http2 | None = None) -> list[dict[str, Any]]:
    """The same, when all of it was read."""
    found: list[dict[str, Any]] = []

    def is_read() -> bool:
        found[:] = so_far(edge, way, key, client)
        return all("length" in told for told in found)

    eventually(is_read, 60, "the application has read what it was sent")
    return found


@pytest.fixture(scope="module")
def secure(backends: Backends) -> Iterator[Edge]:
    with Edge(backends, {"TLS": "on"}) as running:
        yield running


@pytest.fixture(scope="module")
def tight(backends: Backends) -> Iterator[Edge]:
    with Edge(backends, {"TLS": "on", "CLIENT_CONNECTIONS": str(FEW)}) as running:
        yield running


@pytest.mark.parametrize("name", [*MESSAGES, *LAX])
def test_a_message_stays_the_same(secure: Edge, name: str) -> None:
    sent, _, becomes, *_ = (MESSAGES | LAX)[name]
    found = {way: exchange(secure, way, sent) for way in WAYS}
    assert [f"{way}: {fault}" for way in WAYS for fault in found[way].faults()] == []
    expected = {way: BY_SERVER.get((name, WAYS[way][0]), becomes) for way in WAYS}
    assert {way: found[way].verdict() for way in WAYS} == expected


# --- bodies that do not come to their end -----------------------------------------------------------------------------

SIX = (b"content-length", b"6")
# Of a body of six bytes five are sent. What a client has said of it, and what it sends before it is gone.
BREAKS: dict[str, tuple[list[Line], bytes]] = {
    "RST_STREAM": ([], http2.reset(FIRST)),
    "RST_STREAM, and a length": ([SIX], http2.reset(FIRST)),
    "a lost connection": ([], b""),
    "a lost connection, and a length": ([SIX], b""),
    "GOAWAY": ([], http2.frame(http2.GOAWAY, 0, bytes(8))),
    "GOAWAY, and a length": ([SIX], http2.frame(http2.GOAWAY, 0, bytes(8))),
    "the end of a length that is longer": ([SIX], http2.data(FIRST, b"")),
    "trailers": ([], http2.headers(FIRST, [(b"x", b"y")])),
    "trailers, and a length": ([SIX], http2.headers(FIRST, [(b"x", b"y")])),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_body_that_breaks_off_is_not_a_whole_one(secure: Edge, case: str) -> None:
    lines, last = BREAKS[case]
    for way in WAYS:
        key = uuid.uuid4().hex.encode()
        path = under(way, key, b"first")
        with connected(secure, WAYS[way][0]) as client:
            client.send(http2.headers(FIRST, lines_to(path, *lines, method=b"PUT"), is_all=False))
            client.send(http2.data(FIRST, BODY, is_all=False))
            client.handled()
            if way == "gunicorn, streamed":  # calls the application when it has the head
                eventually(partial(so_far, secure, way, key), 60, "the application was called")
            client.send(last)
            if last:
                client.handled()
        eventually(lambda path=path: path.decode() in secure.logs(), 60, "nginx is done with it")  # type: ignore[misc]  # a default binds the loop's value
        seen = seen_under(secure, way, key)
        assert not any(is_whole(told) for told in seen), (way, seen)
        assert way == "gunicorn, streamed" or seen == [], way


@pytest.mark.parametrize("way", WAYS)
def test_a_length_that_is_reached_before_the_end(secure: Edge, way: str) -> None:
    """Who counts while it streams knows of no more: the application has had all of the length, and gets no byte of what
    is sent beyond. Buffered, nobody is asked before the end.
    """
    key = uuid.uuid4().hex.encode()
    lines = lines_to(under(way, key, b"first"), (b"content-length", b"5"), method=b"PUT")
    with connected(secure, WAYS[way][0]) as client:
        client.send(http2.headers(FIRST, lines, is_all=False) + http2.data(FIRST, BODY, is_all=False))
        client.handled()
        if "streamed" in way:
            client.wait([FIRST])
        client.send(http2.data(FIRST, HIDDEN.replace(KEY, key)))
        client.send(http2.headers(MARKER, lines_to(under(way, key, b"marker"))))
        first, marker = client.wait([FIRST, MARKER])
    assert path_of(echoed(marker) or {}) == "marker"
    seen = [(path_of(told), told["length"]) for told in seen_under(secure, way, key)]
    if "streamed" in way:
        assert (first.status, seen) == (200, [("first", 5), ("marker", 0)])
    else:
        assert (first.status, seen) == (400, [("marker", 0)])


# --- many at once -----------------------------------------------------------------------------------------------------


def opened(number: int, path: bytes) -> bytes:
    return http2.headers(number, lines_to(path, method=b"PUT"), is_all=False)


@pytest.mark.parametrize("way", WAYS)
def test_a_hundred_streams_have_each_its_own_answer(secure: Edge, way: str) -> None:
    """All are open before the first has its body; then a byte for each in turn."""
    key = uuid.uuid4().hex.encode()
    numbers = range(1, 200, 2)
    with connected(secure, WAYS[way][0]) as client:
        client.send(b"".join(opened(number, under(way, key, b"%d" % number)) for number in numbers))
        bodies = {number: b"%d" % (number + 1000) for number in numbers}
        for at in range(4):
            pieces = [http2.data(n, bodies[n][at : at + 1], is_all=at == 3) for n in numbers]
            client.send(b"".join(pieces))
        answers = dict(zip(numbers, map(echoed, client.wait(numbers)), strict=True))
    told = {number: (path_of(answer), answer["body"]) for number, answer in answers.items() if answer}
    assert told == {number: (str(number), str(number + 1000)) for number in numbers}
    assert len(seen_under(secure, way, key)) == 100


@pytest.mark.parametrize("way", WAYS)
def test_each_stream_counts_as_a_connection(tight: Edge, way: str) -> None:
    key = uuid.uuid4().hex.encode()
    few, more = range(1, 2 * FEW, 2), range(2 * FEW + 1, 200, 2)
    with connected(tight, WAYS[way][0]) as client:
        client.send(b"".join(opened(number, under(way, key, b"first")) for number in [*few, *more]))
        assert {stream.status for stream in client.wait(more)} == {429}
        client.send(b"".join(http2.data(number, BODY) for number in few))
        assert {stream.status for stream in client.wait(few)} == {200}
    assert len(seen_under(tight, way, key)) == FEW


@pytest.mark.parametrize("way", WAYS)
def test_streams_that_are_reset_at_once_leave_nothing_behind(tight: Edge, way: str) -> None:
    """CVE-2023-44487. On the same connection, while it lasts, and on another there is an answer."""
    key = uuid.uuid4().hex.encode()
    numbers = range(1, 400, 2)
    with connected(tight, WAYS[way][0]) as client:
        for number in numbers:
            client.send(http2.headers(number, lines_to(under(way, key, b"first"))) + http2.reset(number))
        assert client.ask(lines_to(under(way, key, b"marker"))).status == 200
    with connected(tight, WAYS[way][0]) as client:
        few = range(1, 2 * FEW, 2)
        client.send(b"".join(opened(number, under(way, key, b"more")) for number in few))
        client.send(b"".join(http2.data(number, BODY) for number in few))
        assert {stream.status for stream in client.wait(few)} == {200}


# --- fields -----------------------------------------------------------------------------------------------------------

SPELLINGS: dict[str, Callable[[bytes], list[Line]]] = {
    "as they are": lambda name: [(name, b"forged")],
    "twice": lambda name: [(name, b"forged"), (name, b"forged2")],
    "underscores": lambda name: [(name.replace(b"-", b"_"), b"forged")],
    "dots": lambda name: [(name.replace(b"-", b"."), b"forged")],
    "to be remembered": lambda name: [http2.indexed(name, b"forged")],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_nothing_that_a_client_says_of_itself_arrives(secure: Edge, spelling: str) -> None:
    for (server, prefix), names in itertools.product(WAYS.values(), FEW_NAMES):
        forged = [line for name in names for line in SPELLINGS[spelling](name.lower().encode())]
        port = secure.ports["tls" if server == "web" else server]
        lines = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost:%d" % port)]
        with connected(secure, server) as client:
            client.send(
                http2.headers(FIRST, [*lines, (b":path", prefix.encode() + b"x"), *forged, (b"x-own", b"arrives")])
            )
            client.send(http2.headers(MARKER, lines_to(b"/x")))
            told, other = (echoed(stream) for stream in client.wait([FIRST, MARKER]))
        assert told
        assert other
        check_boundary(told, other["environ"]["HTTP_X_FORWARDED_FOR"], port, "https", server)


def test_what_is_remembered_is_looked_at_again(secure: Edge) -> None:
    """A field that was refused is in the table of the connection all the same, and no better for it."""
    for line, statuses, owns in (
        (http2.indexed(b"x-own", b"y" + INJECTED), [400, 400, 200], []),
        (http2.indexed(b"x-own", b"y"), [200, 200, 200], ["first", "second"]),
    ):
        key = uuid.uuid4().hex.encode()
        way = "web, streamed"
        with connected(secure, "web") as client:
            for number, name, more in ((1, b"first", [line]), (3, b"second", [LATEST]), (5, b"third", [])):
                client.send(http2.headers(number, lines_to(under(way, key, name), *more)))
            assert [stream.status for stream in client.wait([1, 3, 5])] == statuses
        seen = {path_of(told): told["environ"].get("HTTP_X_OWN") for told in seen_under(secure, way, key)}
        assert seen == dict.fromkeys(owns, "y") | {"third": None}


# --- would it be noticed? ---------------------------------------------------------------------------------------------


def test_a_server_that_is_deceived_is_noticed(stack: Stack) -> None:
    """One that knows nothing of chunks, behind the same nginx; buffered, the chunks would have been taken away."""
    hiding, _, _ = MESSAGES["a request in a body"]
    naive = NAIVE.replace("_seen", "_so_far")
    with Backends(stack, {"web": naive}) as backends, Edge(backends, {"TLS": "on"}) as edge:
        found = exchange(edge, "web, streamed", hiding)
        assert sorted(path_of(told) for told in found.seen) == ["first", "hidden", "marker"]
        assert list(found.faults()) != []
        assert list(exchange(edge, "web, buffered", hiding).faults()) == []


def said(path: str, body: str = "", length: int | None = None, **environ: str) -> dict[str, Any]:
    """By the application, of one request."""
    length = len(body) if length is None else length
    return {"target": f"/api/k/{path}", "length": length, "body": body, "environ": environ}


def echo(path: str, body: str = "") -> Stream:
    return Stream(200, json.dumps(said(path, body)).encode(), is_whole=True)


REFUSAL = Stream(400, b'{"error":"bad-request","request_id":""}', is_whole=True)
LOST = Stream(error="goaway:PROTOCOL_ERROR")
CUT = said("first", "he", CONTENT_LENGTH="2")
MARKED = said("marker")
# What would have to be noticed, and what not.
EXCHANGES: dict[str, tuple[Exchange, bool]] = {
    "both answered": (Exchange([echo("first", "hello"), echo("marker")], [said("first", "hello"), MARKED], BODY), True),
    "refused": (Exchange([REFUSAL, echo("marker")], [MARKED], BODY), True),
    "lost": (Exchange([LOST, LOST], [], BODY), True),
    "seen in part": (Exchange([LOST, LOST], [said("first", "hel", CONTENT_LENGTH="5")], BODY), True),
    "seen as broken": (Exchange([LOST, LOST], [said("first", length=-1)], BODY), True),
    "seen, and refused": (Exchange([REFUSAL, echo("marker")], [said("first", "hello"), MARKED], BODY), False),
    "seen, and lost": (Exchange([LOST, LOST], [said("first", "hello")], BODY), False),
    "cut, streamed": (Exchange([REFUSAL, echo("marker")], [CUT, MARKED], BODY, "web, streamed"), True),
    "cut, buffered": (Exchange([REFUSAL, echo("marker")], [CUT, MARKED], BODY), False),
    "cut, and answered": (Exchange([echo("first", "he"), echo("marker")], [CUT, MARKED], BODY), False),
    "one too many": (Exchange([echo("first"), echo("marker")], [said("first"), said("hidden"), MARKED]), False),
    "one twice": (Exchange([echo("first"), echo("marker")], [said("first"), said("first"), MARKED]), False),
    "one too many in part": (Exchange([REFUSAL, echo("marker")], [said("hidden", length=-1), MARKED]), False),
    "one too few": (Exchange([echo("first"), echo("marker")], [MARKED]), False),
    "another body": (Exchange([echo("first", "hullo"), echo("marker")], [said("first"), MARKED], BODY), False),
    "a field more": (Exchange([echo("first"), echo("marker")], [said("first", HTTP_X_SMUGGLED="y"), MARKED]), False),
    "a mistake of ours": (Exchange([Stream(502, b"{}", is_whole=True), echo("marker")], [MARKED]), False),
}


@pytest.mark.parametrize("case", EXCHANGES)
def test_the_check_can_tell(case: str) -> None:
    found, is_sound = EXCHANGES[case]
    assert (list(found.faults()) == []) == is_sound
