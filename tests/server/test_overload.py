"""More clients than fit into descriptors or memory: complete requests are still served.

Real processes with low limits. The waiting clients have sent half of a request.
"""

import os
import resource
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.building import chunked, request, sized
from tests.wire.client import Client
from tests.wire.polling import poll
from wsgiserver.settings import Settings
from wsgiserver.telemetry.resources import (
    DESCRIPTORS_PER_THREAD,
    OTHER_DESCRIPTORS,
    connections_within,
    descriptors_needed,
)

LIMIT = 256  # descriptors
THREADS = 2
FITS = connections_within(LIMIT, THREADS)
HALF_HEAD = request("GET", "/")[:20]
BODY = os.urandom(300_000)


def limits(pid: int) -> tuple[int, int]:
    """The soft and hard descriptor limits of a process."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def worker(server: Server) -> int:
    return int(server.get("/pid").body)


# --- Descriptors --------------------------------------------------------------------------------------------------


def test_the_descriptor_limit_is_raised_as_far_as_needed(serve: Serve) -> None:
    """The limit is not raised further, because child processes of the application inherit it."""
    server = serve("--max-connections", "100", limits="-S -n 64")
    soft, hard = limits(worker(server))
    assert soft == min(hard, descriptors_needed(100, Settings().threads))
    assert not server.events("max-connections-lowered")


def test_a_sufficient_descriptor_limit_is_left_unchanged(serve: Serve) -> None:
    server = serve("--max-connections", "10", limits="-S -n 1000")
    assert limits(worker(server))[0] == 1000


def test_a_max_connections_lowered_to_fit_is_logged_once(serve: Serve) -> None:
    server = serve("-w", "2", "--threads", str(THREADS), "--admin-bind", "127.0.0.1:0", limits=f"-n {LIMIT}")
    assert server.get("/").body == b"hello"
    poll(lambda: len(server.events("worker-ready")) == 3, "all processes")
    (event,) = server.events("max-connections-lowered")
    assert (event["wanted"], event["fits"], event["descriptors"]) == (Settings().max_connections, FITS, LIMIT)


def test_too_few_descriptors_are_refused_by_name(serve: Serve) -> None:
    server = serve("--threads", "20", limits="-n 300")
    assert server.wait_for_end() == 2
    assert "--threads: " in server.error_output
    assert "the limit of a process is 300 (ulimit -n)" in server.error_output
    assert f"20 threads need {descriptors_needed(20, 20)} descriptors" in server.error_output


def test_descriptors_that_the_application_keeps_open_lower_max_connections(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(
        "import os\nkept = [os.dup(0) for _ in range(100)]\nfrom tests.server.application import application\n"
    )
    server = serve("--threads", str(THREADS), application="greedy", cwd=tmp_path, limits=f"-n {LIMIT}")
    assert server.get("/").body == b"hello"
    server_event, worker_event = server.events("max-connections-lowered")
    assert server_event["fits"] == FITS
    assert worker_event["open"] > 100 + DESCRIPTORS_PER_THREAD
    assert worker_event["fits"] < FITS - (100 - OTHER_DESCRIPTORS) // 2


Make = Callable[[Server], Client]


@pytest.mark.parametrize(
    "take",
    [
        lambda client: client,
        lambda client: client.send(HALF_HEAD),
        lambda client: client.send(request("GET", "/", "X: " + "x" * 60_000)[:-2]),
        lambda client: (client.get("/"), client)[1],
        lambda client: (client.get("/"), client.send(HALF_HEAD))[1],
        lambda client: client.send(b"garbage\r\n\r\n"),
    ],
    ids=["nothing", "half a head", "a large half head", "an answer", "an answer and half a head", "a refusal"],
)
def test_requests_are_served_beside_three_times_as_many_stalled_clients(
    serve: Serve, take: Callable[[Client], Client]
) -> None:
    """One running request has not opened its files yet, and one upload is incomplete."""
    server = serve("--threads", str(THREADS), "--spool-memory", "1k", limits=f"-n {LIMIT}")
    running = server.client().send(request("GET", f"/files-{DESCRIPTORS_PER_THREAD - 1}"))
    server.wait_for_calls(1)
    upload = sized("/upload", BODY)
    half = server.client().send(upload[:-1])
    for _ in range(3 * FITS):
        take(server.client())
    assert server.get("/").body == b"hello"
    with server.client() as client:
        assert b'"size": 300000' in client.send(chunked("/upload", BODY)).answer().body
    assert b'"size": 300000' in half.send(upload[-1:]).answer().body
    server.open_gate()
    assert running.answer().body == b"opened"
    assert not server.events("application-error")
    assert not server.events("descriptors-exhausted")
    assert not server.events("spool-failed")
    assert not [line for line in server.requests() if line["status"] in {500, 507}]


def test_an_incomplete_head_that_makes_room_gets_503(serve: Serve) -> None:
    server = serve("--max-connections", "5", "--threads", "1")
    halves = [server.client().send(HALF_HEAD) for _ in range(5)]
    assert server.get("/").body == b"hello"
    answer = halves[0].answer()
    assert (answer.status, answer.refused) == (503, "overloaded")
    assert halves[0].rest() == b""
    poll(lambda: [line for line in server.requests() if line["error"] == "overloaded"], "the log")


def test_one_stalled_body_per_new_connection_gets_503(serve: Serve) -> None:
    """The other uploads continue."""
    server = serve("--max-connections", "5", "--threads", "1")
    halves = [server.client().send(sized("/upload", BODY)[:-1]) for _ in range(5)]
    assert server.get("/").body == b"hello"
    answered = poll(lambda: [client for client in halves if select.select([client.socket], [], [], 0)[0]], "a response")
    assert len(answered) == 1
    answer = answered[0].answer()
    assert (answer.status, answer.refused) == (503, "overloaded")
    for client in halves:
        if client is not answered[0]:
            assert b'"size": 300000' in client.send(BODY[-1:]).answer().body


@contextmanager
def repeating(clients: list[Client], step: Callable[[Client], object]) -> Iterator[None]:
    """Each client repeats a step until its connection ends or the block does."""
    stopped = threading.Event()

    def repeat() -> None:
        left = list(clients)
        while left and not stopped.wait(0.05):
            for client in list(left):
                try:
                    step(client)
                except OSError:
                    left.remove(client)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (sized("/upload", BODY)[:-100_000], b"x"),
        (request("POST", "/upload", "Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
        (request("POST", "/upload", "Transfer-Encoding: chunked") + b"1;a=", b"x"),
    ],
    ids=["length", "chunks", "a chunk's line"],
)
def test_bodies_that_arrive_byte_by_byte_make_room(serve: Serve, beginning: bytes, piece: bytes) -> None:
    """Occasional bytes do not count as progress, even after a large part of the body."""
    server = serve("--max-connections", "5", "--threads", "1", "--body-timeout", "1000")
    halves = [server.client().send(beginning) for _ in range(5)]
    with repeating(halves, lambda client: client.send(piece)):
        assert server.get("/").body == b"hello"


def test_bodies_at_the_minimum_rate_do_not_make_room(serve: Serve) -> None:
    """Of the clients that fill the server, only the slow one is refused."""
    server = serve("--max-connections", "3", "--threads", "1", "--body-rate", "100")
    slow, *steady = [server.client().send(sized("/upload", BODY)[:-100_000]) for _ in range(3)]
    with repeating(steady, lambda client: client.send(b"x" * 500)):
        assert server.get("/").body == b"hello"
    assert slow.answer().refused == "overloaded"
    logged = poll(lambda: [line for line in server.requests() if line["path"] == "/upload"], "the log")
    assert [line["error"] for line in logged] == ["overloaded"]


def test_clients_with_repeated_requests_do_not_lock_out_new_ones(serve: Serve) -> None:
    """Their responses have `Connection: close`, so that no client loses a sent request."""
    server = serve("--max-connections", "5", "--threads", "1")
    busy = [server.client() for _ in range(5)]
    connection_fields: list[str | None] = []

    def fetch(client: Client) -> None:
        answer = client.get("/")
        assert answer.body == b"hello"
        connection_fields.append(answer.headers.get("connection"))
        if connection_fields[-1] == "close":
            raise ConnectionError

    for client in busy:
        fetch(client)
    with repeating(busy, fetch):
        assert server.get("/").body == b"hello"
    assert "close" in connection_fields


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_unread_response_that_makes_room_ends_with_a_reset(serve: Serve, version: str) -> None:
    """In HTTP/1.0 the end of a connection marks the end of a response, so a truncated response needs a reset."""
    server = serve("--max-connections", "2", "--threads", "1")
    slow = [
        server.client().send(request("GET", "/stream-30000000", "Connection: close", version=version)) for _ in range(2)
    ]
    assert server.get("/").body == b"hello"
    poll(lambda: [line for line in server.requests() if line["path"] != "/"], "the log")
    ends = []
    for client in slow:
        with suppress(ConnectionResetError):
            ends.append(len(client.rest()))
    assert len(ends) == 1, "one response was cut off, the other is complete"
    assert ends[0] > 30_000_000 - 65536


def test_an_incomplete_proxy_header_makes_room(serve: Serve) -> None:
    server = serve("--max-connections", "5", "--proxy-protocol", "--forwarded-allow-ips", "*")
    for beginning in (b"", b"PROXY TCP4 192.0.2.1") * 10:
        server.client().send(beginning)
    with server.client() as client:
        assert client.send(b"PROXY UNKNOWN\r\n" + request("GET", "/")).answer().body == b"hello"


def test_spooled_uploads_leave_enough_descriptors_for_requests(serve: Serve) -> None:
    """Incomplete bodies in files on all but two of the connections: each has two descriptors."""
    server = serve("--threads", str(THREADS), "--spool-memory", "1k", limits=f"-n {LIMIT}")
    upload = sized("/upload", BODY)
    pid = worker(server)
    halves = [server.client().send(upload[:-1]) for _ in range(FITS - 2)]
    poll(lambda: descriptors(pid) > 2 * (FITS - 2), "all uploads to arrive")
    running = server.client().send(request("GET", f"/files-{DESCRIPTORS_PER_THREAD - 1}"))
    server.wait_for_calls(1)
    with server.client() as client:
        assert b'"size": 300000' in client.send(upload).answer().body
    server.open_gate()
    assert running.answer().body == b"opened"
    for half in halves:
        assert b'"size": 300000' in half.send(upload[-1:]).answer().body
    assert not server.events("application-error")


def test_slow_readers_leave_enough_descriptors_for_requests(serve: Serve) -> None:
    """Their uploads were in files, and so are their responses: each client has at most two descriptors."""
    server = serve("--threads", str(THREADS), "--spool-memory", "1k", limits=f"-n {LIMIT}")
    pid = worker(server)
    slow = [server.client().send(sized("/big-6000000", BODY)) for _ in range(FITS - 2)]
    poll(lambda: len(server.requests()) == 1 and descriptors(pid) > 2 * (FITS - 2), "all responses to be spooled")
    assert descriptors(pid) < LIMIT - THREADS * DESCRIPTORS_PER_THREAD
    assert server.get("/").body == b"hello"
    assert [len(client.answer().body) for client in slow] == [6_000_000] * len(slow)
    assert not server.events("application-error")


# --- Memory -------------------------------------------------------------------------------------------------------

MANY = 300  # clients
# Clients that do not read: the part of the responses that the kernel does not buffer, 2 to 4 MB of 6, goes to files in
# /tmp, which has half a gigabyte in a container. In memory, each client would take a quarter of a megabyte.
UNREAD = 60
HEAD = 60_000  # bytes per head, 18 MB in total
BUDGET = 1 << 20  # bytes
SPARE = 8 << 20  # bytes that a process may grow by for other reasons


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def fields(size: int) -> str:
    return "\r\n".join(f"X-{n}: {'x' * 5000}" for n in range(size // 5000))


WAITING_CLIENTS: dict[str, tuple[bytes, list[str]]] = {
    "half heads": (request("GET", "/", fields(HEAD))[:-2], []),
    "half bodies with large heads": (sized("/upload", b"hello", fields(HEAD))[:-1], []),
    "answers that nobody reads, with large heads": (
        request("GET", "/stream-6000000", fields(HEAD)),
        ["--send-budget=1m"],
    ),
    "answers that nobody reads, and more requests": (
        request("GET", "/stream-6000000") + request("GET", "/", fields(HEAD)),
        ["--send-budget=1m"],
    ),
    "answers that nobody reads": (request("GET", "/stream-6000000"), ["--send-budget=1m"]),
    "refused heads": (request("GET", "/", fields(HEAD), "Content-Length: x"), []),
    "half PROXY headers": (
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x1f\xff" + bytes(8_000),
        ["--proxy-protocol", "--forwarded-allow-ips=*"],
    ),
}


@pytest.mark.parametrize("name", WAITING_CLIENTS)
def test_the_memory_of_waiting_clients_is_bounded(serve: Serve, name: str) -> None:
    """Many clients send half of a request or do not read; other clients are still served."""
    data, flags = WAITING_CLIENTS[name]
    server = serve("--head-budget", "1m", "--threads", "2", *flags)
    proxied = b"PROXY UNKNOWN\r\n" if "--proxy-protocol" in flags else b""
    query = proxied + request("GET", "/pid")
    with server.client() as client:
        pid = int(client.send(query).answer().body)
    before = resident(pid)
    for _ in range(UNREAD if "nobody reads" in name else MANY):
        server.client().send(data)
    with server.client() as client:
        assert int(client.send(query).answer().body) == pid
    grown = resident(pid) - before
    assert grown < BUDGET + SPARE, f"{grown >> 20} MiB"


def test_the_largest_incomplete_heads_make_room_first(serve: Serve) -> None:
    """Clients with half of an ordinary head are not affected."""
    server = serve("--head-budget", "64k", "--threads", "2")
    query = request("GET", "/", fields(5000))
    ordinary = [server.client().send(request("GET", "/", "X: " + "x" * 2000)[:-2]) for _ in range(20)]
    upload = sized("/upload", BODY, "X: " + "x" * 3000)
    half = server.client().send(upload[:-1])
    large = [server.client().send(request("GET", "/", fields(HEAD))[:-2]) for _ in range(10)]
    answers = [client.answer() for client in large[:8]]
    assert {(answer.status, answer.refused) for answer in answers} == {(503, "overloaded")}
    assert server.client().send(query).answer().body == b"hello"
    assert [client.send(b"\r\n").answer().body for client in ordinary] == [b"hello"] * 20
    assert b'"size": 300000' in half.send(upload[-1:]).answer().body
