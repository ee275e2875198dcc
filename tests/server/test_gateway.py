"""PEP 3333 to the letter: what an application does, and the bytes that become of it.

`check` runs an application under `wsgiref.validate`, which asserts the server's side of the contract; those that
break the application's side run bare.
"""

import io
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import h11
import pytest

from wsgiserver.environ import build, template
from wsgiserver.errors import ApplicationError, ClientGone
from wsgiserver.filewrapper import FileWrapper
from wsgiserver.gateway import Phase, Response, run
from wsgiserver.http1.head import parse_head

Start = Callable[..., Callable[[bytes], None]]
TEXT = [("Content-Type", "text/plain")]


class Exchange:
    """One call of an application, with the bytes it gave rise to and how it ended."""

    def __init__(self, application: Any, *, method: str = "GET", minor: int = 1, keep_alive: bool = True) -> None:
        self.method = method
        self.sends: list[bytes] = []
        head = parse_head(f"{method} /a HTTP/1.{minor}\r\nHost: a\r\n\r\n".encode())
        base = template("srv", 80, sys.stderr, threads=True, processes=False)
        environ = build(base, head, ("192.0.2.1", 1), None) | {"wsgi.input": io.BytesIO()}
        self.files = 0  # how many parts of files were sent
        self.response = Response(self.sends.append, self._send_file, method=method, minor=minor, keep_alive=keep_alive)
        self.error: BaseException | None = None
        try:
            run(application, environ, self.response)
        except Exception as error:  # noqa: BLE001 - what is raised is looked at by the test
            self.error = error

    def _send_file(self, descriptor: int, offset: int, size: int) -> None:
        self.files += 1
        self.sends.append(os.pread(descriptor, size, offset))

    @property
    def wire(self) -> bytes:
        return b"".join(self.sends)

    @property
    def framing(self) -> str:
        """How the end is marked, as the head says it."""
        fields = dict(read(self)[1])
        if b"content-length" in fields:
            return fields[b"content-length"].decode()
        return fields.get(b"transfer-encoding", b"none").decode()


def no_file(*_: int) -> None:
    raise AssertionError("no file was meant to be sent")


def read(exchange: Exchange) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Let h11 read what was sent, to its end."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=exchange.method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(exchange.wire)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    client.receive_data(b"")
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response.status_code, list(response.headers), body


def check(application: Any, body: bytes, framing: str, *, method: str = "GET", minor: int = 1) -> Exchange:
    """Run it validated, which makes an iterator of whatever it returns, and as it is."""
    for each in (validator(application), application):
        exchange = Exchange(each, method=method, minor=minor)
        assert exchange.error is None
        assert exchange.response.phase is Phase.DONE
        assert read(exchange)[2] == body
        assert exchange.response.sent == len(body)
    assert exchange.framing == framing
    return exchange


def fail(application: Any, match: str, wire: bytes = b"", *, error: type[BaseException] = ApplicationError) -> Exchange:
    """An application that breaks a rule: what it raises, and how the body on the wire ends."""
    exchange = Exchange(application)
    with pytest.raises(error, match=match):
        raise exchange.error or AssertionError("nothing was raised")
    assert exchange.wire.partition(b"\r\n\r\n")[2] == wire
    return exchange


# --- Applications -----------------------------------------------------------------------------------------------


def answering(*blocks: bytes, status: str = "200 OK", length: int | None = None, kind: Any = list) -> Any:
    def application(_: Any, start_response: Start) -> Any:
        headers = TEXT if status[:3] not in {"204", "304"} else []
        start_response(status, [*headers, *([("Content-Length", str(length))] if length is not None else [])])
        return kind(blocks)

    return application


