"""The admin listener: a process of its own, there before the workers and after them."""

import os
import signal
import socket

from tests.server.conftest import Serve, Server
from tests.server.harness import PATIENCE, Answer, Client, poll, sized


def admin(server: Server, target: str) -> Answer:
    host, _, port = str(server.events("started")[0]["admin_bind"]).rpartition(":")
    with Client(socket.create_connection((host, int(port)), timeout=PATIENCE)) as client:
        return client.get(target, "Connection: close")


def ready(server: Server) -> int:
    return admin(server, "/readyz").status


def counted(server: Server, requests: int) -> None:
    line = f'requests_total{{status="2xx"}} {requests}\n'.encode()
    poll(lambda: line in admin(server, "/metrics").body, f"{requests} requests to be counted")


def test_it_says_first_that_the_server_stops(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0", "--threads", "1")
    upload = sized("/upload", b"body")
    half = server.client().send(upload[:-1])
    assert server.get("/").body == b"hello"
    poll(lambda: ready(server) == 200, "readiness")
    server.signal(signal.SIGTERM)
    poll(lambda: ready(server) == 503, "the server to say that it is stopping")
    assert admin(server, "/healthz").body == b"alive\n"
    assert half.send(upload[-1:]).answer().status == 200
    assert server.ended() == 0
    half.socket.close()


def test_what_a_worker_has_counted_outlives_it(serve: Serve) -> None:
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


def test_it_is_started_anew(serve: Serve) -> None:
    server = serve("--admin-bind", "127.0.0.1:0")
    worker = int(server.get("/pid").body)
    (pid,) = set(server.workers()) - {worker}
    os.kill(pid, signal.SIGKILL)
    assert admin(server, "/healthz").status == 200
    assert int(server.get("/pid").body) == worker
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
