"""Messages of HTTP/2 as frames, and what a client got in return (test_19_*.py)."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.stack import http2
from tests.stack.echo import Edge
from tests.stack.http2 import Http2, Line, Stream
from tests.stack.test_16_smuggling import WAYS, is_nginx_s, path_of
from tests.wire.polling import poll

STREAMED = [way for way in WAYS if "streamed" in way]
# Placeholders in messages, as in test_16_smuggling.py: the key of one exchange, and the prefix of the way under test.
KEY, PREFIX = b"K" * 32, b"@"
FIRST, MARKER, BODY = 1, 3, b"hello"  # the first two streams of a client; the usual body
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
# The index of the latest entry of the dynamic table.
LATEST = bytes([0x80 | 62])
# Fields of a client that must not arrive. (nginx sets Transfer-Encoding itself, where it streams.)
HOP_BY_HOP = {"HTTP_CONNECTION", "HTTP_KEEP_ALIVE", "HTTP_TE", "HTTP_UPGRADE", "HTTP_EXPECT"}


@dataclass(frozen=True)
class Message:
    """The lines of its head, and the frames that follow."""

    lines: tuple[Line, ...]
    frames: bytes
    cuts: int = 1  # frames of the head
    is_ended: bool = True  # whether the head is complete

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
    """Five bytes of body after these lines. A pseudo-field that is None is left out."""
    own = [(b":" + name.encode(), value) for name, value in {**PSEUDO, **pseudo}.items() if value is not None]
    return Message((*before, *own, *lines), http2.data(FIRST, BODY) if frames is None else frames, cuts)


def length(value: bytes | int, *more: Line, body: bytes = BODY) -> Message:
    """A body with a length that may be wrong."""
    text = value if isinstance(value, bytes) else b"%d" % value
    return message((b"content-length", text), *more, frames=http2.data(FIRST, body))


def bodiless(*lines: Line) -> Message:
    return message(*lines, frames=b"")


def trailed(*lines: Line) -> Message:
    return message(frames=http2.data(FIRST, BODY, is_all=False) + http2.headers(FIRST, lines))


@dataclass
class Exchange:
    """The answers that a client got to one message, and the requests that the application saw."""

    streams: list[Stream]
    seen: list[dict[str, Any]]
    body: bytes = b""  # content of the DATA frames of the first stream
    way: str = "web, buffered"

    def faults(self) -> Iterator[str]:
        """Violations of the rules in test_19_http2.py."""
        answers = list(map(echoed, self.streams))
        answered = sorted(path_of(received) for received in answers if received)
        whole = sorted(path_of(received) for received in self.seen if is_whole(received))
        if whole != answered and not (self.is_cut() and whole == sorted([*answered, "first"])):
            yield f"the application saw {whole}, and the client got answers to {answered}"
        seen = [path_of(received) for received in self.seen]
        if len(seen) != len(set(seen)) or not {*seen} <= {"first", "marker"}:
            yield f"the application saw {seen}"
        for received, body in zip(answers, (self.body, b""), strict=True):
            if received and (received["length"], received["body"].encode("latin-1")) != (len(body), body):
                yield f"this was not sent: {received['body']}"
        if any("SMUGGLED" in name for received in self.seen for name in received.get("environ", {})):
            yield "a value has become a field"
        if any(HOP_BY_HOP & received.get("environ", {}).keys() for received in self.seen):
            yield "a field of the client's connection was passed on"
        yield from (f"an answer of {stream.status}" for stream in self.streams if stream.status >= 500)

    def is_cut(self) -> bool:
        """Streamed with a length that is too short, and refused: the application may have had that many bytes."""
        firsts = [received for received in self.seen if path_of(received) == "first"]
        sent = self.body.decode("latin-1")
        return "streamed" in self.way and any(
            received["length"] < len(sent) and sent.startswith(received["body"]) for received in firsts
        )

    def verdict(self) -> str:
        """The exchange in the form of the table in test_19_http2.py."""
        words = []
        for stream in self.streams:
            received = echoed(stream)
            if received:
                words.append(f"{path_of(received)}:{received['length']}")
            elif stream.answer:
                words.append(f"{'nginx' if is_nginx_s(stream.answer) else 'server'}:{stream.status}")
            else:
                words.append(stream.error)
        return words[0] if "goaway" in words[0] else " ".join(words)


def echoed(stream: Stream) -> dict[str, Any] | None:
    received: dict[str, Any] | None = stream.answer.json() if stream.answer and stream.status == 200 else None
    return received


def is_whole(received: dict[str, Any]) -> bool:
    """Whether the body looks complete to an application that has read to its end."""
    read: int = received["length"]
    return read >= 0 and read == int(received.get("environ", {}).get("CONTENT_LENGTH") or read)


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
    """Requests that the application got; those that it has read to the end have a length."""
    if client is None or client.end:
        with connected(edge, WAYS[way][0]) as other:
            return so_far(edge, way, key, other)
    received: list[dict[str, Any]] = json.loads(client.ask(lines_to(b"/_so_far/" + key)).body)
    return received


def seen_under(edge: Edge, way: str, key: bytes, client: Http2 | None = None) -> list[dict[str, Any]]:
    """The same, after the application has read all of them."""
    found: list[dict[str, Any]] = []

    def is_read() -> bool:
        found[:] = so_far(edge, way, key, client)
        return all("length" in received for received in found)

    poll(is_read, "the application has read all requests", 60)
    return found
