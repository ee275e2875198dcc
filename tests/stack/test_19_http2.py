"""nginx translates HTTP/2 into HTTP/1.1, and both have to be the same message (RFC 9113, sections 8.1.1 and 10.3).

In HTTP/2, frames delimit a body, and field values might hold any bytes. So each message here has a field that
contradicts its frames, or bytes that would be another request in HTTP/1.1. A second request, the marker, follows on the
same connection. The tests show for both servers, buffered and streamed: for each stream, the application sees one
request with exactly the body of the DATA frames. Otherwise it sees none, or one that is detectably incomplete, and the
client gets an error (an answer of 4xx, RST_STREAM or GOAWAY). Fields of one message affect no other, and no field with
a name that is reserved for proxies gets through.
"""

import pytest

from tests.stack import http2
from tests.stack.echo import Edge
from tests.stack.http2_exchange import (
    BODY,
    FIRST,
    HIDDEN,
    INJECTED,
    KEY,
    SMUGGLED,
    Message,
    bodiless,
    exchange,
    length,
    message,
    trailed,
)
from tests.stack.test_16_smuggling import WAYS

CRLF_IN_HUFFMAN = b"\x88\xff\xff\xff\xf7\xff\xff\xff\xcf"  # RFC 7541, appendix B

# The reason why a field is harmless.
NOT_READ = "nginx neither reads it nor passes it on"

# A message -> its section of RFC 9113, and its outcome in each of WAYS.
MESSAGES: dict[str, tuple[Message, str, str]] = {
    # --- valid messages, as a control
    "no length": (message(), "8.1", "first:5 marker:0"),
    "a length": (length(5), "8.1.1", "first:5 marker:0"),
    "no body": (bodiless(), "8.1", "first:0 marker:0"),
    "a body of nothing": (message(frames=http2.data(FIRST, b"")), "8.1", "first:0 marker:0"),
    "a request in a body": (message(frames=http2.data(FIRST, HIDDEN)), "10.3", "first:78 marker:0"),
    "a request in a body with a length": (length(len(HIDDEN), body=HIDDEN), "10.3", "first:78 marker:0"),
    "chunks in a body": (message(frames=http2.data(FIRST, b"0\r\n\r\n" + HIDDEN)), "8.2.2", "first:83 marker:0"),
    "a head in five frames": (message(cuts=5), "6.10", "first:5 marker:0"),
    # --- lengths that contradict the frames
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
    # --- field lines: bytes that would be more lines in HTTP/1.1
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
    # --- trailers, which nginx does not support
    "a trailer": (trailed((b"x", b"y")), "8.1", "goaway:PROTOCOL_ERROR"),
    "a trailer that is a length": (trailed((b"content-length", b"0")), "8.1", "goaway:PROTOCOL_ERROR"),
    "a trailer that is a coding": (trailed((b"transfer-encoding", b"chunked")), "8.1", "goaway:PROTOCOL_ERROR"),
    "a trailer with a pseudo-field": (trailed((b":path", b"/api/%s/hidden" % KEY)), "8.3", "goaway:PROTOCOL_ERROR"),
    "a trailer with a request": (trailed((b"x", b"y\r\n\r\n" + HIDDEN)), "8.2.1", "goaway:PROTOCOL_ERROR"),
}  # fmt: skip

# The same for messages that are malformed in RFC 9113 but accepted by nginx, and the reason why they are harmless.
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
        message(before=((b"x", b"y"),)), "8.3", "first:5 marker:0", "none may occur twice, in any position"
    ),
    "a fragment in :path": (
        message(path=b"@%s/x#/first" % KEY), "8.3.1", "server:400 marker:0", "it is passed on unchanged, as in HTTP/1.1"
    ),
    "a length of 0 before a request": (
        length(0, body=HIDDEN), "8.1.1", "nginx:400 marker:0", "streamed, the head is passed on first"
    ),
}  # fmt: skip
# Outcomes that differ between the servers.
BY_SERVER = {("a fragment in :path", "gunicorn"): "first:5 marker:0"}


@pytest.mark.parametrize("name", [*MESSAGES, *LAX])
def test_a_message_is_the_same_over_http2_and_http1(edge_with_tls: Edge, name: str) -> None:
    sent, _, outcome, *_ = (MESSAGES | LAX)[name]
    found = {way: exchange(edge_with_tls, way, sent) for way in WAYS}
    assert [f"{way}: {fault}" for way in WAYS for fault in found[way].faults()] == []
    expected = {way: BY_SERVER.get((name, WAYS[way][0]), outcome) for way in WAYS}
    assert {way: found[way].verdict() for way in WAYS} == expected
