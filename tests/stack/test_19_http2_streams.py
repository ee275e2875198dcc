"""Parallel streams of HTTP/2: truncated bodies, many streams, and fields in the HPACK table."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.stack import http2
from tests.stack.echo import Backends, Edge
from tests.stack.http2 import Line
from tests.stack.http2_exchange import (
    BODY,
    FEW,
    FIRST,
    HIDDEN,
    INJECTED,
    KEY,
    LATEST,
    MARKER,
    connected,
    echoed,
    is_whole,
    lines_to,
    seen_under,
    so_far,
    under,
)
from tests.stack.test_15_boundary import FEW_NAMES, check_boundary
from tests.stack.test_16_smuggling import WAYS, path_of
from tests.wire.polling import poll


@pytest.fixture(scope="module")
def edge_with_few_streams(backends: Backends) -> Iterator[Edge]:
    with Edge(backends, {"TLS": "on", "CLIENT_CONNECTIONS": str(FEW)}) as running:
        yield running


SIX = (b"content-length", b"6")
# Five of six bytes of a body are sent. Name -> more fields, and the last bytes that the client sends.
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
def test_a_truncated_body_of_a_stream_is_not_complete(edge_with_tls: Edge, case: str) -> None:
    lines, last = BREAKS[case]
    for way in WAYS:
        key = uuid.uuid4().hex.encode()
        path = under(way, key, b"first")
        with connected(edge_with_tls, WAYS[way][0]) as client:
            client.send(http2.headers(FIRST, lines_to(path, *lines, method=b"PUT"), is_all=False))
            client.send(http2.data(FIRST, BODY, is_all=False))
            client.handled()
            if way == "gunicorn, streamed":  # calls the application when it has the head
                poll(partial(so_far, edge_with_tls, way, key), "the application was called", 60)
            client.send(last)
            if last:
                client.handled()
        poll(lambda path=path: path.decode() in edge_with_tls.logs(), "nginx has logged the request", 60)  # type: ignore[misc]  # a default binds the loop's value
        seen = seen_under(edge_with_tls, way, key)
        assert not any(is_whole(received) for received in seen), (way, seen)
        assert way == "gunicorn, streamed" or seen == [], way


@pytest.mark.parametrize("way", WAYS)
def test_no_byte_beyond_the_content_length_of_a_stream_is_read(edge_with_tls: Edge, way: str) -> None:
    """Streamed, the application gets the bytes of the length, and none beyond. Buffered, it does not get the request,
    because nginx first reads the whole body.
    """
    key = uuid.uuid4().hex.encode()
    lines = lines_to(under(way, key, b"first"), (b"content-length", b"5"), method=b"PUT")
    with connected(edge_with_tls, WAYS[way][0]) as client:
        client.send(http2.headers(FIRST, lines, is_all=False) + http2.data(FIRST, BODY, is_all=False))
        client.handled()
        if "streamed" in way:
            client.wait([FIRST])
        client.send(http2.data(FIRST, HIDDEN.replace(KEY, key)))
        client.send(http2.headers(MARKER, lines_to(under(way, key, b"marker"))))
        first, marker = client.wait([FIRST, MARKER])
    assert path_of(echoed(marker) or {}) == "marker"
    seen = [(path_of(received), received["length"]) for received in seen_under(edge_with_tls, way, key)]
    if "streamed" in way:
        assert (first.status, seen) == (200, [("first", 5), ("marker", 0)])
    else:
        assert (first.status, seen) == (400, [("marker", 0)])


def opened(number: int, path: bytes) -> bytes:
    return http2.headers(number, lines_to(path, method=b"PUT"), is_all=False)


@pytest.mark.parametrize("way", WAYS)
def test_a_hundred_streams_each_get_their_own_response(edge_with_tls: Edge, way: str) -> None:
    """All streams are open before the first gets its body; then each gets a byte in turn."""
    key = uuid.uuid4().hex.encode()
    numbers = range(1, 200, 2)
    with connected(edge_with_tls, WAYS[way][0]) as client:
        client.send(b"".join(opened(number, under(way, key, b"%d" % number)) for number in numbers))
        bodies = {number: b"%d" % (number + 1000) for number in numbers}
        for at in range(4):
            pieces = [http2.data(n, bodies[n][at : at + 1], is_all=at == 3) for n in numbers]
            client.send(b"".join(pieces))
        answers = dict(zip(numbers, map(echoed, client.wait(numbers)), strict=True))
    received = {number: (path_of(answer), answer["body"]) for number, answer in answers.items() if answer}
    assert received == {number: (str(number), str(number + 1000)) for number in numbers}
    assert len(seen_under(edge_with_tls, way, key)) == 100


@pytest.mark.parametrize("way", WAYS)
def test_each_stream_counts_as_a_connection(edge_with_few_streams: Edge, way: str) -> None:
    key = uuid.uuid4().hex.encode()
    few, more = range(1, 2 * FEW, 2), range(2 * FEW + 1, 200, 2)
    with connected(edge_with_few_streams, WAYS[way][0]) as client:
        client.send(b"".join(opened(number, under(way, key, b"first")) for number in [*few, *more]))
        assert {stream.status for stream in client.wait(more)} == {429}
        client.send(b"".join(http2.data(number, BODY) for number in few))
        assert {stream.status for stream in client.wait(few)} == {200}
    assert len(seen_under(edge_with_few_streams, way, key)) == FEW


@pytest.mark.parametrize("way", WAYS)
def test_streams_that_are_reset_at_once_do_not_block_the_server(edge_with_few_streams: Edge, way: str) -> None:
    """CVE-2023-44487. Requests on the same connection and on another are answered."""
    key = uuid.uuid4().hex.encode()
    numbers = range(1, 400, 2)
    with connected(edge_with_few_streams, WAYS[way][0]) as client:
        for number in numbers:
            client.send(http2.headers(number, lines_to(under(way, key, b"first"))) + http2.reset(number))
        assert client.ask(lines_to(under(way, key, b"marker"))).status == 200
    with connected(edge_with_few_streams, WAYS[way][0]) as client:
        few = range(1, 2 * FEW, 2)
        client.send(b"".join(opened(number, under(way, key, b"more")) for number in few))
        client.send(b"".join(http2.data(number, BODY) for number in few))
        assert {stream.status for stream in client.wait(few)} == {200}


SPELLINGS: dict[str, Callable[[bytes], list[Line]]] = {
    "as they are": lambda name: [(name, b"forged")],
    "twice": lambda name: [(name, b"forged"), (name, b"forged2")],
    "underscores": lambda name: [(name.replace(b"-", b"_"), b"forged")],
    "dots": lambda name: [(name.replace(b"-", b"."), b"forged")],
    "to be remembered": lambda name: [http2.indexed(name, b"forged")],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_forged_proxy_headers_are_dropped_in_every_spelling(edge_with_tls: Edge, spelling: str) -> None:
    for (server, prefix), names in itertools.product(WAYS.values(), FEW_NAMES):
        forged = [line for name in names for line in SPELLINGS[spelling](name.lower().encode())]
        port = edge_with_tls.ports["tls" if server == "web" else server]
        lines = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost:%d" % port)]
        with connected(edge_with_tls, server) as client:
            client.send(
                http2.headers(FIRST, [*lines, (b":path", prefix.encode() + b"x"), *forged, (b"x-own", b"arrives")])
            )
            client.send(http2.headers(MARKER, lines_to(b"/x")))
            received, other = (echoed(stream) for stream in client.wait([FIRST, MARKER]))
        assert received
        assert other
        check_boundary(received, other["environ"]["HTTP_X_FORWARDED_FOR"], port, "https", server)


def test_a_field_in_the_hpack_table_is_checked_each_time(edge_with_tls: Edge) -> None:
    """A refused field is in the table of the connection anyway, and is refused again."""
    for line, statuses, owns in (
        (http2.indexed(b"x-own", b"y" + INJECTED), [400, 400, 200], []),
        (http2.indexed(b"x-own", b"y"), [200, 200, 200], ["first", "second"]),
    ):
        key = uuid.uuid4().hex.encode()
        way = "web, streamed"
        with connected(edge_with_tls, "web") as client:
            for number, name, more in ((1, b"first", [line]), (3, b"second", [LATEST]), (5, b"third", [])):
                client.send(http2.headers(number, lines_to(under(way, key, name), *more)))
            assert [stream.status for stream in client.wait([1, 3, 5])] == statuses
        seen = {
            path_of(received): received["environ"].get("HTTP_X_OWN") for received in seen_under(edge_with_tls, way, key)
        }
        assert seen == dict.fromkeys(owns, "y") | {"third": None}