def generating(_: Any, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield b"a"
    yield b""
    yield b"bc"


def generating_nothing(_: Any, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", TEXT)
    yield from ()


def late(_: Any, start_response: Start) -> Iterator[bytes]:
    """Empty blocks before start_response's effect must not send the head (PEP 3333, "Middleware Handling")."""
    start_response("500 Changed my mind", TEXT)
    yield b""
    yield b"a"


def writing(_: Any, start_response: Start) -> list[bytes]:
    write = start_response("200 OK", TEXT)
    write(b"a")
    write(b"")
    write(b"b")
    return [b"c"]


def only_writing(_: Any, start_response: Start) -> list[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "2")])(b"ab")
    return []


class Application:
    """A class that is the application: instances are the answer."""

    def __init__(self, _: Any, start_response: Start) -> None:
        self._start = start_response

    def __iter__(self) -> Iterator[bytes]:
        self._start("200 OK", TEXT)
        yield b"class"


class Instance:
    def __call__(self, _: Any, start_response: Start) -> tuple[bytes]:
        start_response("200 OK", TEXT)
        return (b"instance",)


class Indexed:
    """Iterated by its indices, as of old."""

    def __init__(self, blocks: tuple[bytes, ...]) -> None:
        self._blocks = blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> bytes:
        return self._blocks[index]


class OwnIterator:
    """An iterator, and no generator."""

    def __init__(self, blocks: tuple[bytes, ...]) -> None:
        self._blocks = list(blocks)

    def __iter__(self) -> "OwnIterator":
        return self

    def __next__(self) -> bytes:
        if not self._blocks:
            raise StopIteration
        return self._blocks.pop(0)


class Late:
    """Begins when it is iterated, and says that it is one block."""

    def __init__(self, _: Any, start_response: Start) -> None:
        self._start = start_response

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        self._start("200 OK", TEXT)
        yield b"late"


class LateWriting(Late):
    def __iter__(self) -> Iterator[bytes]:
        self._start("200 OK", TEXT)(b"la")
        yield b"te"


