"""One worker process: uploads arrive complete, slow clients cost only bytes, and nothing is left behind."""

import hashlib
import json
import os
import random
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.building import chunked, chunks, request, sized
from tests.wire.client import Client
from tests.wire.polling import poll

BODY = random.Random(11).randbytes(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()
RESET = struct.pack("ii", 1, 0)


def check(server: Server, *pieces: bytes, body: bytes = BODY) -> None:
    """With any framing, the application reads exactly the body."""
    with server.client() as client:
        for piece in pieces:
            client.send(piece)
        answer = json.loads(client.answer().body)
        assert answer == {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "rest": 0}
        assert client.get("/").body == b"hello"


def byte_by_byte(data: bytes, count: int) -> list[bytes]:
    return [*(data[n : n + 1] for n in range(count)), data[count:]]


def test_uploads_arrive_whole(serve: Serve) -> None:
    server = serve("--spool-memory", "64k")
    check(server, sized("/upload", BODY))
    check(server, chunked("/upload", BODY))
    check(server, chunked("/upload", BODY, size=8192))
    check(server, *byte_by_byte(chunked("/upload", BODY, size=1000), 300))
    check(
        server,
        request("POST", "/upload", "Transfer-Encoding: chunked"),
        chunks(BODY[:300], 1)[:-5],
        chunks(BODY[300:], 65536),
    )
    check(server, chunked("/upload", b"tiny"), body=b"tiny")
    check(server, chunked("/upload", b""), body=b"")
    check(server, sized("/upload", b"x" * 65536), body=b"x" * 65536)
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    spools = [(record["framing"], record["spool"]) for record in server.requests() if record["path"] == "/upload"]
    assert spools[:2] == [("length", "file"), ("chunked", "file")]
    assert spools[5:] == [("chunked", "memory"), ("chunked", "none"), ("length", "memory")]


def test_a_truncated_body_never_reaches_the_application(serve: Serve) -> None:
    server = serve()
    for data in (sized("/upload", BODY)[:-1], chunked("/upload", BODY)[:-1], chunked("/upload", b"x")[:-4]):
        for direction in (socket.SHUT_WR, None):
            with server.client() as client:
                client.send(data)
                if direction is None:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                else:
                    client.socket.shutdown(direction)
                    assert client.answer().status == 400
    poll(lambda: len(server.events("body-incomplete")) == 6, "the server to log all six")
    assert json.loads(server.get("/uploads").body) == []


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
def test_a_client_that_is_still_sending_gets_413_for_a_body_that_is_too_large(
    serve: Serve, expect: tuple[str, ...]
) -> None:
    server = serve("--max-body", "1m")
    for start in (
        request("POST", "/upload", f"Content-Length: {len(BODY)}", *expect),
        request("POST", "/upload", "Transfer-Encoding: chunked", *expect) + b"ffffff\r\n",
    ):
        with server.client() as client:
            client.send(start)
            if expect and b"chunked" not in start:
                assert client.answer().status == 413
            else:
                client.send(BODY).send(BODY)
                assert client.answer().status == 413
            assert client.rest() == b""
    assert json.loads(server.get("/uploads").body) == []


@pytest.mark.parametrize("threads", ["1", "4"])
def test_slow_clients_do_not_block_other_clients(serve: Serve, threads: str) -> None:
    server = serve("--threads", threads)
    beginnings = [b"", b"GET / HT", sized("/upload", BODY)[:-1], chunked("/upload", BODY)[:-1]]
    ends = [request("GET", "/"), request("GET", "/")[8:], BODY[-1:], b"\n"]
    slow = [server.client().send(beginnings[n % 4]) for n in range(40)]
    reader = server.client().send(request("GET", "/big-64000000"))
    assert [server.get("/").body for _ in range(20)] == [b"hello"] * 20
    for n, client in enumerate(slow):
        answer = client.send(ends[n % 4]).answer()
        assert answer.body == b"hello" if n % 4 < 2 else json.loads(answer.body)["sha256"] == DIGEST
    assert len(reader.answer().body) == 64_000_000


def test_slow_views_do_not_block_other_requests(serve: Serve) -> None:
    server = serve("--threads", "4")
    slow = [server.client().send(request("GET", "/wait")) for _ in range(3)]
    server.wait_for_calls(3)
    assert [server.get("/").body for _ in range(20)] == [b"hello"] * 20
    server.open_gate()
    for client in slow:
        assert client.answer().body == b"waited"


def test_memory_does_not_grow_with_the_body(serve: Serve) -> None:
    """All threads use one malloc arena: otherwise the number of used arenas would depend on chance."""
    server = serve(MALLOC_ARENA_MAX="1")
    check(server, chunked("/upload", BODY))
    (worker,) = server.workers()
    before = peak(worker)
    with server.client() as client:
        client.send(request("POST", "/upload", "Transfer-Encoding: chunked"))
        chunk = b"%x\r\n%b\r\n" % (len(BODY), BODY)
        for _ in range(30):
            client.send(chunk)
        assert json.loads(client.send(b"0\r\n\r\n").answer().body)["size"] == 90_000_000
    assert peak(worker) - before < 8192, "KiB"


def peak(pid: int) -> int:
    """The peak memory of the process, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def test_a_worker_does_not_leak_descriptors(serve: Serve) -> None:
    server = serve("--spool-memory", "1k", "--max-body", "100k")
    server.get("/")
    (worker,) = server.workers()
    folder = Path(f"/proc/{worker}/fd")
    before = len(list(folder.iterdir()))  # may include the connection of the first request
    abuses = [
        request("GET", "/"),
        chunked("/upload", BODY[:90_000]),
        sized("/upload", BODY[:90_000])[:-1],
        sized("/upload", BODY[:200_000]),
        chunked("/upload", BODY[:200_000]),
        b"GARBAGE\r\n\r\n",
        request("GET", "/big-9000000"),
        request("GET", "/fail"),
        request("GET", "/sleep-0.02"),
        request("GET", "/leave"),
    ]
    for n in range(200):
        with server.client() as client:
            client.send(abuses[n % len(abuses)])
            if n % 3 == 0:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            elif n % 3 == 1:
                client.socket.shutdown(socket.SHUT_WR)
                client.socket.recv(100)
    poll(lambda: len(list(folder.iterdir())) <= before, f"{before} descriptors")
    assert server.get("/").body == b"hello"
    assert not [event for event in server.events() if event["event"] in {"thread-failed", "worker-died"}]


def processor_time(pid: int) -> float:
    """Processor time used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_quiet(pids: list[int]) -> bool:
    """Whether the processes use almost no processor time for a second."""
    before = sum(map(processor_time, pids))
    time.sleep(1)
    return sum(map(processor_time, pids)) - before < 0.1


def test_an_idle_worker_does_not_wake_up_whatever_the_state_of_its_connections(serve: Serve) -> None:
    """Connections are half-closed, reset, refused, idle, or still open in a child of the application."""
    server = serve("--threads", "4")
    clients = [server.client() for _ in range(8)]
    clients[0].socket.shutdown(socket.SHUT_WR)
    clients[1].send(sized("/upload", BODY)[:-1]).socket.shutdown(socket.SHUT_WR)
    clients[2].send(b"GARBAGE\r\n\r\n")
    clients[3].send(request("GET", "/big-30000000"))
    clients[4].send(request("GET", "/big-30000000")).socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    clients[4].socket.close()
    clients[5].get("/sleep-0.05")
    child = int(clients[6].get("/fork-600", "Connection: close").body)
    try:
        assert clients[6].rest() == b"", "the client still sees the end of the connection"
        clients[7].socket.close()
        pids = [server.pid, *server.workers()]
        poll(lambda: is_quiet(pids), "all processes to be idle")
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_environ_has_nothing_of_the_process_environment(serve: Serve) -> None:
    server = serve(SECRET_KEY="hush-hush")
    answer = server.get("/environ").body
    assert b"hush-hush" not in answer
    environ: dict[str, Any] = json.loads(answer)
    assert not {"PATH", "PYTHONPATH", "SECRET_KEY"} & set(environ)
    assert environ["SERVER_PORT"] == server.bind.rpartition(":")[2]


def test_a_chunked_upload_is_served_with_a_read_only_working_directory(serve: Serve) -> None:
    """As in a container with a read-only root: /proc is read-only on every machine."""
    server = serve(cwd=Path("/proc"))
    check(server, chunked("/upload", BODY))


def test_requests_and_application_errors_are_logged(serve: Serve) -> None:
    server = serve()
    server.get('/?a=%22"', "X-Request-ID: abc")
    server.get("/fail")
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    logged = {record["path"]: record for record in server.requests()}
    assert (logged["/"]["request_id"], logged["/"]["status"]) == ("abc", 200)
    assert logged["/fail"]["status"] == 500
    (event,) = server.events("application-error")
    assert "ValueError: on purpose" in event["error"]


def test_the_access_log_has_the_client_address_from_trusted_proxies(serve: Serve) -> None:
    server = serve("--forwarded-allow-ips", "127.0.0.1")
    with server.client() as client:
        client.get("/", "X-Forwarded-For: 198.51.100.7, 192.0.2.1")
        client.get("/")
        client.send("GARBAGE\r\n\r\n").answer()
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    assert [record["client"] for record in server.requests()] == ["192.0.2.1", "127.0.0.1", "127.0.0.1"]


def test_no_access_log_disables_the_access_log(serve: Serve) -> None:
    server = serve("--no-access-log")
    assert server.get("/").body == b"hello"
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    assert server.requests() == []


def test_uploads_and_forwarded_addresses_work_over_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    server = serve("-b", f"unix:{tmp_path}/s", "--forwarded-allow-ips", "127.0.0.1")
    check(server, chunked("/upload", BODY))
    environ = json.loads(server.get("/environ", "X-Forwarded-For: 1.2.3.4").body)
    assert environ["REMOTE_ADDR"] == "1.2.3.4"


def test_sys_exit_in_the_application_fails_only_its_own_request(serve: Serve) -> None:
    server = serve()
    with server.client() as client:
        assert client.get("/leave").status == 500
    assert server.get("/").body == b"hello"
    assert not server.events("worker-died")


def test_clients_without_keep_alive_are_served(serve: Serve) -> None:
    server = serve("--threads", "2")
    for _ in range(300):
        with server.client() as client:
            assert isinstance(client, Client)
            client.send(request("GET", "/", "Connection: close"))
            assert client.answer().body == b"hello"
            assert client.rest() == b""
