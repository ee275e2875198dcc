"""A server inside a program: it runs in any thread, another thread ends it, and nothing is left of it."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import wsgiserver
from tests.server.conftest import ROOT
from tests.wire.building import chunked, request, sized
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll
from wsgiserver.process.embedded import UNSUPPORTED_SETTINGS
from wsgiserver.settings import Settings, declared
from wsgiserver.values import SettingError

Start = Callable[..., Callable[[bytes], None]]


class Application:
    """The path selects the response. /wait lasts until the gate opens."""

    def __init__(self, name: bytes = b"hello") -> None:
        self.name = name
        self.gate = threading.Event()
        self.waiting = 0
        self.threads: set[threading.Thread] = set()

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        self.threads.add(threading.current_thread())
        path = environ["PATH_INFO"]
        if path == "/wait":
            self.wait()
        if path == "/half":
            return self.half(start_response)
        if path == "/ruin":
            close_event_poll()
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path == "/big":
            return [b"x" * (1 << 20)] * 200
        return [environ["wsgi.input"].read() or self.name]

    def wait(self) -> None:
        self.waiting += 1
        assert self.gate.wait(PATIENCE)

    def half(self, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"half"
        self.wait()
        yield b"more"


def close_event_poll() -> None:
    """Close the descriptor that the loop polls, as a program does that closes all descriptors."""
    for number, target in descriptors().items():
        if target == "anon_inode:[eventpoll]":
            os.close(int(number))


def connected(bound: str) -> Client:
    host, port = bound.strip().split(":")
    return Client(socket.create_connection((host, int(port)), timeout=PATIENCE))


class Embedded:
    """A server in a thread of the test, with its outcome."""

    def __init__(self, application: Application, **settings: Any) -> None:
        self.application = application
        self.clients = ExitStack()
        self.server = wsgiserver.Server(application, **{"bind": "127.0.0.1:0"} | settings)
        self.outcome: Any = None
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        try:
            self.outcome = self.server.serve()
        except RuntimeError as error:
            self.outcome = error

    def client(self) -> Client:
        return self.clients.enter_context(connected(self.server.bound[0]))

    def wait_for_calls(self, count: int) -> None:
        poll(lambda: self.application.waiting == count, f"{count} calls in progress")

    def wait_for_end(self) -> Any:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "serve() did not return"
        return self.outcome


@contextmanager
def serving(**settings: Any) -> Iterator[Embedded]:
    """Serve until the end of a test, then check that no descriptors and threads are left."""
    before = held()
    embedded = Embedded(Application(), **settings)
    embedded.thread.start()
    try:
        yield embedded
    finally:
        embedded.server.stop()
        embedded.application.gate.set()
        embedded.wait_for_end()
        embedded.clients.close()
    poll(lambda: held() <= before, "all descriptors and threads to be released")


def held() -> set[object]:
    """The descriptors and threads of this process. Those of another test may end meanwhile."""
    return {*descriptors().items(), *threading.enumerate()}


def descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this listing
            found[entry.name] = str(entry.readlink())
    return found


@pytest.mark.parametrize("threads", [1, 4])
def test_an_embedded_server_serves_from_any_thread_on_its_announced_address(threads: int) -> None:
    with serving(threads=threads) as embedded:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d+", embedded.server.bound[0])
        client = embedded.client()
        assert client.get("/").body == b"hello"
        for upload in (sized("/", b"body"), chunked("/", b"body")):
            assert client.send(upload).answer().body == b"body"
        assert embedded.thread not in embedded.application.threads, "serve() must be able to return while a call hangs"
        embedded.server.stop()
        assert embedded.wait_for_end() == (0, 0)


def test_a_client_that_connects_before_serve_is_served() -> None:
    application = Application()
    server = wsgiserver.Server(application, bind="127.0.0.1:0")
    with connected(server.bound[0]) as client:
        client.send(request("GET", "/", "Connection: close"))
        server.stop()
        assert server.serve() == (0, 0), "a stop before serve() is not lost"
        assert client.answer().body == b"hello"


def test_a_server_as_a_context_manager_serves_in_the_background() -> None:
    before = held()
    with wsgiserver.Server(Application(), bind="127.0.0.1:0") as server, connected(server.bound[0]) as client:
        assert client.get("/").body == b"hello"
    assert server.wait() == (0, 0)
    assert held() <= before


def test_stop_finishes_running_requests_and_accepts_no_new_ones() -> None:
    with serving() as embedded:
        calling, sending, idle = embedded.client(), embedded.client(), embedded.client()
        assert idle.get("/").body == b"hello"
        calling.send(request("GET", "/wait"))
        sending.send(chunked("/", b"body")[:-3])
        embedded.wait_for_calls(1)
        embedded.server.stop()
        poll(lambda: refuses(embedded), "the listener to close")
        answer = sending.send(b"\n\r\n").answer()
        assert (answer.body, answer.headers["connection"]) == (b"body", "close")
        embedded.application.gate.set()
        assert calling.answer().body == b"hello"
        assert embedded.wait_for_end() == (0, 0)


def refuses(embedded: Embedded) -> bool:
    host, port = embedded.server.bound[0].split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


@pytest.mark.parametrize(("threads", "stuck"), [(4, 1), (4, 4), (1, 1)])
def test_stop_leaves_hanging_calls_behind_and_disconnects_their_clients(threads: int, stuck: int) -> None:
    """With all threads in the application, no thread leads the loop or receives the stop."""
    with serving(threads=threads, graceful_timeout=0.2) as embedded:
        clients = [embedded.client().send(request("GET", "/wait")) for _ in range(stuck)]
        embedded.wait_for_calls(stuck)
        embedded.server.stop()
        assert embedded.wait_for_end() == (stuck, stuck)
        for client in clients:
            assert ends_without_response(client)
        embedded.application.gate.set()
        poll(lambda: not any(thread.is_alive() for thread in embedded.application.threads), "the threads to end")


def ends_without_response(client: Client) -> bool:
    """Whether the connection ends without a response."""
    try:
        return client.rest() == b""
    except ConnectionResetError:
        return True


def test_a_response_cut_off_by_stop_ends_with_a_reset() -> None:
    with serving(graceful_timeout=0.2) as embedded:
        client = embedded.client().send(request("GET", "/half", version="1.0"))  # the response ends with the connection
        embedded.wait_for_calls(1)
        embedded.server.stop()
        assert embedded.wait_for_end() == (1, 1)
        with pytest.raises(ConnectionResetError):
            client.rest()
        embedded.application.gate.set()


def test_stop_disconnects_slow_clients_after_the_graceful_timeout() -> None:
    with serving(graceful_timeout=0.2, threads=2) as embedded:
        reader = embedded.client().send(request("GET", "/big"))
        poll(lambda: embedded.application.threads, "the call to start")
        sender = embedded.client().send(sized("/", b"x" * 100)[:-1])
        idle = embedded.client()
        assert idle.get("/").body == b"hello"
        embedded.server.stop()
        assert embedded.wait_for_end() == (2, 0)
        with pytest.raises((ConnectionResetError, EOFError)):
            reader.answer()
        assert ends_without_response(sender)
        assert ends_without_response(idle)


def test_stop_does_not_wait_for_a_call_that_has_timed_out() -> None:
    with serving(timeout=0.3) as embedded:
        client = embedded.client().send(request("GET", "/wait"))
        assert client.answer().status == 504
        embedded.server.stop()
        assert embedded.wait_for_end() == (0, 1)


def test_too_many_stuck_threads_are_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    """An embedded server does not replace its process: the other threads continue."""
    with serving(timeout=0.2, threads=4) as embedded:
        for _ in range(3):  # the second is logged; more checks follow until the third times out
            assert embedded.client().send(request("GET", "/wait")).answer().status == 504
        for _ in range(20):
            assert embedded.client().get("/").body == b"hello"
    assert capfd.readouterr().err.count("too-many-threads-stuck") == 1


def test_two_servers_in_one_process_are_independent() -> None:
    with serving(threads=2) as one, wsgiserver.Server(Application(b"other"), bind="127.0.0.1:0", threads=2) as other:
        clients = [one.client(), connected(other.bound[0])]
        with clients[1]:
            for _ in range(50):
                assert [client.get("/").body for client in clients] == [b"hello", b"other"]
        one.server.stop()
        assert one.wait_for_end() == (0, 0)
        with connected(other.bound[0]) as client:
            assert client.get("/").body == b"other", "the second server continues without the first"


def test_a_server_serves_only_once() -> None:
    with serving() as embedded:
        assert embedded.client().get("/").body == b"hello"
        with pytest.raises(RuntimeError, match=r"^this server serves already: make another one$"):
            embedded.server.serve()
        with pytest.raises(RuntimeError, match="serves already"):
            embedded.server.close()
        embedded.server.stop()
        embedded.wait_for_end()
        for again in (embedded.server.serve, embedded.server.close, embedded.server.start().wait):
            with pytest.raises(RuntimeError, match="this server has served"):
                again()
        embedded.server.stop()  # nothing to stop, and no descriptor that may belong to other code by now


def test_a_server_that_has_not_served_can_be_closed() -> None:
    before = held()
    server = wsgiserver.Server(Application(), bind="127.0.0.1:0")
    with pytest.raises(RuntimeError, match="start"):
        server.wait()
    server.close()
    server.stop()
    assert held() <= before


def test_a_thread_that_fails_ends_the_server_but_not_the_process() -> None:
    with serving(threads=3) as embedded:
        client = embedded.client().send(request("GET", "/ruin"))
        outcome = embedded.wait_for_end()
        assert isinstance(outcome, RuntimeError)
        assert str(outcome) == "a thread of the server has failed"
        assert isinstance(outcome.__cause__, OSError)
        assert client.answer().body == b"hello"
        assert client.rest() == b""


def test_a_failure_in_the_background_is_raised_at_the_end() -> None:
    server = wsgiserver.Server(Application(), bind="127.0.0.1:0")
    with (
        pytest.raises(RuntimeError, match="a thread of the server has failed"),
        server,
        connected(server.bound[0]) as client,
    ):
        client.send(request("GET", "/ruin")).answer()


# --- settings ---------------------------------------------------------------------------------------------------------


def test_an_embedded_server_takes_the_settings_of_the_command_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    binds = [f"unix:{tmp_path}/s,scheme=https", {"address": "127.0.0.1:0", "forwarded_allow_ips": ["127.0.0.1"]}]
    before = os.umask(0o077)
    try:
        with serving(bind=binds, socket_mode="666", max_body="1k", access_logfile=str(log)) as embedded:
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o666
            assert embedded.server.bound[0] == f"unix:{tmp_path}/s"
            with connected(embedded.server.bound[1]) as client:
                assert client.send(sized("/", b"x" * 2000)).answer().refused == "body-too-large"
    finally:
        assert os.umask(before) == 0o077
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["error"] == "body-too-large"


def test_an_embedded_server_writes_nothing_to_standard_output_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    with serving() as embedded:
        assert embedded.client().get("/").status == 200
    assert capfd.readouterr() == ("", "")


SERVER_ONLY = {
    "workers": 2,
    "max_requests": 5,
    "max_requests_jitter": 5,
    "max_memory": "1g",
    "preload": True,
    "worker_init": "os:getpid",
    "reload": True,
    "check_config": True,
    "admin_bind": ":0",
    "drain_delay": 5,
    "config": "x.toml",
}


@pytest.mark.parametrize("name", UNSUPPORTED_SETTINGS)
def test_a_setting_for_processes_only_is_refused_by_name(name: str) -> None:
    settings = {name: SERVER_ONLY[name]} | ({"max_requests": 5} if name == "max_requests_jitter" else {})
    with pytest.raises(
        SettingError,
        match=r"^max_requests cannot be set" if len(settings) > 1 else f"^{name} cannot be set for a server inside",
    ):
        wsgiserver.Server(Application(), **settings)


def test_every_setting_that_is_not_for_processes_only_is_accepted() -> None:
    left = {setting.name: setting.default for setting in declared() if setting.name not in UNSUPPORTED_SETTINGS}
    assert {name: getattr(Settings(), name) for name in left} == left


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"thread": 3}, "thread is not a setting; the nearest is threads"),
        ({"port": 80}, "port is not a setting here: write the address as --bind HOST:PORT"),
        ({"threads": 0}, "threads: '0' is not a whole number above 0; write one such as 4"),
        ({"threads": True}, "threads: True is of type bool; write a whole number or a string"),
        ({"threads": None}, "threads: None is of type NoneType; write a whole number or a string"),
        ({"bind": "127.0.0.1"}, "bind: '127.0.0.1' is not HOST:PORT"),
        ({"bind": ":1,scheme=ftp"}, "bind :1: scheme: 'ftp' is not known here; write http or https"),
        ({"bind": ()}, "bind: '' has no address; write HOST:PORT"),
        ({"proxy_protocol": True}, "proxy_protocol needs forwarded_allow_ips"),
        ({"forwarded_allow_ips": ("nginx",)}, "forwarded_allow_ips: 'nginx' is not an address or a network"),
        ({"spool_dir": "/no/such"}, "spool_dir: no file can be created in /no/such (No such file or directory)"),
        ({"access_logfile": "/no/such/file"}, "access_logfile: /no/such/file cannot be opened ("),
        (
            {"access_logfile": "/x", "access_log": False},
            "access_log turns off the log that access_logfile names a file for",
        ),
    ],
    ids=str,
)
def test_unusable_settings_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    before = held()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        wsgiserver.Server(Application(), **settings)
    assert held() <= before


def test_a_bind_whose_port_is_in_use_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = held()
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1"):
            wsgiserver.Server(Application(), bind=f"127.0.0.1:0,127.0.0.1:{taken.getsockname()[1]}")
        assert held() <= before


def test_an_unknown_attribute_of_the_package_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'wsgiserver' has no attribute 'Sever'"):
        wsgiserver.Sever  # type: ignore[attr-defined] # noqa: B018 - that there is none is the test


def test_an_application_that_is_not_callable_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'config\.wsgi:application' cannot be called; pass a WSGI application"):
        wsgiserver.Server("config.wsgi:application")  # type: ignore[arg-type] # that it is refused is the test


# --- in a separate process --------------------------------------------------------------------------------------------

HOST = Path(__file__).parent / "host.py"


def execute(program: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run a program to its end and return its exit code and output."""
    command = [sys.executable, str(program), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return result.returncode, result.stdout, result.stderr


def test_an_embedded_server_changes_nothing_of_its_process() -> None:
    """A program compares its state before, while it serves in another thread, and afterwards."""
    assert execute(HOST, "compare", WSGISERVER_THREADS="none of its business", LISTEN_FDS="1") == (0, "the same\n", "")


def test_threads_that_cannot_start_are_reported_and_started_threads_end() -> None:
    assert execute(HOST, "starve") == (0, "can't start new thread\n", "")


@pytest.mark.parametrize(("number", "output"), [(signal.SIGTERM, "(0, 0)\n"), (signal.SIGINT, "interrupted\n")])
def test_signals_in_the_main_thread_reach_the_embedding_program(number: int, output: str) -> None:
    """Its handler for TERM calls stop(). It has none for INT, so Python raises KeyboardInterrupt."""
    process = subprocess.Popen(
        [sys.executable, "-u", HOST, "serve"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        with connected(process.stdout.readline()) as client:
            assert client.get("/").body == b"hello"
        process.send_signal(number)
        assert process.stdout.read() == output
        assert process.wait(PATIENCE) == 0