class ListOfItsOwn(list[bytes]):
    """A list that has a close of its own."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1


def changing_its_mind(_: Any, start_response: Start) -> list[bytes]:
    start_response("200 OK", TEXT)
    try:
        int("late")
    except ValueError:
        start_response("500 Oops", TEXT, sys.exc_info())
    return [b"sorry"]


def wrapping(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "100000")])
    wrapper: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 100_000), 8192)
    return wrapper


# --- What is right ----------------------------------------------------------------------------------------------


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
        (answering(b"hello", kind=ListOfItsOwn), b"hello", "5"),
        (answering(b"he", b"llo", kind=ListOfItsOwn), b"hello", "chunked"),
        (answering(kind=ListOfItsOwn), b"", "0"),
        (answering(b"", kind=ListOfItsOwn), b"", "0"),
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
        (generating_nothing, b"", "0"),
        (late, b"a", "chunked"),
        (writing, b"abc", "chunked"),
        (only_writing, b"ab", "2"),
        (changing_its_mind, b"sorry", "5"),
        (wrapping, b"x" * 100_000, "100000"),
    ],
)
def test_answers(application: Any, body: bytes, framing: str) -> None:
    check(application, body, framing)


class Methods:
    """An application that is a method, of whichever kind."""

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
def test_callables_of_every_kind(application: Any, body: bytes, framing: str) -> None:
    check(application, body, framing)


class Lying(Indexed):
    """Says it is one block."""

    def __len__(self) -> int:
        return 1


def test_one_block_that_is_two_is_cut_where_the_client_expects_the_end() -> None:
    fail(answering(b"he", b"llo", kind=Lying), "longer", b"he")


def test_one_send_for_a_small_answer_and_no_copy_of_a_large_one() -> None:
    assert len(Exchange(answering(b"hello")).sends) == 1
    large = Exchange(answering(b"x" * 200_000)).sends
    assert len(large) == 2
    assert len(large[1]) == 200_000


def test_every_block_goes_out_before_the_next_is_asked_for() -> None:
    seen: list[int] = []

    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        for n in range(3):
            seen.append(len(sent))
            yield b"%d" % n

    sent: list[bytes] = []
    response = Response(sent.append, no_file, method="GET", minor=1, keep_alive=True)
    run(application, {}, response)
    assert seen == [0, 2, 3]  # the head and the first block, then a chunk for each


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
def test_head_has_no_body(application: Any, framing: str) -> None:
    exchange = check(application, b"", framing, method="HEAD")
    assert exchange.response.keep_alive
    assert exchange.wire.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("blocks", [(), (b"",), (b"body",), (b"a", b"b")])
def test_no_body_where_the_status_has_none(status: str, blocks: tuple[bytes, ...]) -> None:
    exchange = check(answering(*blocks, status=status), b"", "none")
    assert exchange.response.keep_alive
    assert b"Transfer-Encoding" not in exchange.wire


@pytest.mark.parametrize(("status", "framing"), [("204 No Content", "none"), ("304 Not Modified", "5")])
def test_a_length_is_not_told_where_there_cannot_be_a_body(status: str, framing: str) -> None:
    """RFC 9110, section 8.6: not with 204; with 304 it is that of the answer which is not sent."""
    check(answering(status=status, length=5), b"", framing)


@pytest.mark.parametrize(
    ("application", "minor", "keep_alive", "stays", "connection"),
    [
        (answering(b"a"), 1, True, True, None),
        (answering(b"a"), 1, False, False, b"close"),
        (answering(b"a"), 0, True, True, b"keep-alive"),
        (answering(b"a"), 0, False, False, b"close"),
        (answering(b"a", b"b", kind=iter), 1, True, True, None),
        (answering(b"a", b"b", kind=iter), 0, True, False, b"close"),  # only closing can end it
        (answering(b"a", b"b", length=2), 0, True, True, b"keep-alive"),
        (answering(status="204 No"), 0, True, True, b"keep-alive"),
    ],
)
def test_keep_alive(application: Any, minor: int, *, keep_alive: bool, stays: bool, connection: bytes | None) -> None:
    exchange = Exchange(application, minor=minor, keep_alive=keep_alive)
    assert exchange.error is None
    assert exchange.response.keep_alive is stays
    assert dict(read(exchange)[1]).get(b"connection") == connection
    assert (b"Transfer-Encoding" in exchange.wire) is (exchange.framing == "chunked")
    assert minor or exchange.framing != "chunked"


def test_headers_go_out_as_they_are_and_date_once() -> None:
    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response("201 Made", [("X-A", "b"), ("x-a", "c"), ("DATE", "yesterday"), ("Server", "me")])
        return [b""]

    wire = Exchange(application).wire
    assert wire.startswith(b"HTTP/1.1 201 Made\r\nX-A: b\r\nx-a: c\r\nDATE: yesterday\r\nServer: me\r\n")
    assert wire.lower().count(b"date:") == 1
    assert Exchange(answering(b"")).wire.count(b"Date: ") == 1


def test_headers_can_be_changed_until_they_go_out() -> None:
    """Until the first block they may be replaced; the list itself is not the server's to watch."""

    def application(_: Any, start_response: Start) -> list[bytes]:
        headers = [("A", "b")]
        start_response("200 OK", headers)
        headers.append(("C", "d"))
        return [b"x"]

    assert b"C: d" not in Exchange(application).wire


# --- close() ----------------------------------------------------------------------------------------------------


class Closing:
    """Blocks, with an exception among them perhaps, that count how often they were closed."""

    def __init__(self, *blocks: bytes | Exception, bad_close: Exception | None = None) -> None:
        self.blocks, self.bad_close = iter(blocks), bad_close
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            if isinstance(block, Exception):
                raise block
            yield block

    def close(self) -> None:
        self.closed += 1
        if self.bad_close:
            raise self.bad_close


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


