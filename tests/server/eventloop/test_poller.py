"""The loop works the same with each system call that reports readiness."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server.conftest import ROOT
from tests.wire.building import chunked, request
from tests.wire.client import Client
from tests.wire.polling import poll
from wsgiserver.eventloop.poller import READABLE, WRITABLE, Poll, Poller

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("kind", [Poll, Poller])
def test_pollers_report_which_descriptors_are_ready(kind: Callable[[], Any], pair: Pair) -> None:
    one, other = pair
    poller = kind()
    poller.register(one.fileno(), READABLE)
    assert poller.poll(0, 10) == []
    other.send(b"x")
    assert poller.poll(None, 10) == [(one.fileno(), READABLE)]
    poller.modify(one.fileno(), WRITABLE)
    poller.register(other.fileno(), WRITABLE)
    assert len(poller.poll(1.0, 10)) == 2
    assert len(poller.poll(1.0, 1)) == 1
    poller.unregister(one.fileno())
    assert poller.poll(1.0, 10) == [(other.fileno(), WRITABLE)]
    poller.close()


@pytest.mark.skipif(
    not hasattr(select, "epoll"), reason="the fallback is the only poller here, and all other tests use it"
)
def test_a_server_runs_without_epoll() -> None:
    code = "import select, sys; del select.epoll; from wsgiserver.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "tests.server.application", "-b", "127.0.0.1:0", "-w", "2"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        port = int(process.stderr.readline().partition('"bind":"127.0.0.1:')[2].partition('"')[0])
        with Client(socket.create_connection(("127.0.0.1", port))) as client:
            assert client.get("/").body == b"hello"
            assert b'"size": 3000000' in client.send(chunked("/upload", b"x" * 3_000_000)).answer().body
            with Client(socket.create_connection(("127.0.0.1", port))) as slow:
                slow.send(request("GET", "/big-20000000"))
                assert client.get("/sleep-0.05").body == b"slept"
                assert len(slow.answer().body) == 20_000_000
        process.send_signal(signal.SIGTERM)
        assert poll(lambda: process.poll() is not None and str(process.returncode), "the process to end") == "0"
    finally:
        process.kill()
        process.communicate()
