"""Applications that follow or break PEP 3333, and the bytes that the gateway sends for them.

`check` runs an application under `wsgiref.validate`, which checks the server's side of PEP 3333. Applications
that break the application's side run without it.
"""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import h11
import pytest

from wsgiserver.errors import ApplicationError
from wsgiserver.http1.head import parse_head
from wsgiserver.wsgi.environ import build, template
from wsgiserver.wsgi.gateway import Response, ResponsePhase, run

Start = Callable[..., Callable[[bytes], None]]
TEXT = [("Content-Type", "text/plain")]


class Exchange:
    """One call of an application, with the sent bytes and its end."""

    def __init__(self, application: Any, *, method: str = "GET", minor: int = 1, keep_alive: bool = True) -> None:
        self.method = method
        self.sends: list[bytes] = []
        head = parse_head(f"{method} /a HTTP/1.{minor}\r\nHost: a\r\n\r\n".encode())
        base = template("srv", 80, sys.stderr, threads=True, processes=False)
        environ = build(base, head, ("192.0.2.1", 1), None) | {"wsgi.input": io.BytesIO()}
        self.files = 0  # number of sent file parts
        self.response = Response(self.sends.append, self._send_file, method=method, minor=minor, keep_alive=keep_alive)
        self.error: BaseException | None = None
        try:
            run(application, environ, self.response)
        except Exception as error:  # noqa: BLE001 - the test checks the exception
            self.error = error

    def _send_file(self, descriptor: int, offset: int, size: int) -> None:
        self.files += 1
        self.sends.append(os.pread(descriptor, size, offset))

    @property
    def wire(self) -> bytes:
        return b"".join(self.sends)

    @property
    def framing(self) -> str:
        """The framing of the body that the head declares."""
        fields = dict(read(self)[1])
        if b"content-length" in fields:
            return fields[b"content-length"].decode()
        return fields.get(b"transfer-encoding", b"none").decode()


def refuse_file(*_: int) -> None:
    raise AssertionError("the test expects no file")


def read(exchange: Exchange) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Let h11 read the sent bytes to their end."""
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
    """Run the application twice: with the validator, which turns each result into an iterator, and without it."""
    for each in (validator(application), application):
        exchange = Exchange(each, method=method, minor=minor)
        assert exchange.error is None
        assert exchange.response.phase is ResponsePhase.FINISHED
        assert read(exchange)[2] == body
        assert exchange.response.sent == len(body)
    assert exchange.framing == framing
    return exchange


def fail(application: Any, match: str, wire: bytes = b"", *, error: type[BaseException] = ApplicationError) -> Exchange:
    """Run an application that breaks a rule and check its exception and the sent body."""
    exchange = Exchange(application)
    with pytest.raises(error, match=match):
        raise exchange.error or AssertionError("nothing was raised")
    assert exchange.wire.partition(b"\r\n\r\n")[2] == wire
    return exchange


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


def empty_generator(_: Any, start_response: Start) -> Iterator[bytes]:
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


def writing_only(_: Any, start_response: Start) -> list[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "2")])(b"ab")
    return []


class Application:
    """A class as the application: its instances are the responses."""

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
    """Iterable by index only, without __iter__."""

    def __init__(self, blocks: tuple[bytes, ...]) -> None:
        self._blocks = blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> bytes:
        return self._blocks[index]


class OwnIterator:
    """An iterator that is not a generator."""

    def __init__(self, blocks: tuple[bytes, ...]) -> None:
        self._blocks = list(blocks)

    def __iter__(self) -> "OwnIterator":
        return self

    def __next__(self) -> bytes:
        if not self._blocks:
            raise StopIteration
        return self._blocks.pop(0)


class Late:
    """Calls start_response during iteration and has a length of one block."""

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


class ListWithClose(list[bytes]):
    """A list with its own close()."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1


def replacing_its_response(_: Any, start_response: Start) -> list[bytes]:
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


class Closing:
    """Blocks, possibly with an exception among them, that count the calls of close()."""

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