def test_close_is_called_when_the_client_is_gone() -> None:
    def gone(_: bytes) -> None:
        raise ClientGone

    blocks = Closing(b"a", b"b")
    with pytest.raises(ClientGone):
        run(answering(kind=lambda _: blocks), {}, Response(gone, no_file, method="GET", minor=1, keep_alive=True))
    assert blocks.closed == 1


def test_a_generator_is_closed_where_it_stands() -> None:
    ends: list[str] = []

    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "1")])
        try:
            yield b"ab"
        finally:
            ends.append("closed")

    fail(application, "longer", b"a")
    assert ends == ["closed"]


# --- What is wrong ----------------------------------------------------------------------------------------------


def test_too_short_is_an_error_at_the_end() -> None:
    exchange = fail(answering(b"abc", length=5), "2 bytes shorter", b"abc")
    assert exchange.response.phase is Phase.SENDING  # so the connection is cut: truncation must show
    fail(answering(b"ab", b"c", length=5), "2 bytes shorter", b"abc")
    fail(answering(length=5), "5 bytes shorter", b"")


@pytest.mark.parametrize("blocks", [(b"abcdef",), (b"abc", b"def"), (b"ab", b"cd"), (b"aaa", b"", b"x")])
def test_too_long_is_cut_where_the_client_expects_the_end(blocks: tuple[bytes, ...]) -> None:
    exchange = fail(answering(*blocks, length=3), "longer", b"".join(blocks)[:3])
    assert exchange.response.phase is Phase.DONE  # complete, as far as the client can tell
    assert exchange.response.sent == 3


def call(*calls: tuple[Any, ...], blocks: Any = (b"x", b"y")) -> Any:
    """Make an application that calls start_response with each of `calls` first."""

    def application(_: Any, start_response: Start) -> Any:
        for each in calls:
            start_response(*each)
        return blocks

    return application


OK = ("200 OK", TEXT)
NO_ERROR = (None, None, None)


