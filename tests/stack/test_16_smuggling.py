"""nginx and a server must not read one message in two ways (RFC 9112, section 11.2).

Each message here is one that nginx and a server might parse differently. It is sent through nginx with a second
request, the marker, right behind it on the same connection. Then the client must have got as many answers as the
application has seen requests, each for its own request: nothing inside a body may become a request. The table has the
expected outcome of each message.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPMessage
from typing import Any

import pytest

from tests.stack.echo import Backends, Edge
from tests.stack.programs import source
from tests.stack.stack import Stack
from tests.stack.wire import Wire
from tests.wire.answers import Answer, read_answer
from tests.wire.polling import poll

WAYS = {
    "web, buffered": ("web", "/api/"),
    "web, streamed": ("web", "/streamed/api/"),
    "gunicorn, buffered": ("gunicorn", "/api/"),
    "gunicorn, streamed": ("gunicorn", "/streamed/api/"),
}
# Placeholders in messages: the key of one exchange, of the same length, and the prefix of the way under test.
KEY, PREFIX = b"K" * 32, b"@"
# A request hidden in a body, which a wrong length would expose. The marker is the last request of its connection.
HIDDEN = b"GET /api/%s/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n" % KEY
MARKER = b"GET @%s/marker HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % KEY
LINE = b"PUT @%s/first HTTP/1.1" % KEY
HOST = b"Host: localhost"
LENGTH, CHUNKED = b"Content-Length: 5", b"Transfer-Encoding: chunked"
IN_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def message(*fields: bytes, line: bytes = LINE, end: bytes = b"\r\n", body: bytes = b"") -> bytes:
    return end.join([line, HOST, *fields, b"", body])


def measured(*fields: bytes, line: bytes = LINE, body: bytes = b"hello") -> bytes:
    """Five bytes of body after doubtful fields."""
    return message(*fields, line=line, body=body)


def hiding(*fields: bytes, line: bytes = LINE) -> bytes:
    """A whole request instead of a body: a server that finds no length in the fields reads it as a request."""
    return message(*fields, line=line, body=HIDDEN)


def coded(*fields: bytes, line: bytes = LINE) -> bytes:
    """A valid chunked body after doubtful fields."""
    return message(*fields, line=line, body=IN_CHUNKS)


def chunks(body: bytes) -> bytes:
    """Valid fields with a doubtful body in chunks."""
    return message(CHUNKED, body=body)


# A message -> its outcome in each of WAYS: the requests that the application answers, with the number of body bytes
# that it could read, or the refusing server and the status. After a refusal by nginx, the connection is closed.
MESSAGES: dict[str, tuple[bytes, str]] = {
    # --- valid messages, as a control
    "a length": (measured(LENGTH), "first:5 marker:0"),
    "chunked": (coded(CHUNKED), "first:5 marker:0"),
    "no body": (message(), "first:0 marker:0"),
    "a request in a body with a length": (hiding(b"Content-Length: %d" % len(HIDDEN)), "first:78 marker:0"),
    "a request in a chunk": (chunks(b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)), "first:78 marker:0"),
    "a request behind another": (hiding(b"Content-Length: 0"), "first:0 hidden:0 marker:0"),
    "a request behind the last chunk": (chunks(IN_CHUNKS + HIDDEN), "first:5 hidden:0 marker:0"),
    # --- two lengths, or an invalid one
    "a length, and chunked": (coded(LENGTH, CHUNKED), "nginx:400"),
    "chunked, and a length": (coded(CHUNKED, LENGTH), "nginx:400"),
    "a length of 0, and chunked": (coded(b"Content-Length: 0", CHUNKED), "nginx:400"),
    "two lengths, the same": (measured(LENGTH, LENGTH), "nginx:400"),
    "two lengths": (measured(LENGTH, b"Content-Length: 0"), "nginx:400"),
    "two lengths, the other way round": (measured(b"Content-Length: 0", LENGTH), "nginx:400"),
    "a list of lengths": (measured(b"Content-Length: 5, 5"), "nginx:400"),
    "a list of two lengths": (measured(b"Content-Length: 0, 5"), "nginx:400"),
    "a positive length": (measured(b"Content-Length: +5"), "nginx:400"),
    "a negative length": (measured(b"Content-Length: -5"), "nginx:400"),
    "a hexadecimal length": (measured(b"Content-Length: 0x5"), "nginx:400"),
    "a length with an underscore": (measured(b"Content-Length: 0_5"), "nginx:400"),
    "a length with an exponent": (measured(b"Content-Length: 5e0"), "nginx:400"),
    "a length with a fraction": (measured(b"Content-Length: 5.0"), "nginx:400"),
    "a length in quotes": (measured(b'Content-Length: "5"'), "nginx:400"),
    "a length with a zero": (measured(b"Content-Length: 05"), "first:5 marker:0"),
    "a length and a space": (measured(b"Content-Length: 5 "), "first:5 marker:0"),
    "a length and a tab": (measured(b"Content-Length: 5\t"), "nginx:400"),
    "a tab and a length": (measured(b"Content-Length:\t5"), "nginx:400"),
    "a length and a vertical tab": (measured(b"Content-Length: 5\x0b"), "nginx:400"),
    "a length without a space": (measured(b"Content-Length:5"), "first:5 marker:0"),
    "a length with a space within": (measured(b"Content-Length: 0 5"), "nginx:400"),
    "an empty length": (hiding(b"Content-Length: "), "nginx:400"),
    "a length beyond 64 bits": (measured(b"Content-Length: 18446744073709551621"), "nginx:400"),
    "a length of many digits": (measured(b"Content-Length: " + b"9" * 400), "nginx:400"),
    "a length in HTTP/1.0": (measured(LENGTH, b"Connection: keep-alive", line=LINE[:-1] + b"0"), "first:5 marker:0"),
    # --- names that are almost correct
    "a space before the colon of a length": (hiding(b"Content-Length : %d" % len(HIDDEN)), "nginx:400"),
    "a tab before the colon of a length": (hiding(b"Content-Length\t: %d" % len(HIDDEN)), "nginx:400"),
    "an underscore in Content_Length": (hiding(b"Content_Length: %d" % len(HIDDEN)), "first:0 hidden:0 marker:0"),
    "a dot in Content.Length": (hiding(b"Content.Length: %d" % len(HIDDEN)), "first:0 hidden:0 marker:0"),
    "NUL in Content-Length": (hiding(b"Content-\x00Length: %d" % len(HIDDEN)), "nginx:400"),
    "a folded length": (hiding(b"Content-Length:", b" %d" % len(HIDDEN)), "nginx:400"),
    "a length in a folded line": (hiding(b"X: y", b" Content-Length: %d" % len(HIDDEN)), "nginx:400"),
    "a field line without a colon": (hiding(b"Content-Length %d" % len(HIDDEN)), "nginx:400"),
    "a field line without a name": (hiding(b": %d" % len(HIDDEN)), "nginx:400"),
    "a length after a bare CR": (hiding(b"X: y\rContent-Length: %d" % len(HIDDEN)), "nginx:400"),
    "a length after a bare LF": (hiding(b"X: y\nContent-Length: %d" % len(HIDDEN)), "first:78 marker:0"),
    "a length after NUL": (hiding(b"X: y\x00Content-Length: %d" % len(HIDDEN)), "nginx:400"),
    "a control byte in a field": (measured(LENGTH, b"X: a\x01b"), "server:400 marker:0"),
    "bytes beyond ASCII in a field": (measured(LENGTH, b"X: \xc3\xa9\xff"), "first:5 marker:0"),
    "a byte beyond ASCII in the target": (
        measured(LENGTH, line=LINE.replace(b"first", b"\xff/first")),
        "server:400 marker:0",
    ),
    "a length in a field that Connection takes away": (
        measured(LENGTH, b"Connection: Content-Length"),
        "first:5 marker:0",
    ),
    # --- transfer codings
    "a space before the colon of a coding": (coded(b"Transfer-Encoding : chunked"), "nginx:400"),
    "a coding after a space": (message(CHUNKED, line=LINE + b"\r\n X: y", body=IN_CHUNKS), "nginx:400"),
    "an underscore in Transfer_Encoding": (hiding(b"Transfer_Encoding: chunked"), "first:0 hidden:0 marker:0"),
    "a folded coding": (coded(b"Transfer-Encoding:", b" chunked"), "nginx:400"),
    "a coding in a folded line": (coded(b"X: y", b" Transfer-Encoding: chunked"), "nginx:400"),
    "a coding after a bare CR": (hiding(b"X: y\rTransfer-Encoding: chunked"), "nginx:400"),
    "a coding after a bare LF": (coded(b"X: y\nTransfer-Encoding: chunked"), "first:5 marker:0"),
    "a tab and a coding": (coded(b"Transfer-Encoding:\tchunked"), "nginx:501"),
    "a coding and a tab": (coded(b"Transfer-Encoding: chunked\t"), "nginx:501"),
    "a coding and a space": (coded(b"Transfer-Encoding: chunked "), "first:5 marker:0"),
    "a vertical tab and a coding": (coded(b"Transfer-Encoding: \x0bchunked"), "nginx:501"),
    "capital letters": (coded(b"TRANSFER-ENCODING: CHUNKED"), "first:5 marker:0"),
    "chunked, identity": (coded(b"Transfer-Encoding: chunked, identity"), "nginx:501"),
    "identity, chunked": (coded(b"Transfer-Encoding: identity, chunked"), "nginx:501"),
    "identity": (coded(b"Transfer-Encoding: identity"), "nginx:501"),
    "gzip, chunked": (coded(b"Transfer-Encoding: gzip, chunked"), "nginx:501"),
    "chunked, chunked": (coded(b"Transfer-Encoding: chunked, chunked"), "nginx:501"),
    "chunked twice": (coded(CHUNKED, CHUNKED), "nginx:400"),
    "chunked and identity": (coded(CHUNKED, b"Transfer-Encoding: identity"), "nginx:400"),
    "identity and chunked": (coded(b"Transfer-Encoding: identity", CHUNKED), "nginx:400"),
    "xchunked": (coded(b"Transfer-Encoding: xchunked"), "nginx:501"),
    "chunkedx": (coded(b"Transfer-Encoding: chunkedx"), "nginx:501"),
    "chunked in quotes": (coded(b'Transfer-Encoding: "chunked"'), "nginx:501"),
    "chunked with a parameter": (coded(b"Transfer-Encoding: chunked;q=1"), "nginx:501"),
    "a comma and chunked": (coded(b"Transfer-Encoding: , chunked"), "nginx:501"),
    "an empty coding": (coded(b"Transfer-Encoding: "), "nginx:501"),
    "NUL in chunked": (coded(b"Transfer-Encoding: chun\x00ked"), "nginx:400"),
    "chunked in HTTP/1.0": (coded(CHUNKED, b"Connection: keep-alive", line=LINE[:-1] + b"0"), "nginx:400"),
    "a coding in a field that Connection takes away": (
        coded(CHUNKED, b"Connection: Transfer-Encoding"),
        "first:5 marker:0",
    ),
    # --- chunks
    "an extension": (chunks(b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), "first:5 marker:0"),
    "an extension that hides a size": (chunks(b"5;\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "an extension with a bare CR": (chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size and a bare LF": (chunks(b"5\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size and a bare CR": (chunks(b"5\rhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size and a space": (chunks(b"5 \r\nhello\r\n0\r\n\r\n"), "first:5 marker:0"),
    "a space and a size": (chunks(b" 5\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a positive size": (chunks(b"+5\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a negative size": (chunks(b"-5\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size with 0x": (chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size with an underscore": (chunks(b"0_5\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size with zeros": (chunks(b"00000005\r\nhello\r\n0000\r\n\r\n"), "first:5 marker:0"),
    "a size of many zeros": (chunks(b"0" * 400 + b"5\r\nhello\r\n0\r\n\r\n"), "first:5 marker:0"),
    "no size": (chunks(b"\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size beyond 64 bits": (chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size of -1 in 64 bits": (chunks(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "a size below 64 bits": (chunks(b"7fffffffffffffff\r\nhello\r\n0\r\n\r\n"), "nginx:400"),
    "no end of a chunk": (chunks(b"5\r\nhello0\r\n\r\n"), "nginx:400"),
    "a chunk that ends with LF": (chunks(b"5\r\nhello\n0\r\n\r\n"), "nginx:400"),
    "a chunk that is longer than its size": (chunks(b"5\r\nhelloo\r\n0\r\n\r\n"), "nginx:400"),
    "a last chunk and LF": (chunks(b"5\r\nhello\r\n0\n\n"), "nginx:400"),
    "a last chunk and nothing": (chunks(b"5\r\nhello\r\n0" + HIDDEN), "nginx:400"),
    "a trailer": (chunks(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"), "first:5 marker:0"),
    "a trailer that is a length": (chunks(b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"), "first:5 marker:0"),
    "a trailer that is a coding": (
        chunks(b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "first:5 marker:0",
    ),
    "a trailer that is a host": (chunks(b"5\r\nhello\r\n0\r\nHost: evil.example\r\n\r\n"), "first:5 marker:0"),
    "a trailer that is no field": (chunks(b"5\r\nhello\r\n0\r\nX\r\n\r\n"), "first:5 marker:0"),
    "a trailer that is a request": (chunks(b"5\r\nhello\r\n0\r\n" + HIDDEN), "first:5 marker:0"),
    "a trailer with a bare LF": (chunks(b"5\r\nhello\r\n0\r\nX: y\n\n"), "nginx:400"),
    # --- methods, targets, versions
    "HEAD with a body": (measured(LENGTH, line=LINE.replace(b"PUT", b"HEAD")), "HEAD marker:0"),
    "HEAD in chunks": (coded(CHUNKED, line=LINE.replace(b"PUT", b"HEAD")), "HEAD marker:0"),
    "GET with a body": (measured(LENGTH, line=LINE.replace(b"PUT", b"GET")), "first:5 marker:0"),
    "GET in chunks": (coded(CHUNKED, line=LINE.replace(b"PUT", b"GET")), "first:5 marker:0"),
    "DELETE with a body": (measured(LENGTH, line=LINE.replace(b"PUT", b"DELETE")), "first:5 marker:0"),
    "TRACE with a body": (measured(LENGTH, line=LINE.replace(b"PUT", b"TRACE")), "nginx:405"),
    "a method in lower case": (measured(LENGTH, line=LINE.replace(b"PUT", b"put")), "nginx:400"),
    "a tab for a space": (measured(LENGTH, line=LINE.replace(b" ", b"\t")), "nginx:400"),
    "two spaces": (measured(LENGTH, line=LINE.replace(b" ", b"  ")), "first:5 marker:0"),
    "a space in the target": (hiding(line=LINE.replace(b"first", b"fi rst")), "nginx:400"),
    "two versions": (hiding(line=LINE + b" HTTP/1.1"), "nginx:400"),
    "another version": (measured(LENGTH, line=LINE[:-1] + b"2"), "first:5 marker:0"),
    "a version with zeros": (measured(LENGTH, line=LINE.replace(b"1.1", b"1.01")), "first:5 marker:0"),
    "HTTP/0.9": (b"GET @%s/first\r\n" % KEY + HIDDEN, "closed"),
    "empty lines before": (b"\r\n\r\n" + measured(LENGTH), "first:5 marker:0"),
    "a space before": (b" " + measured(LENGTH), "nginx:400"),
    "lines that end with LF": (message(LENGTH, end=b"\n", body=b"hello"), "first:5 marker:0"),
    "an absolute target": (measured(LENGTH, line=LINE.replace(b"@", b"http://127.0.0.1@")), "first:5 marker:0"),
    "an absolute target of nobody": (hiding(line=LINE.replace(b"@", b"http://evil.example@")), "closed"),
    "a field in a target": (
        measured(LENGTH, line=LINE.replace(b"first", b"first%20HTTP/1.1%0d%0aX:%20y")),
        "1.1%0d%0aX:%20y:5 marker:0",
    ),
    # --- expectations, upgrades
    "100-continue": (measured(LENGTH, b"Expect: 100-continue"), "first:5 marker:0"),
    "100-continue in chunks": (coded(CHUNKED, b"Expect: 100-continue"), "first:5 marker:0"),
    "100-continue without a body": (message(b"Expect: 100-continue"), "first:0 marker:0"),
    "100-continue in HTTP/1.0": (
        measured(LENGTH, b"Connection: keep-alive", b"Expect: 100-continue", line=LINE[:-1] + b"0"),
        "first:5 marker:0",
    ),
    "100-continue, obfuscated": (measured(LENGTH, b"Expect: y 100-continue"), "first:5 marker:0"),
    "100-continue twice": (measured(LENGTH, b"Expect: 100-continue", b"Expect: 100-continue"), "nginx:400"),
    "another expectation": (measured(LENGTH, b"Expect: miracles"), "first:5 marker:0"),
    "an upgrade to HTTP/2": (
        measured(LENGTH, b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAA", b"Connection: Upgrade, HTTP2-Settings"),
        "first:5 marker:0",
    ),
    "an upgrade to a web socket": (
        measured(LENGTH, b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Connection: Upgrade"),
        "first:5 marker:0",
    ),
    "Connection: close": (measured(LENGTH, b"Connection: close"), "first:5"),
}


@dataclass
class Exchange:
    """The answers that a client got for what it sent, and the requests that the application saw."""

    answers: list[Answer]
    seen: list[dict[str, Any]]
    sent: bytes

    @property
    def answered(self) -> list[str]:
        """The request of each answer of the application; unknown for HEAD."""
        return [path_of(answer.json()) if answer.body else "?" for answer in self.answers if is_application_s(answer)]

    def faults(self) -> Iterator[str]:
        """Violations of the rules above. Requests and answers have the order of the connection."""
        seen, answered = [path_of(request) for request in self.seen], self.answered
        refused = [is_nginx_s(answer) for answer in self.answers]
        if any(refused) and seen[len(answered) :] == ["first"]:
            seen.pop()  # the application may have got a part of a streamed body before the rest was refused
        if len(seen) != len(answered) or any(a not in (s, "?") for a, s in zip(answered, seen, strict=True)):
            yield f"the application saw {seen}, and the client got answers to {answered}"
        for received in [answer.json() for answer in self.answers if is_application_s(answer) and answer.body]:
            if received["body"].encode("latin-1") not in self.sent:
                yield f"this was not sent: {received['body']}"
        if True in refused[:-1]:
            yield "something was answered after nginx had refused what came before"

    def verdict(self) -> str:
        """The outcome in the form of the table."""
        words = []
        for answer in self.answers:
            if not is_application_s(answer):
                words.append(f"{'nginx' if is_nginx_s(answer) else 'server'}:{answer.status}")
            elif answer.body:
                received = answer.json()
                words.append(f"{path_of(received)}:{received['length']}")
            else:
                words.append("HEAD")
        return " ".join(words) or "closed"


def path_of(received: dict[str, Any]) -> str:
    return str(received["target"]).rpartition("/")[2]


def is_application_s(answer: Answer) -> bool:
    return answer.status == 200


def is_nginx_s(answer: Answer) -> bool:
    """Errors of wsgiserver have the same names, but a space after each colon; those of gunicorn have another form."""
    return answer.body.startswith(b'{"error":"')


def speak(wire: Wire, *parts: bytes) -> list[Answer]:
    """Send the parts, and read answers until the connection is closed. An answer, maybe 100, follows each part."""
    answers: list[Answer] = []
    is_bodiless = parts[0].lstrip().startswith(b"HEAD")
    with wire, contextlib.suppress(ConnectionError):
        for part in parts[:-1]:
            wire.send(part)
            answers += [answer for answer in [read_answer(wire.reader)] if answer.status != 100]
        wire.send(parts[-1])
        while True:
            answer = read_answer(wire.reader, method="HEAD" if is_bodiless and not answers else "GET")
            if answer.status != 100:
                answers.append(answer)
    return answers


def in_parts(data: bytes) -> list[bytes]:
    """Head and body; the body is sent after "100 Continue", because nginx passes on chunks only before it has the whole
    body. A message without a body, with its own Expect or with another first line is one part.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    if not body or b"Expect" in head or not head.startswith(LINE):
        return [data]
    return [head + b"\r\nExpect: 100-continue" + end, body]


