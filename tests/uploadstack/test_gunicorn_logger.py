"""The access log of gunicorn, the baseline: a line of JSON for each request, whatever the client sends."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
APPLICATION = """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
KEYS = ["time", "event", "client", "request_id", "method", "path", "status", "sent_bytes", "total_seconds"]
FORGED = '\\","status":201,"x":"'

# Request line and fields -> fields of the log line; empty: no line.
REQUESTS: dict[str, dict[str, Any]] = {
    "GET /x?y HTTP/1.1|X-Forwarded-For: 203.0.113.9|X-Request-ID: 0123456789abcdef": {
        "client": "203.0.113.9",
        "request_id": "0123456789abcdef",
        "method": "GET",
        "path": "/x",
        "status": 200,
        "sent_bytes": 2,
    },
    f"GET /{FORGED} HTTP/1.1": {"path": f"/{FORGED}", "status": 200, "request_id": ""},
    f"GET / HTTP/1.1|X-Request-ID: {FORGED}|X-Forwarded-For: {FORGED}": {"request_id": FORGED, "client": FORGED},
    'GET /x"y\\z%0a{} HTTP/1.1|User-Agent: \xe9': {"path": '/x"y\\z%0a{}', "status": 200},
    "GET /raise?z HTTP/1.1": {"path": "/raise", "status": 500, "sent_bytes": 0},  # gunicorn sends this response
    "GET /healthz HTTP/1.1": {},
    "GET /readyz?x HTTP/1.1": {},
    "GET /healthz/not HTTP/1.1": {"path": "/healthz/not"},
}


@contextmanager
def gunicorn(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the socket of gunicorn and the file with its access log."""
    (folder / "echoed.py").write_text(APPLICATION)
    path, log = folder / "socket", folder / "log"
    flags = [f"--bind=unix:{path}", f"--access-logfile={log}", "--logger-class=uploadstack.gunicorn_logger.AccessLog"]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "echoed:application",
        "--worker-class=gthread",
        *flags,
        "--no-control-socket",
    ]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(path, process)
        yield str(path), log
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, "gunicorn has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def send(path: str, lines: str) -> None:
    data = "\r\n".join([*lines.split("|"), "Host: localhost", "Connection: close", "", ""]).encode("latin-1")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(path)
        sock.sendall(data)
        while sock.recv(4096):
            pass


def test_requests_are_logged_in_json_and_health_checks_are_not(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as (path, log):
        for request in REQUESTS:
            send(path, request)
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    expected = [line for line in REQUESTS.values() if line]
    assert [{key: line[key] for key in wanted} for line, wanted in zip(logged, expected, strict=True)] == expected
    for line in logged:
        assert list(line) == KEYS
        assert line["event"] == "request"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