@pytest.mark.parametrize(
    ("application", "match", "error"),
    [
        (call(), "before start_response", ApplicationError),
        (call(blocks=()), "before start_response", ApplicationError),
        (call(blocks=[b""]), "before start_response", ApplicationError),
        (call(OK, OK), "called again", ApplicationError),
        (call(OK, (*OK, None)), "called again", ApplicationError),
        (call(OK, blocks=None), "not iterable", TypeError),
        (call(OK, blocks=["text"]), "not bytes", ApplicationError),
        (call(OK, blocks=["te", "xt"]), "not bytes", ApplicationError),
        (call(OK, blocks=[1]), "not bytes", ApplicationError),
        (call(OK, blocks=[bytearray(b"x"), b"y"]), "not bytes", ApplicationError),
        (call(OK, blocks="text"), "not bytes", ApplicationError),
        (call(("200", TEXT)), "cannot be sent", ApplicationError),
        (call(("100 Continue", [])), "cannot be sent", ApplicationError),
        (call((b"200 OK", TEXT)), "not a string", ApplicationError),
        (call(("200 OK\r\nX: y", TEXT)), "cannot be sent", ApplicationError),
        (call(("200 OK", [("A", "b\r\nC: d")])), "cannot be sent", ApplicationError),
        (call(("200 OK", [("Connection", "close")])), "hop-by-hop", ApplicationError),
        (call(("200 OK", [("Transfer-Encoding", "chunked")])), "hop-by-hop", ApplicationError),
        (call(("200 OK", [("Content-Length", "1"), ("content-length", "1")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "-1")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "1, 1")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "\xb2")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", "")])), "not one number", ApplicationError),
        (call(("200 OK", [("Content-Length", 5)])), "not a string", ApplicationError),
        (call(("200 OK", None)), "not iterable", TypeError),
        (call(("200 OK", ["ab", "c"])), "not pairs", ApplicationError),
        (call(("200 OK", ["ab", "cd"])), "not pairs", ApplicationError),
    ],
)
def test_nothing_goes_out_of_what_breaks_a_rule(application: Any, match: str, error: type[BaseException]) -> None:
    exchange = fail(application, match, error=error)
    assert exchange.wire == b""
    assert exchange.response.phase in {Phase.NEW, Phase.STARTED}  # so there can still be a 500


WRONG = [
    ("200", TEXT),
    ("200OK", TEXT),
    ("", TEXT),
    ("100 Continue", TEXT),
    ("600 High", TEXT),
    ("200 OK\r\nX: y", TEXT),
    ("200 OK\0", TEXT),
    ("200 \u20ac", TEXT),
    (b"200 OK", TEXT),
    (200, TEXT),
    (None, TEXT),
    ("200 OK", None),
    ("200 OK", 5),
    ("200 OK", "ab"),
    ("200 OK", [None]),
    ("200 OK", ["ab"[:1]]),
    ("200 OK", [("A",)]),
    ("200 OK", [("A", "b", "c")]),
    ("200 OK", [("A", 1)]),
    ("200 OK", [("A", None)]),
    ("200 OK", [("A", b"b")]),
    ("200 OK", [(b"A", "b")]),
    ("200 OK", [("A", "b\r\nC: d")]),
    ("200 OK", [("A", "b\n")]),
    ("200 OK", [("A", "b\r")]),
    ("200 OK", [("A", "b\0")]),
    ("200 OK", [("A", "\x1b")]),
    ("200 OK", [("A", "\u20ac")]),
    ("200 OK", [("A ", "b")]),
    ("200 OK", [("A:", "b")]),
    ("200 OK", [("", "b")]),
    ("200 OK", [("\xe9", "b")]),
    ("200 OK", [("A\r\nB", "b")]),
    ("200 OK", [("Content-Length", "1"), ("content-length", "1")]),
    ("200 OK", [("Content-Length", "-1")]),
    ("200 OK", [("Content-Length", "1, 1")]),
    ("200 OK", [("Content-Length", 5)]),
    *[
        ("200 OK", [(name, "x")])
        for name in ("Connection", "KEEP-ALIVE", "TE", "Trailer", "transfer-encoding", "Upgrade")
    ],
    *[("200 OK", [(name, "x")]) for name in ("Proxy-Authenticate", "Proxy-Authorization")],
]


@pytest.mark.parametrize("wrong", WRONG)
def test_start_response_refuses_when_it_is_called(wrong: tuple[Any, Any]) -> None:
    """Not when the head goes out: then the application could not answer with something better (PEP 3333)."""

    def application(_: Any, start_response: Start) -> list[bytes]:
        with pytest.raises((ApplicationError, TypeError)):
            start_response(*wrong)
        start_response("500 Something Better", TEXT)
        return [b"sorry"]

    exchange = Exchange(application)
    assert exchange.error is None
    assert (read(exchange)[0], read(exchange)[2]) == (500, b"sorry")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_start_response_refuses_changes_nothing(wrong: tuple[Any, Any]) -> None:
    """Neither the first time, nor when it is called again for an error: what was said before holds."""

    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response("201 Made", TEXT)
        try:
            int("an error")
        except ValueError:
            with pytest.raises((ApplicationError, TypeError)):
                start_response(*wrong, sys.exc_info())
        return [b"as it was"]

    exchange = Exchange(application)
    assert exchange.error is None
    assert (read(exchange)[0], read(exchange)[2]) == (201, b"as it was")
    assert exchange.response.status == "201 Made"


def test_start_response_refuses_before_the_application_has_written() -> None:
    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response("200 OK", [("A", "b\r\nC: d")])(b"never")
        return [b"never"]

    exchange = fail(application, "cannot be sent")
    assert (exchange.wire, exchange.response.phase) == (b"", Phase.NEW)


def test_start_response_refuses_in_a_generator_before_its_first_block() -> None:
    blocks: list[str] = []

    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        try:
            start_response("200 OK", [("Connection", "close")])
        except ApplicationError as error:
            blocks.append(str(error))
            start_response("500 Oops", TEXT)
        yield b"sorry"

    assert read(Exchange(application))[2] == b"sorry"
    assert "hop-by-hop" in blocks[0]


def test_exc_info_after_the_head_raises_the_error_itself_whatever_comes_with_it() -> None:
    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response(*OK)
        yield b"a"
        try:
            int("the error itself")
        except ValueError:
            start_response("no status", [("A", "b\r\n")], sys.exc_info())

    fail(application, "the error itself", b"1\r\na\r\n", error=ValueError)


def test_exc_info_after_the_head_raises_the_error_itself() -> None:
    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response(*OK)
        yield b"a"
        try:
            int("the error itself")
        except ValueError:
            start_response("500 Oops", TEXT, sys.exc_info())
        yield b"never"

    fail(application, "the error itself", b"1\r\na\r\n", error=ValueError)


def test_exc_info_without_an_error_does_not_begin_again() -> None:
    def application(_: Any, start_response: Start) -> Iterator[bytes]:
        start_response(*OK)
        yield b"a"
        start_response("500 Oops", TEXT, NO_ERROR)
        yield b"never"

    fail(application, "called again", b"1\r\na\r\n")


def test_exc_info_after_the_end_raises_the_error_itself() -> None:
    class Complaining(Closing):
        def close(self) -> None:
            try:
                int("the error itself")
            except ValueError:
                start[0]("500 Oops", TEXT, sys.exc_info())

    start: list[Any] = []

    def application(_: Any, start_response: Start) -> Any:
        start.append(start_response)
        start_response("200 OK", [("Content-Length", "1")])
        return Complaining(b"a")

    fail(application, "the error itself", b"a", error=ValueError)


def test_what_is_over_is_over() -> None:
    """Calls out of close(), or kept for later, must not put a second head behind a whole answer."""
    kept: list[Any] = []

    def application(_: Any, start_response: Start) -> list[bytes]:
        kept.extend([start_response, start_response("200 OK", TEXT)])
        return [b"whole"]

    exchange = Exchange(application)
    wire = exchange.wire
    start_response: Start = kept[0]
    write: Callable[[bytes], None] = kept[1]
    again: list[Callable[[], Any]] = [
        lambda: write(b"more"),
        lambda: start_response(*OK, NO_ERROR),
        lambda: start_response(*OK),
    ]
    for call_again in again:
        with pytest.raises(ApplicationError):
            call_again()
    assert exchange.wire == wire
    assert exchange.response.phase is Phase.DONE


def test_an_error_before_anything_was_sent_leaves_room_for_a_500() -> None:
    def application(_: Any, start_response: Start) -> list[bytes]:
        start_response(*OK)
        raise ValueError("early")

    exchange = fail(application, "early", error=ValueError)
    assert exchange.response.phase is Phase.STARTED


# --- Files ------------------------------------------------------------------------------------------------------


SIZE = 100_000  # bytes: too many to be copied into the head's send


def wrapped(file: Any, *, length: int | None = None, status: str = "200 OK", write: bytes = b"") -> Any:
    """Make an application that answers with a file."""

    def application(environ: dict[str, Any], start_response: Start) -> Any:
        headers = [("Content-Length", str(length))] if length is not None else []
        send = start_response(status, headers if status[:3] in {"204", "304"} else TEXT + headers)
        if write:
            send(write)
        return environ["wsgi.file_wrapper"](file, 30_000)

    return application


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 10 + b"y" * (SIZE - 10))
    with path.open("rb") as file:
        yield file


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "small"
    path.write_bytes(b"x" * 10)
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("position", "length", "method", "minor", "framing", "sends"),
    [
        (0, None, "GET", 1, "100000", 2),
        (0, SIZE, "GET", 1, "100000", 2),
        (10, None, "GET", 1, "99990", 2),
        (10, SIZE - 10, "GET", 0, "99990", 2),
        (0, None, "GET", 0, "100000", 2),
        (0, None, "HEAD", 1, "none", 1),
        (0, SIZE, "HEAD", 1, "100000", 1),
    ],
)
def test_a_large_file_is_sent_and_not_read(
    large: io.BufferedReader, position: int, length: int | None, method: str, minor: int, framing: str, sends: int
) -> None:
    large.seek(position)
    exchange = Exchange(wrapped(large, length=length), method=method, minor=minor)
    body = (b"x" * 10 + b"y" * (SIZE - 10))[position:] if method == "GET" else b""
    assert exchange.error is None
    assert (read(exchange)[2], exchange.framing) == (body, framing)
    assert (exchange.files, len(exchange.sends)) == (1 if body else 0, sends)
    assert (exchange.response.sent, exchange.response.keep_alive) == (len(body), True)
    assert exchange.response.phase is Phase.DONE
    assert large.closed


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_no_file_where_the_status_has_no_body(large: io.BufferedReader, status: str) -> None:
    exchange = Exchange(wrapped(large, status=status))
    assert exchange.error is None
    assert (read(exchange)[2], exchange.files) == (b"", 0)


