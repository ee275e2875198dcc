"""Requests assembled from pieces: the same for any pieces, and never complete too early."""

import contextlib
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server import messages
from tests.server.feeding import completed
from wsgiserver.errors import Refusal
from wsgiserver.http1.chunked import MAX_TRAILER
from wsgiserver.serving.receiver import Limits, Receiver, Stage

LIMITS = Limits(max_body=100, memory=20, folder=None)


class Request(NamedTuple):
    method: str
    target: str
    body: bytes | None
    trailers: tuple[tuple[str, str], ...] = ()


Outcome = list[Request | str]


def received(pieces: list[bytes], limits: Limits = LIMITS) -> Outcome:
    """Return the complete requests, then the name of the refusal or the stage of the rest."""
    receiver = Receiver(limits)
    requests: Outcome = []
    try:
        requests.extend(map(as_request, completed(receiver, pieces)))  # requests before a refusal stay
    except Refusal as refusal:
        return [*requests, refusal.name]
    else:
        return [*requests, "idle" if receiver.is_idle else receiver.stage.name]
    finally:
        receiver.release()


def as_request(receiver: Receiver) -> Request:
    head, spool = receiver.head, receiver.spool
    assert head is not None
    body = spool.rewind().read() if spool is not None else None
    return Request(head.method, head.target, body, tuple(receiver.trailers.items()))


def check(data: bytes, *expected: Request | str) -> None:
    assert received([data]) == list(expected)
    assert received([data[n : n + 1] for n in range(len(data))]) == list(expected)
    for split in range(len(data) + 1):
        assert received([data[:split], data[split:]] if split < len(data) else [data]) == list(expected), split


GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = b"x" * 60  # more than the limit in memory


def post(body: bytes, *fields: str) -> bytes:
    lines = "".join(f"{field}\r\n" for field in fields)
    return f"POST /b HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode() + body


def length(body: bytes) -> bytes:
    return post(body, f"Content-Length: {len(body)}")


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return post(body + b"0\r\n" + trailer + b"\r\n", "Transfer-Encoding: chunked")


G = Request("GET", "/a", None)


