"""h11 as the oracle: h11 accepts what our receiver accepts, and both read the same request.

h11 deliberately accepts more than we do (folded lines, bare LF, Content-Length beside chunked), so the tests check only
this direction. Two differences by design are removed before a comparison: we resolve an absolute-form target, and we
join repeated fields.
"""

import re
from collections.abc import Iterator

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.server import corpus, messages
from tests.server.http1.test_head import ACCEPTED
from tests.wire.building import chunked, request, sized
from wsgiserver.errors import Refusal
from wsgiserver.http1.fields import Fields
from wsgiserver.http1.framing import keeps_alive
from wsgiserver.http1.head import Head
from wsgiserver.serving.receiver import Limits, Receiver, Stage

Exchange = tuple[Head, bytes, dict[str, str]]


def read_by_receiver(data: bytes) -> list[Exchange]:
    """Return head, body and trailers of the requests that we would serve before a refused or incomplete one."""
    receiver = Receiver(Limits(1 << 20, 1 << 20, None))
    served: list[Exchange] = []
    try:
        while receiver.feed(data) is Stage.COMPLETE:
            assert receiver.head is not None
            body = receiver.spool.rewind().read() if receiver.spool is not None else b""
            served.append((receiver.head, body, receiver.trailers))
            if not keeps_alive(receiver.head):
                break
            receiver.release()
            data = b""
    except Refusal:
        return served
    else:
        return served
    finally:
        receiver.release()