def test_a_small_file_goes_out_with_its_head(small: io.BufferedReader) -> None:
    exchange = Exchange(wrapped(small))
    assert (read(exchange)[2], exchange.framing, len(exchange.sends)) == (b"x" * 10, "10", 1)


class Pipe:
    """Has a length, and no end: whoever reads more than that waits forever."""

    def __init__(self, data: bytes) -> None:
        self._left = data
        self.reads: list[int] = []

    def read(self, size: int) -> bytes:
        self.reads.append(size)
        assert len(self._left) >= size, "this would wait"
        block, self._left = self._left[:size], self._left[size:]
        return block


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("length", [0, 1, 29_999, 30_000, 65_535, 65_536, SIZE - 1])
@pytest.mark.parametrize("kind", ["regular", "in memory", "pipe"])
def test_no_more_of_a_file_is_sent_than_was_declared(
    large: io.BufferedReader, kind: str, length: int, minor: int
) -> None:
    """An answer with a range; a file that has grown since it was measured."""
    data = large.read()
    large.seek(0)
    file = {"regular": large, "in memory": io.BytesIO(data), "pipe": Pipe(data)}[kind]
    exchange = Exchange(wrapped(file, length=length), minor=minor)
    assert exchange.error is None
    assert (read(exchange)[2], exchange.framing) == (data[:length], str(length))
    assert (exchange.response.sent, exchange.response.keep_alive) == (length, True)
    assert exchange.response.phase is Phase.DONE


