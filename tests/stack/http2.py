"""HTTP/2 on the wire (RFC 9113): sends frames that a library would refuse to send, and reads the answers.

Field blocks are literals of HPACK (RFC 7541), never Huffman-coded nor indexed, unless a test gives the bytes of a line
itself. Of the head of an answer only the status is decoded: error pages and the echo application put the rest into the
body.
"""

import functools
import ssl
import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage

from tests.stack.wire import Tcp
from tests.wire.answers import Answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
INITIAL_WINDOW_SIZE = 4
CANCEL = 8
ERRORS = [  # section 7
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED"),
    *("FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
]
STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}  # RFC 7541, appendix A

Line = tuple[bytes, bytes] | bytes  # a field line: name and value, or its encoded bytes


# --- frames -----------------------------------------------------------------------------------------------------------


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def frames_in(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame, until the first that is cut short."""
    while len(data) >= 9:
        size, kind, flags, stream = int.from_bytes(data[:3], "big"), *struct.unpack(">BBI", data[3:9])
        yield kind, flags, stream, data[9 : 9 + size]
        data = data[9 + size :]


def headers(stream: int, lines: Iterable[Line], *, is_all: bool = True, cuts: int = 1, is_ended: bool = True) -> bytes:
    """The head of a message in `cuts` frames; `is_all` ends the stream, `is_ended` the head."""
    block = b"".join(map(literal, lines))
    size = -(-len(block) // cuts)
    pieces = [block[start : start + size] for start in range(0, len(block), size)]
    kinds = [HEADERS, *[CONTINUATION] * (len(pieces) - 1)]
    flags = [0] * len(pieces)
    flags[0] |= END_STREAM if is_all else 0
    flags[-1] |= END_HEADERS if is_ended else 0
    return b"".join(frame(kind, stream, piece, flag) for kind, piece, flag in zip(kinds, pieces, flags, strict=True))


def data(stream: int, *pieces: bytes, is_all: bool = True, padding: int | None = None) -> bytes:
    """A frame for each piece; `is_all` ends the stream."""
    last = len(pieces) - 1
    flags = PADDED if padding is not None else 0
    filled = [piece if padding is None else bytes([padding]) + piece + bytes(padding) for piece in pieces]
    return b"".join(
        frame(DATA, stream, piece, flags | (END_STREAM if is_all and at == last else 0))
        for at, piece in enumerate(filled)
    )


def reset(stream: int) -> bytes:
    return frame(RST_STREAM, stream, struct.pack(">I", CANCEL))


def content(sent: bytes, stream: int) -> bytes:
    """The content of the DATA frames of a stream."""
    return b"".join(
        payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
        for kind, flags, of, payload in frames_in(sent)
        if (kind, of) == (DATA, stream)
    )


# --- field blocks -----------------------------------------------------------------------------------------------------


def integer(value: int, bits: int) -> bytes:
    """RFC 7541, section 5.1; the bits before it are 0."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    rest, digits = value - most, []
    while rest >= 0x80:
        digits.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([most, *digits, rest])


def string(value: bytes) -> bytes:
    return integer(len(value), 7) + value


def literal(line: Line, first: bytes = b"\x00") -> bytes:
    """Without indexing (section 6.2.2), or as `first` says."""
    return line if isinstance(line, bytes) else first + string(line[0]) + string(line[1])


def indexed(name: bytes, value: bytes) -> bytes:
    """With indexing (section 6.2.1): the decoder adds this to its table, as number 62."""
    return literal((name, value), b"\x40")


def status_of(block: bytes) -> int:
    """The status is the first field; a change of the table size may precede it."""
    block = block.lstrip(bytes(range(0x20, 0x40)))
    if block[0] & 0x80:
        return STATUSES[block[0] & 0x7F]
    assert block[0] & 0x3F in STATUSES, f"no status: {block!r}"
    assert block[1] == 3, f"not encoded as nginx does it: {block!r}"
    return int(block[2:5])


# --- connections ------------------------------------------------------------------------------------------------------


@dataclass
class Stream:
    """What came back on one stream."""

    status: int = 0
    body: bytes = b""
    is_whole: bool = False
    error: str = ""  # of a reset, or of the connection that ended

    @property
    def is_over(self) -> bool:
        return self.is_whole or self.error != ""

    @property
    def answer(self) -> Answer | None:
        """The answer, if it is complete."""
        return Answer(self.status, HTTPMessage(), self.body) if self.is_whole else None


@dataclass
class Http2(Tcp):
    """A client's side of a connection, whatever the certificate."""

    port: int
    streams: dict[int, Stream] = field(default_factory=dict)
    end: str = ""  # why the connection ended
    pongs: int = 0
    last_stream: int = 100_001  # the last stream of `ask`

    def __post_init__(self) -> None:
        super().__init__(self.port, _context())
        # Windows of streams and of the connection, large enough for all answers: no code extends them (section 5.2).
        settings = frame(SETTINGS, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 1 << 30))
        self.send(PREFACE + settings + frame(WINDOW_UPDATE, 0, struct.pack(">I", 1 << 30)))

    def send(self, data: bytes) -> None:
        """Send, even if the server has closed: its reaction is what the tests check."""
        try:
            super().send(data)
        except OSError:
            self.end = self.end or "closed"

    def handled(self) -> None:
        """Wait until the server has read all frames: it handles them in order, and answers a PING."""
        expected = self.pongs + 1
        self.send(frame(PING, 0, b"12345678"))
        while self.pongs < expected and not self.end:
            self._take()

    def wait(self, streams: Collection[int]) -> list[Stream]:
        """Wait for an answer, a reset or the end of the connection on each stream."""
        while not all(self.stream(number).is_over for number in streams):
            self._take()
            if self.end:
                for number in streams:
                    self.stream(number).error = self.stream(number).error or self.end
        return [self.stream(number) for number in streams]

    def ask(self, lines: Iterable[Line]) -> Stream:
        """Send a request on a stream that no test uses."""
        self.last_stream += 2
        self.send(headers(self.last_stream, lines))
        return self.wait([self.last_stream])[0]

    def stream(self, number: int) -> Stream:
        return self.streams.setdefault(number, Stream())

    def _take(self) -> None:
        try:
            head = self.reader.read(9)
            payload = self.reader.read(int.from_bytes(head[:3], "big"))
        except ConnectionError:
            head = b""
        if len(head) < 9:
            self.end = self.end or "closed"
            return
        kind, flags, number = struct.unpack(">BBI", head[3:])
        if number:
            self._take_of_stream(self.stream(number), kind, flags, payload)
        elif kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, 0, flags=ACK))
        elif kind == PING:
            self.pongs += 1
        elif kind == GOAWAY and payload[4:8] != bytes(4):  # with NO_ERROR, streams continue
            self.end = f"goaway:{_error(payload[4:8])}"

    def _take_of_stream(self, stream: Stream, kind: int, flags: int, payload: bytes) -> None:
        assert not flags & PADDED, "a padded frame of nginx"
        if kind == HEADERS:
            stream.status = stream.status or status_of(payload)
        elif kind == DATA:
            stream.body += payload
        elif kind == RST_STREAM and not stream.is_whole:  # after an answer, it only stops the upload
            stream.error = f"reset:{_error(payload)}"
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            stream.is_whole = True


def _error(code: bytes) -> str:
    number = int.from_bytes(code, "big")
    return ERRORS[number] if number < len(ERRORS) else str(number)


@functools.cache  # making one takes longer than most exchanges
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context