def exchange(edge: Edge, way: str, data: bytes, *, is_whole: bool = False) -> Exchange:
    """`is_whole`: send all at once, even if streamed, because a server may refuse a head before or after its body."""
    server, prefix = WAYS[way]
    key = uuid.uuid4().hex.encode()
    *parts, last = in_parts(data) if "streamed" in way and not is_whole else [data]
    parts = [part.replace(KEY, key).replace(PREFIX, prefix.encode()) for part in (*parts, last + MARKER)]
    answers = speak(edge.wire(server), *parts)
    # On another client connection, but nginx reuses the connection to the server if it is still open.
    (seen,) = speak(edge.wire(server), f"GET /_seen/{key.decode()} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    received = seen.json()
    assert isinstance(received, list), f"this is the answer to something else: {received}"
    return Exchange(answers, received, b"".join(parts))


@pytest.mark.parametrize("name", MESSAGES)
def test_nginx_and_the_server_read_a_message_identically(edge: Edge, name: str) -> None:
    data, outcome = MESSAGES[name]
    found = {way: exchange(edge, way, data, is_whole=outcome.startswith("server")) for way in WAYS}
    assert [f"{way}: {fault}" for way in WAYS for fault in found[way].faults()] == []
    assert {way: found[way].verdict() for way in WAYS} == dict.fromkeys(WAYS, outcome)


@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_an_invalid_chunk_in_a_streamed_body_ends_the_connection(edge: Edge, server: str) -> None:
    """The server has got half of the body when nginx finds the invalid chunk. The rest must not become a request."""
    key = uuid.uuid4().hex
    head = message(CHUNKED, body=b"5\r\nhello\r\n").replace(PREFIX, b"/streamed/api/").replace(KEY, key.encode())
    with edge.wire(server) as wire:
        wire.send(head)
        if server == "gunicorn":  # calls the application after the head; web, after the body
            poll(lambda: seen_under(edge, server, key) == ["first"], "the application was called", 30)
        wire.send(b"no size\r\n" + HIDDEN.replace(KEY, key.encode()))
        assert read_answer(wire.reader).status == 400
        with pytest.raises(ConnectionError):
            read_answer(wire.reader)
    assert seen_under(edge, server, key) == []


def seen_under(edge: Edge, server: str, key: str) -> list[str]:
    """The requests since the last call."""
    (answer,) = speak(edge.wire(server), f"GET /_seen/{key} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    return [path_of(request) for request in answer.json()]


# --- checks of the checks ---------------------------------------------------------------------------------------------


def test_the_check_detects_a_server_that_misreads_a_chunked_body(stack: Stack) -> None:
    """Behind the same nginx. A buffer would remove the chunks."""
    with Backends(stack, {"web": source("naive.py")}) as backends, Edge(backends, {}) as edge:
        found = exchange(edge, "web, streamed", MESSAGES["a request in a chunk"][0])
        assert [path_of(request) for request in found.seen] == ["first", "hidden", "marker"]
        assert list(found.faults()) != []
        assert list(exchange(edge, "web, buffered", MESSAGES["a request in a chunk"][0]).faults()) == []


def echo(path: str, body: str = "") -> Answer:
    return Answer(
        200, HTTPMessage(), json.dumps({"target": f"/api/k/{path}", "length": len(body), "body": body}).encode()
    )


REFUSAL = Answer(400, HTTPMessage(), b'{"error":"bad-request","request_id":""}')
OF_WEB = Answer(400, HTTPMessage(), b'{"error": "head-malformed", "request_id": ""}')
FIRST, HIDDEN_ONE, MARKED = ({"target": f"/api/k/{path}"} for path in ("first", "hidden", "marker"))
# Name -> an exchange, and whether it is correct.
EXCHANGES: dict[str, tuple[Exchange, bool]] = {
    "both answered": (Exchange([echo("first", "hello"), echo("marker")], [FIRST, MARKED], b"hello"), True),
    "refused": (Exchange([REFUSAL], [], b""), True),
    "nothing": (Exchange([], [], b""), True),
    "one too many seen": (Exchange([echo("first"), echo("marker")], [FIRST, HIDDEN_ONE, MARKED], b""), False),
    "one too many answered": (Exchange([echo("first"), echo("first"), echo("marker")], [FIRST, MARKED], b""), False),
    "answers that changed places": (Exchange([echo("marker"), echo("first")], [FIRST, MARKED], b""), False),
    "the answer to something else": (Exchange([echo("first"), echo("hidden")], [FIRST, MARKED], b""), False),
    "seen, and refused": (Exchange([REFUSAL], [HIDDEN_ONE], b""), False),
    "refused, and what followed was seen": (Exchange([REFUSAL], [MARKED], b""), False),
    "answered after a refusal": (Exchange([REFUSAL, echo("marker")], [MARKED], b""), False),
    "seen in part, and refused": (Exchange([REFUSAL], [FIRST], b""), True),
    "refused by gunicorn": (Exchange([Answer(400, HTTPMessage(), b"no"), echo("marker")], [MARKED], b""), True),
    "refused by web": (Exchange([OF_WEB, echo("marker")], [MARKED], b""), True),
    "another body": (Exchange([echo("first", "hello")], [FIRST], b"hullo"), False),
}


@pytest.mark.parametrize("case", EXCHANGES)
def test_the_check_tells_good_exchanges_from_faulty_ones(case: str) -> None:
    found, is_sound = EXCHANGES[case]
    assert (list(found.faults()) == []) == is_sound