def p(body: bytes | None, *trailers: tuple[str, str]) -> Request:
    return Request("POST", "/b", body, trailers)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GET, [G, "idle"]),
        (length(b""), [p(None), "idle"]),
        (length(b"hello"), [p(b"hello"), "idle"]),
        (length(LONG), [p(LONG), "idle"]),
        (chunked(), [p(b""), "idle"]),
        (chunked(b"he", b"llo"), [p(b"hello"), "idle"]),
        (chunked(LONG, b"y"), [p(LONG + b"y"), "idle"]),
        (chunked(b"x", trailer=b"T: v\r\n"), [p(b"x", ("t", "v")), "idle"]),
        # pipelined
        (GET + GET + GET, [G, G, G, "idle"]),
        (length(b"hello") + GET, [p(b"hello"), G, "idle"]),
        (chunked(b"hello") + GET, [p(b"hello"), G, "idle"]),
        (chunked(b"hello", trailer=b"T: v\r\n") + chunked(b"x"), [p(b"hello", ("t", "v")), p(b"x"), "idle"]),
        (GET + length(LONG) + chunked(LONG) + GET, [G, p(LONG), p(LONG), G, "idle"]),
        (GET + b"GET /a", [G, "IN_HEAD"]),
        (GET + length(b"hello")[:-1], [G, "IN_BODY"]),
        # empty lines before a request (RFC 9112, section 2.2)
        (b"\r\n" + GET, [G, "idle"]),
        (b"\r\n\r\n\r\n" + GET, [G, "idle"]),
        (length(b"hello") + b"\r\n" + GET, [p(b"hello"), G, "idle"]),
        (GET + b"\r\n", [G, "idle"]),
        (GET + b"\r", [G, "IN_HEAD"]),
        (b"\r\n" * 8 + GET + b"\r\n" * 8 + GET, [G, G, "idle"]),
        (b"\r\n" * 9, ["head-malformed"]),
        (b"\r\n" * 9 + GET, ["head-malformed"]),
        (GET + b"\r\n" * 9, [G, "head-malformed"]),
        (b"\n" + GET, ["head-malformed"]),
        (b"\r\r\n" + GET, ["head-malformed"]),
        # truncated: never complete
        (GET[:-1], ["IN_HEAD"]),
        (length(b"hello")[:-1], ["IN_BODY"]),
        (length(LONG)[:-1], ["IN_BODY"]),
        (chunked(b"hello")[:-1], ["IN_BODY"]),
        (chunked(b"hello")[:-2], ["IN_BODY"]),
        (chunked(b"hello")[:-5], ["IN_BODY"]),
        (chunked(b"hello")[:-6], ["IN_BODY"]),
        (chunked(b"hello", trailer=b"T: v\r\n")[:-2], ["IN_BODY"]),
        # too large
        (post(b"", "Content-Length: 101"), ["body-too-large"]),
        (post(b"", "Content-Length: 999999999999999999"), ["body-too-large"]),
        (length(b"x" * 100), [p(b"x" * 100), "idle"]),
        (chunked(b"x" * 100), [p(b"x" * 100), "idle"]),
        (chunked(b"x" * 101), ["body-too-large"]),
        (chunked(*[b"x" * 10] * 11), ["body-too-large"]),
        # refused in the head, framing or body, or after a valid request
        (post(b"", "Content-Length: 5, 5"), ["content-length-invalid"]),
        (post(b"", "Expect: x", "Content-Length: 5"), ["expectation-unknown"]),
        (post(b"5\r\nhello0\r\n\r\n", "Transfer-Encoding: chunked"), ["chunk-end-invalid"]),
        (GET + post(b"z\r\n", "Transfer-Encoding: chunked"), [G, "chunk-size-invalid"]),
        (GET + b"GET /a HTTP/1.1\r\n\r\n", [G, "host-missing"]),
    ],
)
def test_requests_are_received_or_refused_by_name(data: bytes, expected: Outcome) -> None:
    check(data, *expected)


def test_a_request_inside_a_body_stays_in_the_body() -> None:
    check(length(GET) + GET, p(GET), G, "idle")
    check(chunked(GET) + GET, p(GET), G, "idle")


@pytest.mark.parametrize(
    ("data", "awaits"),
    [
        (post(b"", "Expect: 100-continue", "Content-Length: 5"), True),
        (post(b"", "Expect: 100-continue", "Transfer-Encoding: chunked"), True),
        (post(b"he", "Expect: 100-continue", "Content-Length: 5"), False),  # the client did not wait
        (post(b"", "Content-Length: 5"), False),
        (post(b"", "Expect: 100-continue", "Content-Length: 0"), False),  # no body to wait with
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", False),
    ],
)
def test_only_a_client_that_expects_100_continue_waits_for_it(data: bytes, *, awaits: bool) -> None:
    receiver = Receiver(LIMITS)
    receiver.feed(data)
    assert receiver.awaits_continue is awaits
    receiver.release()


def test_the_next_request_does_not_wait_for_100_continue() -> None:
    receiver = Receiver(LIMITS)
    receiver.feed(post(b"", "Expect: 100-continue", "Content-Length: 5"))
    assert receiver.feed(b"hello" + length(b"hello")[:-1]) is Stage.COMPLETE
    receiver.release()
    assert receiver.feed(b"") is Stage.IN_BODY
    assert not receiver.awaits_continue
    receiver.release()


def test_a_body_that_is_too_large_is_refused_instead_of_100_continue() -> None:
    assert received([post(b"", "Expect: 100-continue", "Content-Length: 101")]) == ["body-too-large"]


def test_a_chunked_body_is_refused_as_soon_as_it_exceeds_the_limit() -> None:
    """The receiver stores no byte beyond the limit and does not wait for the end."""
    receiver = Receiver(LIMITS)
    receiver.feed(post(b"fff\r\n" + b"x" * 99, "Transfer-Encoding: chunked"))
    assert receiver.feed(b"x") is Stage.IN_BODY
    with pytest.raises(Refusal, match="body-too-large"):
        receiver.feed(b"x")
    assert receiver.spool is not None
    assert receiver.spool.size == 100
    receiver.release()


