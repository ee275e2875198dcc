"""PEP 3333: applications that follow the rules, and the bytes that the server sends for them."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import h11
import pytest

from tests.server.wsgi.applications import (
    TEXT,
    Application,
    Closing,
    Exchange,
    Indexed,
    Instance,
    Late,
    LateWriting,
    ListWithClose,
    OwnIterator,
    Start,
    answering,
    check,
    empty_generator,
    fail,
    generating,
    late,
    read,
    refuse_file,
    replacing_its_response,
    wrapping,
    writing,
    writing_only,
)
from wsgiserver.errors import ApplicationError, ClientGone
from wsgiserver.wsgi.gateway import Response, ResponsePhase, run


@pytest.mark.parametrize(
    ("application", "body", "framing"),
    [
        (answering(b"hello"), b"hello", "5"),
        (answering(b"hello", kind=tuple), b"hello", "5"),
        (answering(b"hello", length=5), b"hello", "5"),
        (answering(b"he", b"llo", length=5), b"hello", "5"),
        (answering(b"x" * 200_000), b"x" * 200_000, "200000"),
        (answering(b"x" * 200_000, length=200_000), b"x" * 200_000, "200000"),
        (answering(b"he", b"llo"), b"hello", "5"),
        (answering(b"he", b"", b"llo", kind=tuple), b"hello", "5"),
        (answering(b"x" * 50_000, b"y" * 50_000), b"x" * 50_000 + b"y" * 50_000, "chunked"),
        (answering(b"hello", kind=iter), b"hello", "chunked"),
        (answering(b"hello", kind=set), b"hello", "5"),
        (answering(b"hello", kind=ListWithClose), b"hello", "5"),
        (answering(b"he", b"llo", kind=ListWithClose), b"hello", "chunked"),
        (answering(kind=ListWithClose), b"", "0"),
        (answering(b"", kind=ListWithClose), b"", "0"),
        (answering(b"he", b"llo", kind=deque), b"hello", "chunked"),
        (answering(b"he", b"llo", kind=lambda blocks: map(bytes, blocks)), b"hello", "chunked"),
        (answering(b"hello", kind=dict.fromkeys), b"hello", "5"),
        (answering(b"he", b"llo", kind=Indexed), b"hello", "chunked"),
        (answering(b"hello", kind=Indexed), b"hello", "5"),
        (answering(b"hello", length=5, kind=Indexed), b"hello", "5"),
        (answering(b"he", b"llo", kind=OwnIterator), b"hello", "chunked"),
        (answering(b""), b"", "0"),
        (answering(), b"", "0"),
        (answering(length=0), b"", "0"),
        (answering(b"", b""), b"", "0"),
        (generating, b"abc", "chunked"),
        (empty_generator, b"", "0"),
        (late, b"a", "chunked"),
        (writing, b"abc", "chunked"),
        (writing_only, b"ab", "2"),
        (replacing_its_response, b"sorry", "5"),
        (wrapping, b"x" * 100_000, "100000"),
    ],
)
def test_responses_have_the_right_body_and_framing(application: Any, body: bytes, framing: str) -> None:
    check(application, body, framing)


class Methods:
    """Methods of each kind as applications."""

    def of_instance(self, _: Any, start_response: Start) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [b"method"]

    @classmethod
    def of_class(cls, environ: Any, start_response: Start) -> list[bytes]:
        return cls().of_instance(environ, start_response)

    @staticmethod
    def of_none(_: Any, start_response: Start) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [b"method"]


def answering_by_name(environ: Any, start_response: Start, *, body: bytes) -> list[bytes]:
    start_response("200 OK", TEXT)
    return [body]


@pytest.mark.parametrize(
    ("application", "body", "framing"),
    [
        (Application, b"class", "chunked"),
        (Late, b"late", "4"),
        (LateWriting, b"late", "chunked"),
        (Instance(), b"instance", "8"),
        (Methods().of_instance, b"method", "6"),
        (Methods.of_class, b"method", "6"),
        (Methods.of_none, b"method", "6"),
        (partial(answering_by_name, body=b"partial"), b"partial", "7"),
    ],
)
def test_applications_of_every_kind_are_called(application: Any, body: bytes, framing: str) -> None:
    check(application, body, framing)


class Lying(Indexed):
    """Claims a length of one block."""

    def __len__(self) -> int:
        return 1


def test_a_list_that_yields_more_blocks_than_its_length_is_cut_off() -> None:
    fail(answering(b"he", b"llo", kind=Lying), "longer", b"he")


def test_a_small_response_takes_one_send_and_a_large_one_no_copy() -> None:
    assert len(Exchange(answering(b"hello")).sends) == 1
    large = Exchange(answering(b"x" * 200_000)).sends
    assert len(large) == 2
    assert len(large[1]) == 200_000


def test_each_block_is_sent_before_the_next_one_is_requested() -> None:
    seen: list[int] = []

    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for n in range(3):
            seen.append(len(sent))
            yield b"%d" % n

    sent: list[bytes] = []
    response = Response(sent.append, refuse_file, method="GET", minor=1, keep_alive=True)
    run(application, {}, response)
    assert seen == [0, 2, 3]  # the head with the first block, then one chunk per block


@pytest.mark.parametrize(
    ("application", "framing"),
    [
        (answering(b"hello"), "none"),
        (answering(b"hello", length=5), "5"),
        (answering(length=5), "5"),
        (answering(b"he", b"llo"), "none"),
        (writing, "none"),
    ],
)
def test_a_response_to_head_has_no_body(application: Any, framing: str) -> None:
    exchange = check(application, b"", framing, method="HEAD")
    assert exchange.response.keep_alive
    assert exchange.wire.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("blocks", [(), (b"",), (b"body",), (b"a", b"b")], ids=repr)
def test_a_204_or_304_response_has_no_body(status: str, blocks: tuple[bytes, ...]) -> None:
    exchange = check(answering(*blocks, status=status), b"", "none")
    assert exchange.response.keep_alive
    assert b"Transfer-Encoding" not in exchange.wire


@pytest.mark.parametrize(("status", "framing"), [("204 No Content", "none"), ("304 Not Modified", "5")])
def test_content_length_is_dropped_from_204_and_kept_in_304(status: str, framing: str) -> None:
    """RFC 9110, section 8.6: 204 has none; with 304 it describes the response that is not sent."""
    check(answering(status=status, length=5), b"", framing)


@pytest.mark.parametrize(
    ("application", "minor", "keep_alive", "stays_open", "connection"),
    [
        (answering(b"a"), 1, True, True, None),
        (answering(b"a"), 1, False, False, b"close"),
        (answering(b"a"), 0, True, True, b"keep-alive"),
        (answering(b"a"), 0, False, False, b"close"),
        (answering(b"a", b"b", kind=iter), 1, True, True, None),
        (answering(b"a", b"b", kind=iter), 0, True, False, b"close"),  # only a close can end the body
        (answering(b"a", b"b", length=2), 0, True, True, b"keep-alive"),
        (answering(status="204 No"), 0, True, True, b"keep-alive"),
    ],
)
def test_keep_alive_follows_version_and_framing(
    application: Any, minor: int, *, keep_alive: bool, stays_open: bool, connection: bytes | None
) -> None:
    exchange = Exchange(application, minor=minor, keep_alive=keep_alive)
    assert exchange.error is None
    assert exchange.response.keep_alive is stays_open
    assert dict(read(exchange)[1]).get(b"connection") == connection
    assert (b"Transfer-Encoding" in exchange.wire) is (exchange.framing == "chunked")
    assert minor or exchange.framing != "chunked"


def test_headers_are_sent_unchanged_and_date_once() -> None:
    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response("201 Made", [("X-A", "b"), ("x-a", "c"), ("DATE", "yesterday"), ("Server", "me")])
        return [b""]

    wire = Exchange(application).wire
    assert wire.startswith(b"HTTP/1.1 201 Made\r\nX-A: b\r\nx-a: c\r\nDATE: yesterday\r\nServer: me\r\n")
    assert wire.lower().count(b"date:") == 1
    assert Exchange(answering(b"")).wire.count(b"Date: ") == 1


def test_later_changes_of_the_header_list_are_not_sent() -> None:
    """The headers can be replaced until the first block, but not by changes of the list."""

    def application(_: Any, start_response: Start) -> list[bytes]:
        headers = [("A", "b")]
        start_response("200 OK", headers)
        headers.append(("C", "d"))
        return [b"x"]

    assert b"C: d" not in Exchange(application).wire


@pytest.mark.parametrize(
    ("blocks", "status", "error"),
    [
        (Closing(b"a"), "200 OK", None),
        (Closing(), "200 OK", None),
        (Closing(b"a", ValueError("in the middle")), "200 OK", "in the middle"),
        (Closing(ValueError("at once")), "200 OK", "at once"),
        (Closing(b"a", b"b", bad_close=ValueError("in close")), "200 OK", "in close"),
    ],
)
def test_close_is_called_once_whatever_happens(blocks: Closing, status: str, error: str | None) -> None:
    exchange = Exchange(answering(status=status, kind=lambda _: blocks))
    assert blocks.closed == 1
    assert (exchange.error is None) is (error is None)
    assert (error or "") in str(exchange.error)


def test_close_is_called_when_the_client_has_disconnected() -> None:
    def disconnect(_: bytes) -> None:
        raise ClientGone

    blocks = Closing(b"a", b"b")
    with pytest.raises(ClientGone):
        run(
            answering(kind=lambda _: blocks),
            {},
            Response(disconnect, refuse_file, method="GET", minor=1, keep_alive=True),
        )
    assert blocks.closed == 1


def test_a_generator_is_closed_at_a_block_that_is_too_long() -> None:
    ends: list[str] = []

    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "1")])
        try:
            yield b"ab"
        finally:
            ends.append("closed")

    fail(application, "longer", b"a")
    assert ends == ["closed"]


LINK = ("Link", "</style.css>; rel=preload")
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def hinting(*hints: Any, after: bool = False) -> Any:
    """Make an application that sends hints before or after its response starts."""

    def application(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        early: Callable[[Any], None] = environ["wsgi.early_hints"]
        if after:
            start_response("200 OK", TEXT)
            yield b"a"
        for hint in hints:
            early(hint)
        if not after:
            start_response("200 OK", TEXT)
            yield b"a"

    return application


@pytest.mark.parametrize(
    ("hints", "minor", "method", "sends"),
    [
        (([LINK],), 1, "GET", [HINTS]),
        (([LINK],), 1, "HEAD", [HINTS]),
        (([LINK], [LINK]), 1, "GET", [HINTS, HINTS]),
        (([LINK, ("A", "b")],), 1, "GET", [HINTS[:-2] + b"A: b\r\n\r\n"]),
        (([],), 1, "GET", []),
        (([LINK],), 0, "GET", []),
    ],
)
def test_early_hints_are_sent_before_the_response(
    hints: tuple[Any, ...], minor: int, method: str, sends: list[bytes]
) -> None:
    exchange = Exchange(hinting(*hints), minor=minor, method=method)
    assert exchange.error is None
    assert exchange.sends[: len(sends)] == sends
    assert exchange.sends[len(sends)].startswith(b"HTTP/1.1 200 OK\r\nContent-Type")
    assert exchange.wire.count(b" 103 ") == len(sends)


def test_h11_reads_early_hints_as_an_informational_response() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(Exchange(hinting([LINK])).wire)
    interim, final = client.next_event(), client.next_event()
    assert isinstance(interim, h11.InformationalResponse)
    assert (interim.status_code, list(interim.headers)) == (103, [(b"link", LINK[1].encode())])
    assert isinstance(final, h11.Response)


@pytest.mark.parametrize(
    ("hint", "match"),
    [
        ([("A", "b\r\nC: d")], "cannot be sent"),
        ([("A\r\n", "b")], "not a header name"),
        ([("Connection", "close")], "hop-by-hop"),
        ([("Content-Length", "5")], "Content-Length in early hints"),
        ([("A", 1)], "not a string"),
        (["ab", "c"], "not pairs"),
    ],
)
@pytest.mark.parametrize("minor", [0, 1])
def test_invalid_early_hints_are_refused(hint: Any, match: str, minor: int) -> None:
    exchange = Exchange(hinting(hint), minor=minor)
    assert isinstance(exchange.error, ApplicationError)
    assert match in str(exchange.error)
    assert (exchange.wire, exchange.response.phase) == (b"", ResponsePhase.UNSTARTED)


def test_early_hints_after_the_head_are_refused() -> None:
    fail(hinting([LINK], after=True), "after the head", b"1\r\na\r\n")


def test_early_hints_are_sent_between_start_response_and_the_head() -> None:
    def application(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        environ["wsgi.early_hints"]([LINK])
        yield b"a"

    assert Exchange(application).sends[0] == HINTS


def test_a_response_that_has_timed_out_sends_nothing() -> None:
    """Another thread has answered or disconnected the client: later output of the application is discarded."""
    sends: list[bytes] = []
    response = Response(sends.append, refuse_file, method="GET", minor=1, keep_alive=True)
    write = response.start_response("200 OK", [])
    assert response.time_out()
    with pytest.raises(ClientGone):
        write(b"too late")
    assert sends == []
    assert not response.replace("500"), "the request already has a response"


def test_a_complete_response_cannot_time_out() -> None:
    response = check(answering(b"whole"), b"whole", "5").response
    assert not response.time_out()
    assert not response.timed_out


class EndsMeanwhile(Response):
    """The application ends at the moment when another thread times its response out."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "timed_out" and value:
            self.finish()