def test_a_small_part_of_a_file_goes_out_with_its_head(large: io.BufferedReader) -> None:
    large.seek(5)
    exchange = Exchange(wrapped(large, length=10))
    assert exchange.wire.partition(b"\r\n\r\n")[2] == b"x" * 5 + b"y" * 5
    assert len(exchange.sends) == 1


def test_a_pipe_is_read_as_far_as_was_declared_and_no_further() -> None:
    pipe = Pipe(b"z" * 70_000)
    exchange = Exchange(wrapped(pipe, length=70_000))
    assert exchange.error is None
    assert pipe.reads == [30_000, 30_000, 10_000]


def test_what_was_written_before_a_file_counts(large: io.BufferedReader) -> None:
    exchange = Exchange(wrapped(large, length=11, write=b"w"))
    assert exchange.error is None
    assert exchange.wire.partition(b"\r\n\r\n")[2] == b"w" + b"x" * 10


@pytest.mark.parametrize(
    ("method", "status", "length"),
    [
        ("HEAD", "200 OK", None),
        ("HEAD", "200 OK", 10),
        ("HEAD", "200 OK", 200_000),
        ("GET", "204 No Content", None),
        ("GET", "304 Not Modified", None),
    ],
)
def test_of_a_file_that_nobody_gets_nothing_is_read(method: str, status: str, length: int | None) -> None:
    pipe = Pipe(b"z" * 70_000)
    exchange = Exchange(wrapped(pipe, status=status, length=length), method=method)
    assert exchange.error is None
    assert (pipe.reads, read(exchange)[2], exchange.response.keep_alive) == ([], b"", True)


