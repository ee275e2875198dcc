"""`wsgiserver healthcheck` as in a container: an exit code, and one line in case of an error."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.server.conftest import ROOT, Serve
from tests.wire.building import sized
from tests.wire.polling import PATIENCE, poll
from wsgiserver.healthcheck import BIND_VARIABLE, ask, main
from wsgiserver.settings import VARIABLE_PREFIX


def check(*arguments: str, message: str = "", **variables: str) -> int:
    """Run the health check as a process. It prints one line on failure and nothing on success."""
    result = subprocess.run(
        [sys.executable, "-m", "wsgiserver", "healthcheck", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.stdout == ""
    assert result.stderr.count("\n") == bool(result.returncode)
    assert message in result.stderr
    assert bool(message) == bool(result.returncode)
    return result.returncode


def test_healthcheck_reports_a_running_and_a_stopping_server(serve: Serve, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path}/admin"
    server = serve("--admin-bind", bind)
    upload = sized("/upload", b"body")
    half = server.client().send(upload[:-1])
    assert server.get("/").body == b"hello"
    poll(lambda: main(["--ready", bind]) == 0, "readiness")
    assert check(bind) == 0
    assert check("--ready", bind) == 0
    assert check("--ready", WSGISERVER_ADMIN_BIND=f"{bind}, 127.0.0.1:1") == 0
    server.signal(signal.SIGTERM)
    poll(lambda: main(["--ready", bind]) == 1, "the health check to report the stop")
    assert check("--ready", bind, message="wsgiserver healthcheck: stopping") == 1
    assert check(bind) == 0
    assert half.send(upload[-1:]).answer().status == 200
    assert server.wait_for_end() == 0
    assert check(bind, message="wsgiserver healthcheck: ") == 1


def test_healthcheck_does_not_import_the_server() -> None:
    """Every container runs it every few seconds; importing the server takes five times the processor time."""
    program = (
        "import sys; from wsgiserver.__main__ import main; main(); "
        "print(*sorted(name for name in sys.modules if name.startswith('wsgiserver.')))"
    )
    command = [sys.executable, "-c", program, "healthcheck", "127.0.0.1:1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert result.stdout.split() == [
        "wsgiserver.__main__",
        "wsgiserver.healthcheck",
        "wsgiserver.process",
        "wsgiserver.process.listeners",
        "wsgiserver.version",
    ]


def test_healthcheck_reads_the_variable_of_the_admin_bind_setting() -> None:
    assert f"{VARIABLE_PREFIX}ADMIN_BIND" == BIND_VARIABLE


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        ("", "neither BIND nor WSGISERVER_ADMIN_BIND is set; write BIND, such as 127.0.0.1:9000"),
        ("nowhere", "'nowhere' is not HOST:PORT"),
        ("127.0.0.1:1", "Connection refused"),
        ("unix:/no/such/socket", "No such file"),
    ],
)
def test_healthcheck_fails_with_a_message_without_a_server(bind: str, message: str) -> None:
    assert check(*([bind] if bind else []), message=message) == 1


def answering(answer: bytes) -> socket.socket:
    """A listener that sends one response to its first client."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_one() -> None:
        with listener.accept()[0] as caller:
            caller.recv(65536)
            caller.sendall(answer)

    threading.Thread(target=serve_one, daemon=True).start()
    return listener


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nwell\n", (200, "well\n")),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nno\n", (503, "no\n")),
        (b"", None),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.1 2000 OK\r\n\r\nx", None),
        (b"220 smtp x\r\n\r\nx", None),
    ],
)
def test_healthcheck_reads_a_valid_response_and_refuses_an_invalid_one(
    host: str, answer: bytes, expected: tuple[int, str] | None
) -> None:
    with answering(answer) as listener:
        bind = f"{host}:{listener.getsockname()[1]}"
        if expected is None:
            with pytest.raises(ValueError, match="answer"):
                ask(bind, "/healthz", PATIENCE)
        else:
            assert ask(bind, "/healthz", PATIENCE) == expected


def test_healthcheck_times_out_if_there_is_no_response() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(TimeoutError):
        ask(f"127.0.0.1:{listener.getsockname()[1]}", "/healthz", 0.05)
