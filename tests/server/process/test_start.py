"""The start of a server: inherited sockets, a preloaded application, and as many workers as fit."""

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import ROOT, Serve
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll
from wsgiserver.telemetry.resources import advise, cpus

# --- Workers ----------------------------------------------------------------------------------------------------


def test_workers_auto_starts_as_many_workers_as_fit(serve: Serve) -> None:
    server = serve("-w", "auto")
    assert server.get("/").body == b"hello"
    (event,) = server.events("workers-chosen")
    assert (event["workers"], event["reason"]) == advise(cpus())
    assert server.events("started")[0]["workers"] == event["workers"]


def test_too_many_workers_are_refused(serve: Serve) -> None:
    server = serve("-w", "201")
    assert server.wait_for_end() == 2
    assert "--workers: 201 workers are too many; use at most 200" in server.error_output


# --- Loading before forking -------------------------------------------------------------------------------------

COUNTING = """
import os, threading
with open("loads", "a") as file:
    file.write(f"{os.getpid()}\\n")
from tests.server.application import application
"""


def test_preload_loads_the_application_once_in_the_supervisor(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(COUNTING)
    server = serve("-w", "2", "--preload", application="served", cwd=tmp_path)
    assert server.get("/").body == b"hello"
    old = set(server.workers(2))
    server.signal(signal.SIGHUP)
    poll(lambda: server.events("reloaded"), "the reload to finish")
    assert server.get("/").body == b"hello"
    assert not old & set(server.workers())
    assert (tmp_path / "loads").read_text() == f"{server.pid}\n", "the parent loads it once"
    assert "--preload" in server.events("reloading")[0]["code"]
    assert not server.events("preload-threads")
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


def test_preload_reports_threads_of_the_application(serve: Serve, tmp_path: Path) -> None:
    thread = "threading.Thread(target=threading.Event().wait, name='refresher', daemon=True).start()"
    (tmp_path / "served.py").write_text(COUNTING + thread)
    server = serve("--preload", application="served", cwd=tmp_path)
    assert server.get("/").body == b"hello"
    assert server.events("preload-threads")[0]["threads"] == "refresher"


def test_preload_of_an_application_that_cannot_be_imported_ends_with_code_3(serve: Serve) -> None:
    server = serve("-w", "2", "--preload", application="no.such.module")
    assert server.wait_for_end() == 3
    assert [event["event"] for event in server.events()] == ["application-not-loaded", "application-unusable"]


def test_preload_together_with_reload_is_refused(serve: Serve) -> None:
    server = serve("--preload", "--reload")
    assert server.wait_for_end() == 2
    assert "leave one of them out" in server.error_output


# --- Only checking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tests.server.application"], 0, ""),
        (["tests.server.application", "-w", "many"], 2, "--workers"),
        (["no.such.module"], 3, "application-not-loaded"),
        (["tests.server.application", "--worker-init", "no.such.module:f"], 3, "worker-init-failed"),
        (
            ["tests.server.application", "--worker-init", "os:name"],
            3,
            "os:name is 'posix', which cannot be called; name a function",
        ),
        (["tests.server.application", "--worker-init", "os:abort"], 0, ""),
    ],
    ids=str,
)
def test_check_config_reports_errors_without_listening(arguments: list[str], code: int, message: str) -> None:
    """The port is in use, which does not matter: the check opens no listener."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "wsgiserver", *arguments, "--check-config", "--bind", bind]
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=ROOT)
    assert result.returncode == code
    assert message in result.stderr
    assert result.stdout == ""


# --- Sockets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "mode"), [([], 0o660), (["--socket-mode", "600"], 0o600)], ids=["default", "600"])
def test_a_unix_socket_has_the_mode_of_the_setting(serve: Serve, tmp_path: Path, flags: list[str], mode: int) -> None:
    server = serve("-b", f"unix:{tmp_path}/s", *flags)
    assert server.get("/").body == b"hello"
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = sys.argv[2] or str(os.getpid())
command = [sys.executable, "-m", "wsgiserver", "tests.server.application", *(sys.argv[3:] or ["-b", "127.0.0.1:0"])]
os.execv(sys.executable, command)
"""


def start_activated(inherited: socket.socket, out: Path, *flags: str, owner: str = "") -> subprocess.Popen[bytes]:
    """Start a server as systemd does: sockets from descriptor 3 on, announced in variables."""
    with out.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, str(inherited.fileno()), owner, *flags],
            cwd=ROOT,
            pass_fds=[inherited.fileno()],
            stderr=file,
            env={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
        )


def test_a_server_serves_on_sockets_that_systemd_has_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        host, port = inherited.getsockname()
        process = start_activated(inherited, tmp_path / "err")
        try:
            with Client(socket.create_connection((host, port), timeout=PATIENCE)) as client:
                assert client.get("/").body == b"hello"
            assert f'"bind":"{host}:{port}"' in (tmp_path / "err").read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


def test_sockets_that_systemd_opened_for_another_process_are_ignored(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        process = start_activated(inherited, tmp_path / "err", owner="1")
        try:
            poll(lambda: '"started"' in (tmp_path / "err").read_text(), "the server to start")
            assert f":{inherited.getsockname()[1]}" not in (tmp_path / "err").read_text()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def test_an_inherited_socket_that_does_not_listen_is_refused(tmp_path: Path) -> None:
    with socket.socket() as inherited:
        process = start_activated(inherited, tmp_path / "err")
        assert process.wait(PATIENCE) == 2
        assert "LISTEN_FDS: descriptor 3 is not a listening socket" in (tmp_path / "err").read_text()


def test_settings_apply_to_sockets_that_systemd_has_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        process = start_activated(inherited, tmp_path / "err", "--forwarded-allow-ips", "127.0.0.1")
        try:
            with Client(socket.create_connection(inherited.getsockname(), timeout=PATIENCE)) as client:
                environ = json.loads(client.get("/environ", "X-Forwarded-For: 192.0.2.1").body)
            assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.1", "http")
        finally:
            process.kill()
            process.wait()


def test_bind_options_are_refused_when_systemd_has_opened_the_sockets(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        process = start_activated(inherited, tmp_path / "err", "-b", ":9,scheme=https")
        assert process.wait(PATIENCE) == 2
        assert (
            "--bind :9: scheme would have no effect, because the sockets of LISTEN_FDS are used"
            in (tmp_path / "err").read_text()
        )
