"""Processes and signals: which processes end, continue or are replaced, and the exit codes."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.server.conftest import ROOT, Serve, Server
from tests.wire.building import chunked, request, sized
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll

BODY = b"0123456789" * 30_000


def is_running(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # ProcessLookupError if it ends between open and read
        return False


def pid_serving(server: Server) -> int:
    return int(server.get("/pid").body)


# --- The end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["1", "2"])
def test_term_finishes_requests_that_have_begun(serve: Serve, workers: str) -> None:
    server = serve("-w", workers, "--threads", "4")
    slow, half, head, idle = (server.client() for _ in range(4))
    idle.get("/")
    slow.send(request("GET", "/wait"))
    server.wait_for_calls(1)
    half.send(chunked("/upload", BODY)[:100_000])
    head.send(request("GET", "/")[:10])
    server.get("/")
    server.signal(signal.SIGTERM)
    poll(server.refuses, "all processes to receive the signal")
    assert head.send(request("GET", "/")[10:]).answer().headers["connection"] == "close"
    assert half.send(chunked("/upload", BODY)[100_000:]).answer().status == 200
    server.open_gate()
    assert slow.answer().body == b"waited"
    assert idle.rest() == head.rest() == half.rest() == b""
    assert server.wait_for_end() == 0
    assert not server.events("cut-off")
    assert server.events("stopped")[0]["code"] == 0


def test_term_answers_requests_in_the_listen_backlog(serve: Serve) -> None:
    server = serve("--threads", "1")
    slow = server.client().send(request("GET", "/wait"))
    server.wait_for_calls(1)
    backlog = [server.client().send(request("GET", "/")) for _ in range(50)]
    server.signal(signal.SIGTERM)
    poll(lambda: server.events("stopping"), "the server to stop")
    server.open_gate()
    assert slow.answer().body == b"waited"
    assert [client.answer().body for client in backlog] == [b"hello"] * 50
    assert server.wait_for_end() == 0


def test_term_ends_the_server_after_the_graceful_timeout(serve: Serve) -> None:
    server = serve("--graceful-timeout", "0.5", "--threads", "2")
    server.client().send(request("GET", "/sleep-600"))
    server.client().send(chunked("/upload", BODY)[:-1])
    server.get("/")
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    assert server.events("cut-off")


def test_term_before_the_first_request_stops_the_server(serve: Serve) -> None:
    server = serve("-w", "3")
    assert server.bind
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_stops_at_once(serve: Serve, number: int) -> None:
    server = serve("-w", "2", "--threads", "2")
    slow = server.client().send(request("GET", "/sleep-600"))
    server.get("/")
    workers = server.workers(2)
    server.signal(number)
    assert server.wait_for_end() == 0
    assert not any(map(is_running, workers))
    with pytest.raises(ConnectionError):
        slow.answer()


def test_int_ends_a_drain_that_takes_too_long(serve: Serve) -> None:
    server = serve("--threads", "2")
    server.client().send(request("GET", "/sleep-600"))
    server.get("/")
    server.signal(signal.SIGTERM)
    poll(lambda: server.events("stopping"), "the server to stop")
    server.signal(signal.SIGINT)
    assert server.wait_for_end() == 0


# --- Workers that die -------------------------------------------------------------------------------------------


def test_a_hangup_signal_does_not_stop_the_server(serve: Serve) -> None:
    server = serve()
    assert server.get("/").body == b"hello"
    server.signal(signal.SIGHUP)
    assert server.get("/").body == b"hello"
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


def test_exit_handlers_of_the_application_are_called(serve: Serve, tmp_path: Path) -> None:
    """Error reporters and tracers send their buffered data there."""
    (tmp_path / "handlers").write_text("")
    server = serve("-w", "2", TEST_EXIT_FILE=str(tmp_path / "handlers"))
    assert server.get("/").body == b"hello"
    workers = server.workers(2)
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0
    assert sorted(map(int, (tmp_path / "handlers").read_text().split())) == sorted(workers)


def test_a_killed_worker_is_replaced(serve: Serve) -> None:
    server = serve("-w", "2")
    before = set(server.workers(2))
    first = pid_serving(server)
    os.kill(first, signal.SIGKILL)
    poll(lambda: len(set(server.workers()) - {first}) == 2, "another worker")
    assert len(set(server.workers()) - before) == 1
    assert server.events("worker-died")[0]["worker"] == first
    for _ in range(20):
        assert pid_serving(server) in server.workers()


def test_the_only_worker_is_replaced_and_connections_wait_for_it(serve: Serve) -> None:
    server = serve()
    worker = pid_serving(server)
    os.kill(worker, signal.SIGKILL)
    poll(lambda: not is_running(worker), "the worker to end")
    with server.client() as client:  # no worker runs now, or a new one has just started
        assert client.get("/").body == b"hello"


def test_workers_that_crash_early_are_replaced_after_growing_pauses(serve: Serve) -> None:
    server = serve(TEST_CRASH_WITH="7")
    deaths = poll(lambda: server.events("worker-died")[4:] and server.events("worker-died")[:5], "five deaths")
    assert [event["code"] for event in deaths] == [7] * 5
    times = [datetime.fromisoformat(event["time"]) for event in deaths]
    pauses = [(after - before).total_seconds() for before, after in pairwise(times)]
    for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert pause > least / 2, "each pause is longer; half is enough because the log's clock may be adjusted"
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


def test_workers_end_when_the_supervisor_is_killed(serve: Serve) -> None:
    server = serve("-w", "2", "--threads", "2")
    with server.client() as slow:
        slow.send(request("GET", "/wait"))
        server.wait_for_calls(1)
        workers = server.workers(2)
        server.signal(signal.SIGKILL)
        server.wait_for_end()
        poll(server.refuses, "the workers to stop listening")
        server.open_gate()
        assert slow.answer().body == b"waited", "the worker finishes the request first"
        poll(lambda: not any(map(is_running, workers)), "the workers to end")


def test_workers_without_a_supervisor_end_after_the_graceful_timeout(serve: Serve) -> None:
    server = serve("--threads", "2", "--graceful-timeout", "0.5")
    with server.client() as stuck:
        stuck.send(request("GET", "/sleep-600"))
        server.get("/")
        workers = server.workers()
        server.signal(signal.SIGKILL)
        server.wait_for_end()
        poll(lambda: not any(map(is_running, workers)), "the workers to end")


def test_repeated_term_signals_do_not_extend_the_graceful_timeout(serve: Serve) -> None:
    server = serve("--threads", "2", "--graceful-timeout", "2")
    server.client().send(request("GET", "/sleep-600"))
    server.get("/")

    def stop_again() -> bool:
        server.signal(signal.SIGTERM)
        return server.process.poll() is not None

    poll(stop_again, "the server to end")
    assert server.wait_for_end() == 0


def test_the_supervisor_has_only_one_thread(serve: Serve) -> None:
    server = serve("--threads", "8")
    server.get("/")
    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
    (worker,) = server.workers()
    assert len(list(Path(f"/proc/{worker}/task").iterdir())) == 9  # one is the watchdog


# --- What cannot start ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("application", "message"),
    [
        ("no.such.module", "ModuleNotFoundError: No module named 'no'"),
        ("tests.server.application:nothing", "has no attribute 'nothing'"),
        ("tests.server.application:ROUTES", "which cannot be called; name a WSGI application"),
        ("tests.server.application:digests.x", "has no attribute 'x'"),
    ],
)
def test_an_application_that_cannot_be_imported_ends_the_server_with_code_3(
    serve: Serve, application: str, message: str
) -> None:
    server = serve(application=application)
    assert server.wait_for_end() == 3
    (event,) = server.events("application-not-loaded")
    assert message in event["error"]
    assert event["application"] == application
    assert server.events("application-unusable")


@pytest.mark.parametrize("workers", ["1", "3"])
def test_an_unusable_application_is_reported_once_for_all_workers(serve: Serve, workers: str) -> None:
    server = serve("-w", workers, application="no.such.module")
    assert server.wait_for_end() == 3
    assert len(server.events("application-unusable")) == 1
    assert "Traceback" not in "".join(line for line in server.error_output.splitlines() if not line.startswith("{"))


def test_a_port_in_use_ends_the_server_with_code_1(serve: Serve) -> None:
    server = serve()
    other = serve("-b", server.bind)
    assert other.wait_for_end() == 1
    assert other.error_output.strip().endswith(f"cannot listen on {server.bind}: Address already in use")
    assert "Traceback" not in other.error_output
    assert server.get("/").body == b"hello"


@pytest.mark.parametrize("path", ["/proc/s", "/no/such/folder/s"])
def test_a_unix_socket_that_cannot_be_created_ends_the_server_with_code_1(serve: Serve, path: str) -> None:
    server = serve("-b", f"unix:{path}")
    assert server.wait_for_end() == 1
    assert f"cannot listen on unix:{path}: " in server.error_output


def test_an_unknown_variable_ends_the_server_with_code_2(serve: Serve) -> None:
    server = serve(WSGISERVER_TREADS="4")
    assert server.wait_for_end() == 2
    assert "WSGISERVER_TREADS is not a setting" in server.error_output


def test_a_server_listens_on_several_addresses(serve: Serve, tmp_path: Path) -> None:
    server = serve("-b", f"127.0.0.1:0,unix:{tmp_path}/s")
    tcp, _, unix = server.bind.partition(", ")
    assert unix == f"unix:{tmp_path}/s"
    assert server.get("/").body == b"hello"
    host, _, port = tcp.partition(":")
    with Client(socket.create_connection((host, int(port)), timeout=PATIENCE)) as client:
        assert client.get("/").body == b"hello"


def test_the_version_flag_prints_the_version() -> None:
    command = [sys.executable, "-m", "wsgiserver", "--version"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True, timeout=PATIENCE)
    assert output.stdout.startswith("wsgiserver ")


# --- Under load -------------------------------------------------------------------------------------------------


def test_no_request_is_lost_when_a_server_drains_under_load(serve: Serve) -> None:
    """Every request sent before the end gets a complete response."""
    server = serve("-w", "2", "--threads", "4")
    clients = [server.client() for _ in range(20)]
    requests = [request("GET", "/sleep-0.02"), chunked("/upload", BODY), sized("/upload", BODY)]
    for client in clients:
        client.get("/")
    for n, client in enumerate(clients):
        client.send(requests[n % 3])
    server.signal(signal.SIGTERM)
    assert [client.answer().status for client in clients] == [200] * 20
    assert server.wait_for_end() == 0


# --- Processes that the application starts ----------------------------------------------------------------------


def test_a_signal_to_a_process_forked_by_the_application_spares_the_worker(serve: Serve) -> None:
    """`multiprocessing` stops a process with TERM."""
    server = serve()
    worker = pid_serving(server)
    child = int(server.get("/fork-600").body)
    os.kill(child, signal.SIGTERM)
    poll(lambda: not is_running(child), "the child to end")
    for _ in range(10):
        answer = server.get("/pid")
        assert int(answer.body) == worker
        assert "connection" not in answer.headers, "the signal does not stop the worker"


def test_idle_processes_do_not_wake_up(serve: Serve) -> None:
    server = serve("-w", "2", "--admin-bind", "127.0.0.1:0")
    for _ in range(20):
        server.get("/")

    def switches(pid: int) -> int:
        """How often a process has gone to sleep."""
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.partition("voluntary_ctxt_switches:")[2].split()[0])

    def stays_asleep() -> bool:
        before = switches(server.pid)
        time.sleep(2)  # longer than any check interval under load
        return switches(server.pid) == before

    poll(stays_asleep, "the supervisor to stay asleep")


def test_usr1_reopens_the_log_file(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = serve("-w", "2", "--access-logfile", str(log))

    def logged(path: Path) -> bool:
        server.get("/")
        return path.exists() and '"path":"/"' in path.read_text()

    poll(lambda: logged(log), "a line")
    log.rename(tmp_path / "old.log")
    server.signal(signal.SIGUSR1)
    poll(lambda: logged(log), "a line in a new file")
