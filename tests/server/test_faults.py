"""Every socket call and every byte of a file fails once: the first, the second, until a run has no n-th one.

After any failure, no exception escapes, the application never gets a partial body, the client never reads a wrong
response, and no descriptor stays open. The sockets are real and count their calls; the files reach a real limit.
"""

import errno
import gc
import io
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.server.eventloop.running import running
from tests.server.harness import limited
from tests.server.serving.link import Link
from tests.wire.answers import read_answer
from tests.wire.building import chunked, request, sized
from tests.wire.client import Client
from tests.wire.polling import poll
from wsgiserver.serving.context import DEFAULT_BUDGET
from wsgiserver.serving.states import State, Verdict


class Fault(Enum):
    """The effect of a failing call."""

    RESET = errno.ECONNRESET
    NO_MEMORY = errno.ENOBUFS
    NOT_NOW = errno.EAGAIN
    SHORT = 0  # transfer a single byte


HARMLESS = {Fault.NOT_NOW, Fault.SHORT}  # normal events


class Faulty(socket.socket):
    """A socket that counts its calls; the n-th call fails. With 0, none fails."""

    def __init__(self, fileno: int, nth: int = 0, fault: Fault = Fault.RESET) -> None:
        super().__init__(fileno=fileno)
        self._nth, self._fault, self._calls = nth, fault, 0

    @property
    def has_fired(self) -> bool:
        return 0 < self._nth <= self._calls

    def _fails(self) -> bool:
        """Count the call. For the n-th one, raise the error or return whether it must be short."""
        self._calls += 1
        if self._calls != self._nth:
            return False
        if self._fault is not Fault.SHORT:
            raise OSError(self._fault.value, "on purpose")
        return True

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(1 if self._fails() else size, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(memoryview(data)[:1] if self._fails() else data, flags)

    def shutdown(self, how: int) -> None:
        if not self._fails():
            super().shutdown(how)

    def setsockopt(self, *arguments: Any) -> None:
        if not self._fails():
            super().setsockopt(*arguments)


class Scenario(NamedTuple):
    """The data of the client, and the expected bodies of responses and requests."""

    data: bytes
    answers: list[bytes]
    request_bodies: list[bytes]


BODY = bytes(range(256)) * 3
SCENARIOS = {
    "upload in memory": Scenario(sized("/", BODY[:80]), [BODY[:80]], [BODY[:80]]),
    "upload in a file": Scenario(sized("/", BODY), [BODY], [BODY]),
    "chunked upload in memory": Scenario(chunked("/", BODY[:80], size=7), [BODY[:80]], [BODY[:80]]),
    "chunked upload in a file": Scenario(chunked("/", BODY, size=100), [BODY], [BODY]),
    "upload that was announced": Scenario(sized("/", BODY[:80], "Expect: 100-continue"), [BODY[:80]], [BODY[:80]]),
    "download": Scenario(request("GET", "/big-600000"), [b"x" * 600_000], [b""]),
    "streamed download": Scenario(request("GET", "/stream-100"), [b"y" * 100_000], [b""]),
    "download of a file": Scenario(request("GET", "/file"), [BODY * 100], [b""]),
    "pipelined": Scenario(
        sized("/", BODY) + chunked("/", BODY[:80]) + request("GET", "/big-70000") + request("GET", "/big-1"),
        [BODY, BODY[:80], b"x" * 70_000, b"x"],
        [BODY, BODY[:80], b"", b""],
    ),
    "the last one": Scenario(request("GET", "/big-9", "Connection: close") + b"more", [b"x" * 9], [b""]),
    "refused": Scenario(request("POST", "/", "Content-Length: 5000"), [], []),
    "failing": Scenario(request("GET", "/raise"), [], [b""]),
    "failing in the middle": Scenario(request("GET", "/cut-5000"), [], [b""]),
}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def no_new_descriptors() -> Iterator[None]:
    gc.collect()  # objects left by other tests
    before = descriptors()
    yield
    assert descriptors() <= before


class Reader:
    """The client: reads the available data without waiting."""

    def __init__(self, client: Client) -> None:
        self._socket = client.socket
        self._socket.setblocking(False)
        self.data = b""
        self.is_over = False

    def receive(self) -> None:
        try:
            while not self.is_over and (data := self._socket.recv(1 << 16)):
                self.data += data
            self.is_over = True
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.is_over = True

    def answers(self) -> list[bytes]:
        """Return the bodies of the complete responses with status 200."""
        received, found = io.BytesIO(self.data), []
        try:
            while True:
                answer = read_answer(received)
                found += [answer.body] if answer.status == 200 else []
        except ConnectionError:
            return found


def run_scenario(
    scenario: Scenario,
    folder: Path,
    nth: int = 0,
    fault: Fault = Fault.RESET,
    failure: AbstractContextManager[object] = nullcontext(),  # noqa: B008 - it has no state
) -> tuple[bool, list[bytes]]:
    """Run a scenario in which the n-th call or another operation fails, and check the outcome.

    Returns whether the run was free of faults, and the response bodies.
    """

    def wrap(sock: socket.socket) -> Faulty:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return Faulty(sock.detach(), nth, fault)

    link = Link(str(folder), wrap)
    link.calls.path = folder / "download"
    faulty = link.connection.socket
    assert isinstance(faulty, Faulty)
    link.client.send(scenario.data)
    reader = Reader(link.client)

    def is_done() -> bool:
        if link.drive() is not Verdict.CLOSE:
            reader.receive()
        return link.connection.state in {State.CLOSED, State.LINGERING} or reader.answers() == scenario.answers

    with failure:
        poll(is_done, f"the end: call {nth}, {fault}")
    reader.receive()
    request_bodies, answers = [environ["body"] for environ in link.calls], reader.answers()
    assert request_bodies == scenario.request_bodies[: len(request_bodies)]
    assert answers == scenario.answers[: len(answers)]
    link.close()
    assert link.context.heads.left == link.context.answers.left == DEFAULT_BUDGET, "all memory is released"
    is_clean = not faulty.has_fired and isinstance(failure, nullcontext)
    if fault in HARMLESS or is_clean:
        assert (request_bodies, answers) == (scenario.request_bodies, scenario.answers)
    return is_clean, answers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "download").write_bytes(BODY * 100)
    return tmp_path


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_failure_of_any_socket_call_leaks_nothing(name: str, fault: Fault, folder: Path) -> None:
    with no_new_descriptors():
        for nth in count(1):
            is_clean, _ = run_scenario(SCENARIOS[name], folder, nth, fault)
            if is_clean:
                break
    assert nth > 2


