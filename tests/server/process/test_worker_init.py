"""--worker-init: a hook that runs in each new worker before the application is loaded."""

import signal
from pathlib import Path

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.polling import poll

# Both record the step and the process id.
HOOKS = """
import os, pathlib, sys
def note(what):
    with pathlib.Path("notes").open("a") as file:
        file.write(f"{what} {os.getpid()}\\n")
def connect():
    note("hook")
def fail():
    raise ConnectionError("no database")
"""
SERVED = """
from hooks import note
from tests.server.application import application
note("application")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "served.py").write_text(SERVED)
    return tmp_path


def ready(server: Server, count: int) -> set[str]:
    """The ids of workers that are ready, as soon as there are `count`."""
    poll(lambda: len(server.events("worker-ready")) >= count, f"{count} workers to be ready")
    return {str(event["pid"]) for event in server.events("worker-ready")}


def notes(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "notes").read_text().splitlines()]


def test_each_worker_calls_the_hook_before_it_loads_the_application(serve: Serve, folder: Path) -> None:
    server = serve("-w", "2", "--worker-init", "hooks:connect", application="served", cwd=folder)
    workers = ready(server, 2)
    for pid in workers:
        assert [step for step, process in notes(folder) if process == pid] == ["hook", "application"]
    server.signal(signal.SIGHUP)
    poll(lambda: server.events("reloaded"), "the reload to finish")
    hook_processes = {process for step, process in notes(folder) if step == "hook"}
    assert len(hook_processes) == 4, "the hook also runs in replacement workers"
    assert str(server.pid) not in hook_processes


def test_with_preload_the_hook_runs_after_the_fork(serve: Serve, folder: Path) -> None:
    server = serve("-w", "2", "--preload", "--worker-init", "hooks:connect", application="served", cwd=folder)
    workers = ready(server, 2)
    assert [process for step, process in notes(folder) if step == "application"] == [str(server.pid)]
    assert {process for step, process in notes(folder) if step == "hook"} == workers


@pytest.mark.parametrize("flags", [[], ["--preload"]], ids=["in a worker", "with preload"])
def test_a_hook_that_fails_ends_the_server_and_is_logged(serve: Serve, folder: Path, flags: list[str]) -> None:
    server = serve(*flags, "--worker-init", "hooks:fail", application="served", cwd=folder)
    assert server.wait_for_end() == 3
    (failure,) = server.events("worker-init-failed")
    assert failure["worker_init"] == "hooks:fail"
    assert "ConnectionError: no database" in failure["error"]


def test_the_process_of_the_admin_listener_does_not_call_the_hook(serve: Serve, folder: Path) -> None:
    server = serve("--admin-bind", "127.0.0.1:0", "--worker-init", "hooks:connect", application="served", cwd=folder)
    assert server.get("/").body == b"hello"
    poll(lambda: len(server.events("worker-ready")) == 2, "both processes to be ready")
    worker = server.get("/pid").body.decode()
    assert notes(folder) == [["hook", worker], ["application", worker]]