@pytest.mark.parametrize("kind", ["regular", "in memory"])
def test_a_file_shorter_than_declared_is_cut_off(large: io.BufferedReader, kind: str) -> None:
    data = large.read()
    large.seek(0)
    file = large if kind == "regular" else io.BytesIO(data)
    exchange = fail(wrapped(file, length=SIZE + 1), "1 bytes shorter", data)
    assert exchange.response.phase is Phase.SENDING
    assert exchange.response.sent == SIZE
    assert file.closed


def test_a_file_behind_something_written(large: io.BufferedReader) -> None:
    """The length told is not that of the file, or none was: it is read."""
    body = b"w" + b"x" * 10 + b"y" * (SIZE - 10)
    for length, framing in ((None, "chunked"), (SIZE + 1, "100001")):
        large.seek(0)
        exchange = Exchange(wrapped(os.fdopen(os.dup(large.fileno()), "rb"), length=length, write=b"w"))
        assert exchange.error is None
        assert (read(exchange)[2], exchange.framing, exchange.files) == (body, framing, 0)


def test_a_file_without_start_response(large: io.BufferedReader) -> None:
    fail(lambda environ, _: environ["wsgi.file_wrapper"](large), "before start_response")
    assert large.closed


def test_a_files_head_is_checked_before_the_file_goes_out(large: io.BufferedReader) -> None:
    fail(wrapped(large, status="200 OK\r\nX: y"), "cannot be sent")


def test_what_is_no_regular_file_is_read_in_blocks() -> None:
    exchange = Exchange(answering(kind=lambda _: FileWrapper(io.BytesIO(b"x" * 10), 4)))
    assert exchange.sends[1:] == [b"4\r\nxxxx\r\n", b"4\r\nxxxx\r\n", b"2\r\nxx\r\n", b"0\r\n\r\n"]


# --- Early hints ------------------------------------------------------------------------------------------------

LINK = ("Link", "</style.css>; rel=preload")
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def hinting(*hints: Any, after: bool = False) -> Any:
    """Make an application that sends hints before it answers, or after."""

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
def test_early_hints(hints: tuple[Any, ...], minor: int, method: str, sends: list[bytes]) -> None:
    exchange = Exchange(hinting(*hints), minor=minor, method=method)
    assert exchange.error is None
    assert exchange.sends[: len(sends)] == sends
    assert exchange.sends[len(sends)].startswith(b"HTTP/1.1 200 OK\r\nContent-Type")
    assert exchange.wire.count(b" 103 ") == len(sends)


def test_a_client_takes_early_hints_for_what_they_are() -> None:
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
def test_early_hints_are_checked_as_headers_are(hint: Any, match: str, minor: int) -> None:
    exchange = Exchange(hinting(hint), minor=minor)
    assert isinstance(exchange.error, ApplicationError)
    assert match in str(exchange.error)
    assert (exchange.wire, exchange.response.phase) == (b"", Phase.NEW)


def test_early_hints_are_early() -> None:
    fail(hinting([LINK], after=True), "after the head", b"1\r\na\r\n")


def test_early_hints_between_start_response_and_the_head() -> None:
    def application(environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        environ["wsgi.early_hints"]([LINK])
        yield b"a"

    assert Exchange(application).sends[0] == HINTS


def test_an_answer_that_was_given_up_is_not_begun() -> None:
    """Another thread has answered, or cut the client off: what the application says then goes nowhere."""
    sends: list[bytes] = []
    response = Response(sends.append, no_file, method="GET", minor=1, keep_alive=True)
    write = response.start_response("200 OK", [])
    response.given_up = True
    with pytest.raises(ClientGone):
        write(b"too late")
    assert sends == []