def read_by_h11(data: bytes, count: int) -> Iterator[tuple[Exchange, bool]]:
    """Yield `count` requests as read by h11, and whether the connection stays open after each."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(data)
    for _ in range(count):
        event = server.next_event()
        assert isinstance(event, h11.Request), event
        fields = joined([(name.decode(), value.decode("latin-1")) for name, value in event.headers])
        head = Head(event.method.decode(), event.target.decode(), min(int(event.http_version[2:]), 1), Fields(fields))
        body = b""
        while isinstance(part := server.next_event(), h11.Data):
            body += part.data
        assert isinstance(part, h11.EndOfMessage), part
        server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        server.send(h11.EndOfMessage())
        stays_open = server.our_state is h11.DONE
        trailers = joined([(name.decode(), value.decode("latin-1")) for name, value in part.headers])
        yield (head, body, trailers), stays_open
        if stays_open:
            server.start_next_cycle()


def joined(fields: list[tuple[str, str]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in fields:
        separator = "; " if name == "cookie" else ", "
        result[name] = result[name] + separator + value if name in result else value
    return result


def resolved(head: Head) -> Head:
    match = re.fullmatch(r"(?i:https?)://([^/?]*)(/[^?]*)?(\?.*)?", head.target)
    if match is None:
        return head
    nothing = "*" if head.method == "OPTIONS" and not match[3] else "/"
    return head._replace(
        target=(match[2] or nothing) + (match[3] or ""), fields=Fields(head.fields | {"host": match[1]})
    )


def check(data: bytes) -> int:
    """Return the number of requests that we would serve; h11 must read each one identically."""
    served = read_by_receiver(data)
    for exchange, ((head, body, trailers), stays_open) in zip(served, read_by_h11(data, len(served)), strict=True):
        if "transfer-encoding" in head.fields:  # h11 returns it in lower case
            exchange[0].fields["transfer-encoding"] = exchange[0].fields["transfer-encoding"].lower()
        assert exchange == (resolved(head), body, trailers)
        assert stays_open is keeps_alive(exchange[0]) or not head.minor, "h11 keeps no HTTP/1.0 connection open"
        if not stays_open:
            break
    return len(served)


@pytest.mark.parametrize("name", ACCEPTED)
def test_valid_heads_are_read_identically_by_h11(name: str) -> None:
    assert check(ACCEPTED[name][0].encode("latin-1"))


@pytest.mark.parametrize(
    "data",
    [
        sized("/", b"hello"),
        sized("/", b"x" * 100_000),
        chunked("/", b"hello", size=2),
        chunked("/", b"x" * 100_000),
        request("POST", "/", "Transfer-Encoding: chunked", body=b'5;a=b;c="d e"\r\nhello\r\n0;f\r\nX: y\r\nZ:\r\n\r\n'),
        request("POST", "/", "Transfer-Encoding: CHUNKED", body=b"0A\r\n0123456789\r\n000\r\n\r\n"),
        request("GET", "/", version="1.0"),
        sized("/", b"hello") + b"GET / HTTP/1.1\r\n",
    ],
)
def test_valid_bodies_are_read_identically_by_h11(data: bytes) -> None:
    assert check(data)


# Parts of requests, valid ones more often than invalid ones.
METHODS = ["GET", "POST", "PUT", "M-SEARCH", "OPTIONS", "get", "G T", "", "G\xe9T", "CONNECT"]
TARGETS = ["/", "/", "/a?b=c", "//x", "/%20", "*", "http://h/p?q", "HTTP://h", "http://h:8?q", "x", "", "/a b", "/\x7f"]
VERSIONS = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.7", "HTTP/2.0", "HTTP/1.10", "http/1.1", ""]
ENDS = ["\r\n"] * 30 + ["\n", "\r", "\r\n ", "\r\n\t", "\r\r\n", ""]
FIELDS = [
    "Host: h",
    "Host: h",
    "Host: h:80",
    "host:h",
    "Host : h",
    "Host:",
    "Content-Length: 5",
    "Content-Length: 5",
    "content-length: 05",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "TRANSFER-ENCODING: Chunked ",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\x0bchunked",
    "Cookie: a=b",
    "X: \t y \t",
    "X: a\x80b",
    "X:",
    "X: a\0b",
    ": y",
    "X",
    "X\xe9: y",
    "Connection: close",
]
BODIES = [
    b"",
    b"hello",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n",
    b"05\r\nhello\r\n00\r\n\r\nGET / HTTP/1.1\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nT : v\r\n\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    line = f"{draw(st.sampled_from(METHODS))} {draw(st.sampled_from(TARGETS))} {draw(st.sampled_from(VERSIONS))}"
    lines = [line, *draw(st.lists(st.sampled_from(FIELDS), max_size=4))]
    head = "".join(each + draw(st.sampled_from(ENDS)) for each in lines) + draw(st.sampled_from(ENDS))
    return head.encode("latin-1") + draw(st.sampled_from(BODIES))


# Requests that h11 refuses and RFC 9112 allows: an empty line before a request (section 2.2), space before a chunk
# extension (section 7.1.1).
NOT_H11 = {
    "as-many-empty-lines-as-may-be",
    "empty-lines-before-the-request",
    "pipelined-with-empty-lines-between",
    "chunk-extensions-with-space",
}
NOT_H11_PATTERN = re.compile(rb"\A\r\n|\n[0-9A-Fa-f]+[ \t]+;")


@pytest.mark.parametrize("name", [name for name in corpus.names("valid") if name[4:] not in NOT_H11])
def test_the_valid_requests_of_the_corpus_are_read_identically_by_h11(name: str) -> None:
    assert check(corpus.data("valid", name))


@pytest.mark.parametrize("name", corpus.names("invalid"))
def test_requests_before_a_refused_one_are_read_identically_by_h11(name: str) -> None:
    expected = corpus.expected("invalid", name)
    if expected["refused"] != "body-too-large":  # the limit differs here
        assert check(corpus.data("invalid", name)) == expected["served"]


@given(st.lists(messages.requests(), min_size=1, max_size=3).map(b"".join))
def test_generated_valid_requests_are_read_identically_by_h11(data: bytes) -> None:
    assert check(data)


@given(st.data())
def test_accepted_requests_with_a_flaw_are_read_identically_by_h11(data: st.DataObject) -> None:
    flawed = data.draw(messages.flawed(data.draw(messages.requests())))
    if not NOT_H11_PATTERN.search(flawed):
        check(flawed)


@given(requests())
@example(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
def test_accepted_requests_of_random_parts_are_read_identically_by_h11(data: bytes) -> None:
    check(data)


@given(st.sampled_from(list(ACCEPTED)), st.integers(0, 200), st.binary(max_size=2))
def test_accepted_heads_with_a_flaw_are_read_identically_by_h11(name: str, position: int, flaw: bytes) -> None:
    data = ACCEPTED[name][0].encode("latin-1")
    flawed = data[:position] + flaw + data[position + 1 :]
    if not flawed.startswith(b"\r\n"):  # the RFC ignores an empty line before a request, h11 does not
        check(flawed)