def test_the_framing_for_the_log_is_none_length_or_chunked() -> None:
    for data, framing in ((GET, "none"), (length(b""), "none"), (length(b"x"), "length"), (chunked(), "chunked")):
        receiver = Receiver(LIMITS)
        receiver.feed(data)
        assert receiver.framing == framing
        receiver.release()
        assert receiver.framing == "none"


def test_a_head_that_never_ends_is_refused() -> None:
    endless = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000
    assert received([endless]) == ["headers-too-large"]
    assert received([endless[n : n + 1000] for n in range(0, len(endless), 1000)]) == ["headers-too-large"]
    trailer = post(b"0\r\nX: " + b"y" * MAX_TRAILER, "Transfer-Encoding: chunked")
    assert received([trailer]) == ["trailer-too-large"]


@given(st.data(), st.lists(st.integers(0, 3000), max_size=6))
def test_a_flawed_request_is_refused_identically_in_any_pieces(data: st.DataObject, positions: list[int]) -> None:
    """The first error decides, although requests in pieces are refused before their end. The size limit is off: it
    applies to each piece.
    """
    unlimited = Limits(max_body=1 << 40, memory=20, folder=None)
    requests = data.draw(st.lists(messages.requests(), min_size=1, max_size=2).map(b"".join))
    flaw = data.draw(messages.flawed(requests))
    expected = received([flaw], unlimited)
    assert received(messages.cut(flaw, positions), unlimited) == expected
    assert received([flaw[n : n + 1] for n in range(len(flaw))], unlimited) == expected


@given(
    bodies=st.lists(st.tuples(st.booleans(), st.binary(max_size=90)), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_requests_are_received_identically_in_any_pieces(bodies: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    data = b"".join(chunked(*filter(None, [body])) if coded else length(body) for coded, body in bodies)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    expected: Outcome = [p(body if coded or body else None) for coded, body in bodies]
    assert received(pieces) == [*expected, "idle"]


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD"),
        (b"HEAD / HTTP/1.1\r\nHo", "HEAD"),
        (b"HEAD / HTTP/9.9\r\n", "HEAD"),  # refused
        (b"\r\n\r\nHEAD / HTTP/1.1\r\n:", "HEAD"),  # refused
        (b"HEA", ""),
        (b"HEAD", ""),  # may become HEADER
        (b"GET / HTTP/1.1\r\n", ""),
    ],
)
def test_the_method_head_is_recognized_from_an_incomplete_or_refused_head(data: bytes, method: str) -> None:
    receiver = Receiver(LIMITS)
    with contextlib.suppress(Refusal):
        receiver.feed(data)
    assert receiver.method == method


def test_all_memory_held_besides_the_body_is_counted() -> None:
    receiver = Receiver(LIMITS)
    head = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for sent, held in [
        (head[:20], 20),
        (head[20:], len(head)),
        (b"5\r\nhello\r\n", len(head)),  # the spool counts the body
        (b"0", len(head) + 1),
        (b"\r\nA: 1\r\nB", len(head) + 7),  # one complete trailer and one incomplete one
        (b": 2\r\n\r\nGET /next", len(head) + 9),
    ]:
        receiver.feed(sent)
        assert receiver.held == held
    receiver.forget_rest()
    assert receiver.held == len(head)
    receiver.forget_most()
    assert receiver.held == len("/a")
    receiver.release()
    assert receiver.held == 0
    receiver.forget_most()  # nothing to forget
    assert receiver.is_idle


def test_a_receiver_that_forgets_most_keeps_method_and_target() -> None:
    receiver = Receiver(LIMITS)
    receiver.feed(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    receiver.forget_most()
    assert receiver.head is not None
    assert (receiver.head.method, receiver.head.target, dict(receiver.head.fields)) == ("GET", "/a", {})
