"""Each request of the corpus: in one piece, byte by byte, at every split, and over a socket to a server process."""

import json
import socket
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.server import corpus
from tests.server.conftest import ROOT, Server
from tests.server.feeding import completed
from tests.wire.answers import Answer
from tests.wire.client import Client
from wsgiserver.errors import REFUSALS, Refusal
from wsgiserver.http1.framing import keeps_alive
from wsgiserver.serving.receiver import Limits, Receiver, Stage

Request = dict[str, Any]
LIMITS = Limits(corpus.MAX_BODY, corpus.MEMORY, None)
EVERY_SPLIT = 1500  # bytes: longer requests get every split near the ends and some between
NAMES = [(kind, name) for kind in ("valid", "invalid") for name in corpus.names(kind)]


def received(pieces: Iterable[bytes]) -> tuple[list[Request], str]:
    """Return the complete requests and the name of the refusal."""
    receiver = Receiver(LIMITS)
    requests: list[Request] = []
    try:
        requests.extend(map(as_request, completed(receiver, pieces)))  # requests before a refusal stay
    except Refusal as refusal:
        return requests, refusal.name
    else:
        return requests, "body-incomplete" if receiver.stage is Stage.IN_BODY else ""  # as the connection reports it
    finally:
        receiver.release()


def as_request(receiver: Receiver) -> Request:
    head = receiver.head
    assert head is not None
    request = head._asdict() | {"keeps_alive": keeps_alive(head)}
    request["body"] = receiver.spool.rewind().read().decode("latin-1") if receiver.spool is not None else ""
    return request | ({"trailers": receiver.trailers} if receiver.trailers else {})


def splits(size: int) -> Iterable[int]:
    if size <= EVERY_SPLIT:
        return range(1, size)
    return {*range(1, 500), *range(500, size, size // 50), *range(size - 300, size)}


def check(kind: str, data: bytes, expected: Any) -> None:
    for pieces in partitions(data):
        requests, refused = received(pieces)
        if kind == "valid":
            assert (requests, refused) == (expected, "")
        else:
            assert (len(requests), refused) == (expected["served"], expected["refused"])


def partitions(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[n : n + 1] for n in range(len(data))]
    for split in splits(len(data)):
        yield [data[:split], data[split:]]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_the_receiver_reads_the_corpus_as_expected(kind: str, name: str) -> None:
    check(kind, corpus.data(kind, name), corpus.expected(kind, name))


@pytest.mark.parametrize("name", corpus.names("invalid"))
def test_the_expected_status_is_the_status_of_the_refusal(name: str) -> None:
    expected = corpus.expected("invalid", name)
    assert expected["status"] == REFUSALS[expected["refused"]][0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = [f"--max-body={corpus.MAX_BODY}", f"--spool-memory={corpus.MEMORY}"]
    echo = "tests.server.application:echo"
    server = Server(tmp_path_factory.mktemp("corpus"), *flags, application=echo, cwd=ROOT)
    yield server
    server.destroy()


def final_response(client: Client) -> Answer:
    """Read a response that is not 100 Continue."""
    while (answer := client.answer()).status == 100:
        pass
    return answer


@pytest.mark.parametrize("name", corpus.names("valid"))
def test_a_server_process_serves_the_valid_requests(server: Server, name: str) -> None:
    with server.client() as client:
        client.send(corpus.data("valid", name)).socket.shutdown(socket.SHUT_WR)
        for request in corpus.expected("valid", name):
            answer = final_response(client)
            echoed = json.loads(answer.body)
            assert answer.status == 200
            path, _, query = request["target"].partition("?")
            assert echoed.pop("path") == ("" if path == "*" else unquote_to_bytes(path).decode("latin-1"))
            assert echoed == {key: request[key] for key in ("method", "minor", "body")} | {"query": query}
            if not request["keeps_alive"]:
                assert answer.headers["connection"] == "close"
                break
        assert client.rest() == b""


HEADS = [name for name in corpus.names("invalid") if corpus.data("invalid", name).startswith((b"GET ", b"POST "))]


@pytest.mark.parametrize("name", [name for name in HEADS if not corpus.expected("invalid", name)["served"]])
def test_a_refused_head_request_gets_no_content(server: Server, name: str) -> None:
    """RFC 9110, section 9.3.2: even if only the method is readable."""
    _, rest = corpus.data("invalid", name).split(b" ", 1)
    with server.client() as client:
        client.send(b"HEAD " + rest).socket.shutdown(socket.SHUT_WR)
        answer = client.answer(method="HEAD")
        assert answer.status == corpus.expected("invalid", name)["status"]
        assert int(answer.headers["content-length"]) > 0
        assert client.rest() == b""


@pytest.mark.parametrize("name", corpus.names("invalid"))
def test_a_server_process_refuses_the_invalid_requests(server: Server, name: str) -> None:
    expected = corpus.expected("invalid", name)
    with server.client() as client:
        client.send(corpus.data("invalid", name)).socket.shutdown(socket.SHUT_WR)
        for _ in range(expected["served"]):
            assert client.answer().status == 200
        answer = client.answer()
        assert answer.status == expected["status"]
        assert answer.refused == expected["refused"]
        assert answer.headers["connection"] == "close"
        assert {"Date", "Content-Length"} <= set(answer.headers)
        assert client.rest() == b""
