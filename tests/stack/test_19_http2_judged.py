"""The checks of test_19_http2.py detect a server that misreads a message."""

import json
from typing import Any

import pytest

from tests.stack.echo import Backends, Edge
from tests.stack.http2 import Stream
from tests.stack.http2_exchange import (
    BODY,
    Exchange,
    exchange,
)
from tests.stack.programs import source
from tests.stack.stack import Stack
from tests.stack.test_16_smuggling import path_of
from tests.stack.test_19_http2 import MESSAGES


def test_the_check_detects_a_server_that_misreads_a_body_over_http2(stack: Stack) -> None:
    """The server does not know chunks. A buffer of nginx would remove the chunks."""
    hiding, _, _ = MESSAGES["a request in a body"]
    with Backends(stack, {"web": source("naive.py")}) as backends, Edge(backends, {"TLS": "on"}) as edge:
        found = exchange(edge, "web, streamed", hiding)
        assert sorted(path_of(request) for request in found.seen) == ["first", "hidden", "marker"]
        assert list(found.faults()) != []
        assert list(exchange(edge, "web, buffered", hiding).faults()) == []


def received(path: str, body: str = "", length: int | None = None, **environ: str) -> dict[str, Any]:
    """A request as the application reports it."""
    length = len(body) if length is None else length
    return {"target": f"/api/k/{path}", "length": length, "body": body, "environ": environ}


def echo(path: str, body: str = "") -> Stream:
    return Stream(200, json.dumps(received(path, body)).encode(), is_whole=True)


REFUSAL = Stream(400, b'{"error":"bad-request","request_id":""}', is_whole=True)
LOST = Stream(error="goaway:PROTOCOL_ERROR")
CUT = received("first", "he", CONTENT_LENGTH="2")
MARKED = received("marker")
# Name -> an exchange, and whether it is correct.
EXCHANGES: dict[str, tuple[Exchange, bool]] = {
    "both answered": (
        Exchange([echo("first", "hello"), echo("marker")], [received("first", "hello"), MARKED], BODY),
        True,
    ),
    "refused": (Exchange([REFUSAL, echo("marker")], [MARKED], BODY), True),
    "lost": (Exchange([LOST, LOST], [], BODY), True),
    "seen in part": (Exchange([LOST, LOST], [received("first", "hel", CONTENT_LENGTH="5")], BODY), True),
    "seen as broken": (Exchange([LOST, LOST], [received("first", length=-1)], BODY), True),
    "seen, and refused": (Exchange([REFUSAL, echo("marker")], [received("first", "hello"), MARKED], BODY), False),
    "seen, and lost": (Exchange([LOST, LOST], [received("first", "hello")], BODY), False),
    "cut, streamed": (Exchange([REFUSAL, echo("marker")], [CUT, MARKED], BODY, "web, streamed"), True),
    "cut, buffered": (Exchange([REFUSAL, echo("marker")], [CUT, MARKED], BODY), False),
    "cut, and answered": (Exchange([echo("first", "he"), echo("marker")], [CUT, MARKED], BODY), False),
    "one too many": (Exchange([echo("first"), echo("marker")], [received("first"), received("hidden"), MARKED]), False),
    "one twice": (Exchange([echo("first"), echo("marker")], [received("first"), received("first"), MARKED]), False),
    "one too many in part": (Exchange([REFUSAL, echo("marker")], [received("hidden", length=-1), MARKED]), False),
    "one too few": (Exchange([echo("first"), echo("marker")], [MARKED]), False),
    "another body": (Exchange([echo("first", "hullo"), echo("marker")], [received("first"), MARKED], BODY), False),
    "a field more": (
        Exchange([echo("first"), echo("marker")], [received("first", HTTP_X_SMUGGLED="y"), MARKED]),
        False,
    ),
    "a mistake of ours": (Exchange([Stream(502, b"{}", is_whole=True), echo("marker")], [MARKED]), False),
}


@pytest.mark.parametrize("case", EXCHANGES)
def test_the_check_tells_good_http2_exchanges_from_faulty_ones(case: str) -> None:
    found, is_sound = EXCHANGES[case]
    assert (list(found.faults()) == []) == is_sound