def test_a_response_that_ends_just_before_its_timeout_is_the_only_one() -> None:
    response = EndsMeanwhile(lambda _: None, refuse_file, method="GET", minor=1, keep_alive=True)
    response.start_response("200 OK", [])
    with pytest.raises(ClientGone):  # the head is sent only if no response exists
        response.time_out()
    response = EndsMeanwhile(lambda _: None, refuse_file, method="GET", minor=1, keep_alive=True)
    response.start_response("200 OK", [])
    response.write(b"begun")
    assert not response.time_out()
    assert not response.timed_out


def test_an_unsent_response_can_be_replaced_after_a_failure() -> None:
    response = Response(lambda _: None, refuse_file, method="GET", minor=1, keep_alive=True)
    response.start_response("200 OK", [])
    assert response.replace("500")
    assert (response.status, response.keep_alive, response.phase) == ("500", False, ResponsePhase.HEAD_SENT)


def test_dropped_bytes_do_not_count_as_sent() -> None:
    response = Response(lambda _: None, refuse_file, method="GET", minor=1, keep_alive=True)
    write = response.start_response("200 OK", [])
    write(b"x" * 1000)
    response.cut_short(300)
    assert (response.sent, response.keep_alive) == (700, False)
    response.cut_short(1000)  # head and framing are also dropped
    assert response.sent == 0