@pytest.mark.parametrize("name", ["upload in a file", "chunked upload in a file", "pipelined"])
def test_a_disk_that_is_full_after_any_byte_leaks_nothing(name: str, folder: Path) -> None:
    with no_new_descriptors():
        for file_limit in [*range(0, len(BODY), 31), len(BODY) - 1]:
            _, answers = run_scenario(SCENARIOS[name], folder, failure=limited(resource.RLIMIT_FSIZE, file_limit))
            assert answers == [], file_limit
        _, answers = run_scenario(SCENARIOS[name], folder, failure=limited(resource.RLIMIT_FSIZE, len(BODY)))
        assert answers == SCENARIOS[name].answers


@contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Leave `spare` descriptors that can be opened."""
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(64)]  # they also take all lower free numbers
    with limited(resource.RLIMIT_NOFILE, max(held) + 1):
        for fd in held[:spare]:
            os.close(fd)
        try:
            yield
        finally:
            for fd in held[spare:]:
                os.close(fd)


@pytest.mark.parametrize("name", ["upload in a file", "download of a file", "pipelined"])
def test_a_shortage_of_descriptors_at_any_point_leaks_nothing(name: str, folder: Path) -> None:
    with no_new_descriptors():
        for spare in range(20):
            _, answers = run_scenario(SCENARIOS[name], folder, failure=few_descriptors(spare))
            if answers == SCENARIOS[name].answers:
                break
    assert 0 < spare < 19


class FaultyListener(socket.socket):
    """Accepts connections; a call of the first one fails."""

    def __init__(self, nth: int, fault: Fault) -> None:
        super().__init__()
        self._next, self._fault = nth, fault
        self.first: Faulty | None = None
        self.bind(("127.0.0.1", 0))
        self.listen(100)
        self.setblocking(False)

    def accept(self) -> tuple[socket.socket, Any]:
        sock, address = super().accept()
        faulty = Faulty(sock.detach(), self._next, self._fault)
        self._next, self.first = 0, self.first or faulty
        return faulty, address


def survived(data: bytes, nth: int, fault: Fault) -> bool:
    """Serve a client with a faulty connection, then another client. Returns whether there was an n-th call."""
    with FaultyListener(nth, fault) as listener, running(2, listener=listener) as server:
        with server.client() as faulty, suppress(OSError):  # the connection may end at any moment
            faulty.send(data).socket.shutdown(socket.SHUT_WR)
            faulty.rest()
        with server.client() as other:
            assert other.get("/fast").body == b"/fast"
        poll(lambda: not server.loop.connections, "the loop to drop all connections")
        assert listener.first is not None
        return listener.first.has_fired


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.NOT_NOW])
@pytest.mark.parametrize(
    "data",
    [sized("/", BODY) * 2, request("GET", "/big-300000"), sized("/", BODY)[:-1]],
    ids=["two uploads", "a large response", "an incomplete upload"],
)
def test_a_connection_that_fails_does_not_end_the_loop(data: bytes, fault: Fault) -> None:
    with no_new_descriptors():
        for nth in range(1, 100):
            if not survived(data, nth, fault):
                break
    assert 2 < nth < 99
