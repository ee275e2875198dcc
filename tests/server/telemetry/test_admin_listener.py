"""The admin listener: a separate process that starts before the workers and ends after them."""

import os
import signal
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.conftest import Serve, Server
from tests.wire.answers import Answer
from tests.wire.building import chunked, request, sized
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll


def admin(server: Server, target: str) -> Answer:
    host, _, port = str(server.events("started")[0]["admin_bind"]).rpartition(":")
    with Client(socket.create_connection((host, int(port)), timeout=PATIENCE)) as client:
        return client.get(target, "Connection: close")


def ready(server: Server) -> int:
    return admin(server, "/readyz").status


def counted(server: Server, requests: int) -> None:
    line = f'requests_total{{status="2xx"}} {requests}\n'.encode()
    poll(lambda: line in admin(server, "/metrics").body, f"{requests} requests to be counted")


def test_readyz_reports_the_stop_while_requests_finish(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0", "--threads", "1")
    upload = sized("/upload", b"body")
    half = server.client().send(upload[:-1])
    assert server.get("/").body == b"hello"
    poll(lambda: ready(server) == 200, "readiness")
    server.signal(signal.SIGTERM)
    poll(lambda: ready(server) == 503, "/readyz to report the stop")
    assert admin(server, "/healthz").body == b"alive\n"
    assert half.send(upload[-1:]).answer().status == 200
    assert server.wait_for_end() == 0


def test_a_server_in_its_drain_delay_serves_requests_and_is_not_ready(serve: Serve) -> None:
    """The delay lasts until a second TERM: 600 seconds exceed the time of this test."""
    server = serve("--admin-bind", "127.0.0.1:0", "--drain-delay", "600")
    assert server.get("/").body == b"hello"
    poll(lambda: ready(server) == 200, "readiness")
    server.signal(signal.SIGTERM)
    poll(lambda: ready(server) == 503, "/readyz to report the drain")
    assert admin(server, "/readyz").body == b"stopping\n"
    for _ in range(3):
        answer = server.get("/")
        assert (answer.status, answer.body) == (200, b"hello")
    assert not server.events("stopping")
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


def test_a_worker_that_dies_during_the_drain_delay_is_replaced(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0", "--drain-delay", "600")
    worker = int(server.get("/pid").body)
    server.signal(signal.SIGTERM)
    poll(lambda: server.events("draining"), "the drain to start")
    os.kill(worker, signal.SIGKILL)
    poll(lambda: server.events("worker-died"), "the worker to die")
    assert int(server.get("/pid").body) != worker
    assert ready(server) == 503


def test_the_server_stops_after_the_drain_delay(serve: Serve) -> None:
    server = serve("--drain-delay", "0.3")
    upload = sized("/upload", b"body")
    half = server.client().send(upload[:-1])
    assert server.get("/").body == b"hello"
    server.signal(signal.SIGTERM)
    poll(lambda: server.events("stopping"), "the delay to end")
    assert half.send(upload[-1:]).answer().status == 200, "the server finishes running requests"
    assert server.wait_for_end() == 0
    assert [event["event"] for event in server.events()][-3:] == ["draining", "stopping", "stopped"]


def test_an_interrupt_does_not_wait_for_the_drain_delay(serve: Serve) -> None:
    server = serve("--drain-delay", "600")
    assert server.get("/").body == b"hello"
    server.signal(signal.SIGTERM)
    poll(lambda: server.events("draining"), "the drain to start")
    server.signal(signal.SIGINT)
    assert server.wait_for_end() == 0


def test_a_response_to_head_has_no_content(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0")
    server.get("/")
    host, _, port = str(server.events("started")[0]["admin_bind"]).rpartition(":")
    for data, status in [
        (request("HEAD", "/healthz", "Connection: close"), 200),
        (request("HEAD", "/metrics", "Connection: close"), 200),
        (request("HEAD", "/nowhere", "Connection: close"), 404),
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", 400),
        (b"HEAD /healthz HTTP/3.0\r\n", 505),
    ]:
        with Client(socket.create_connection((host, int(port)), timeout=PATIENCE)) as client:
            answer = client.send(data).answer(method="HEAD")
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert client.rest() == b""


CRASHING = """
import os, sys, threading, time
from tests.server.application import application

if os.path.exists("broken"):
    threading.Timer(float(os.environ["TEST_LIFE"]), os._exit, [9]).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "3"])
def test_readyz_reports_workers_that_crash_repeatedly(serve: Serve, tmp_path: Path, workers: str) -> None:
    """Each worker loads the application and reports readiness before it ends. A repaired one stays ready."""
    (tmp_path / "crashing.py").write_text(CRASHING)
    (tmp_path / "broken").touch()
    flags = ("--admin-bind", "127.0.0.1:0", "-w", workers)
    server = serve(*flags, application="crashing", cwd=tmp_path, TEST_LIFE="0.3")
    for event in ("worker-died", "worker-ready"):  # on a busy machine, a worker may end before it is ready
        poll(lambda: len(server.events(event)) >= 3, f"three times {event}")  # noqa: B023 - the poll ends before the next iteration
    poll(lambda: b"again and again" in admin(server, "/readyz").body, "/readyz to report repeated crashes")
    deaths = len(server.events("worker-died"))
    while len(server.events("worker-died")) < deaths + 2:  # with and without a running worker
        assert ready(server) == 503
    assert len(server.events("workers-keep-ending")) == 1
    assert admin(server, "/healthz").status == 200
    (tmp_path / "broken").unlink()
    poll(lambda: ready(server) == 200, "a worker that keeps running")
    assert server.get("/").body == b"hello"
    assert len(server.events("workers-stay")) == 1


def test_readyz_stays_ready_after_two_killed_workers(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0")
    for _ in range(2):
        worker = int(server.get("/pid").body)
        os.kill(worker, signal.SIGKILL)
        poll(lambda: int(server.get("/pid").body) != worker, "another worker")  # noqa: B023 - the poll ends before the next iteration
    poll(lambda: ready(server) == 200, "readiness")


def test_readyz_reports_a_worker_that_cannot_start_its_threads(serve: Serve) -> None:
    """The address space is too small, with the same effect as a limit of the control group."""
    server = serve("--admin-bind", "127.0.0.1:0", "--threads", "40", limits="-s 65536 && ulimit -v 2000000")
    deaths = poll(lambda: server.events("worker-died")[2:], "three deaths")
    assert {event["code"] for event in deaths} == {1}
    events = server.events("threads-not-started")
    assert {event["threads"] for event in events} == {40}
    assert "can't start new thread" in events[0]["error"]
    assert len(server.events("worker-ready")) <= 1, "at most the event of the admin listener"
    assert ready(server) == 503
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


def test_the_counters_of_a_killed_worker_are_kept(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0")
    for _ in range(3):
        server.get("/")
    counted(server, 3)
    worker = int(server.get("/pid").body)
    counted(server, 4)
    os.kill(worker, signal.SIGKILL)
    assert server.get("/").body == b"hello"
    counted(server, 5)
    assert b"worker_restarts_total 1\n" in admin(server, "/metrics").body


def test_a_killed_admin_process_is_restarted(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0")
    worker = int(server.get("/pid").body)
    (pid,) = set(server.workers()) - {worker}
    os.kill(pid, signal.SIGKILL)
    assert admin(server, "/healthz").status == 200
    assert int(server.get("/pid").body) == worker
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


def test_requests_bodies_and_busy_threads_are_counted(serve: Serve) -> None:
    """Views that work, fail or are not called; bodies in memory, in a file or truncated; busy threads."""
    server = serve("--admin-bind", "127.0.0.1:0", "--spool-memory", "1k", "--threads", "3")
    body = b"x" * 10_000
    for data, status in [
        (request("GET", "/"), 200),
        (request("GET", "/fail"), 500),
        (sized("/upload", b"tiny"), 200),
        (chunked("/upload", body), 200),
        (b"GARBAGE\r\n\r\n", 400),
        (sized("/upload", body)[:-1], 400),
    ]:
        with server.client() as client:
            client.send(data).socket.shutdown(socket.SHUT_WR)
            assert client.answer().status == status
    waiting = [server.client().send(request("GET", "/wait")) for _ in range(2)]
    expected = {
        "requests_total 2xx": 3,
        "requests_total 4xx": 2,
        "requests_total 5xx": 1,
        "refused_total head-malformed": 1,
        "refused_total body-incomplete": 1,
        "incomplete_bodies_total": 1,
        "received_bytes_total": 4 + 10_000 + 9_999,
        "spooled_bytes_total": 10_000 + 9_999,
        "connections_accepted_total": 8,
        "application_seconds_count": 4,
        "connections": 2,
        "requests_in_flight": 2,
        "threads_busy": 2,
        "threads_stuck": 0,
        "workers ready": 1,
    }

    def counted() -> dict[str, float]:
        families = text_string_to_metric_families(admin(server, "/metrics").body.decode())
        samples = {
            " ".join((sample.name.removeprefix("wsgiserver_"), *sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }
        return {name: samples[name] for name in expected}

    poll(lambda: counted() == expected, f"{expected}, now {counted()}")
    server.open_gate()
    for client in waiting:
        assert client.answer().status == 200
    poll(lambda: counted()["threads_busy"] == 0, "all threads to be idle")
