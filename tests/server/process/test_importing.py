"""Loading the application by its name: factories in this process and in real servers."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import ROOT, Serve
from tests.wire.polling import PATIENCE, poll
from wsgiserver.process.importing import load

FACTORY = """
import os
from tests.server.application import application
def create_app(name="nobody", *, times=1):
    with open("calls", "a") as file:
        file.write(f"{os.getpid()} {name} {times}\\n")
    return lambda environ, start_response: (start_response("200 OK", []), [(name * times).encode()])[1]
def create_nothing():
    pass
class Box:
    make = staticmethod(create_app)
"""


@pytest.fixture
def shop_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return tmp_path


def called(application: Any) -> bytes:
    return b"".join(application({}, lambda *_: None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop:create_app()", b"nobody"),
        ("shop:create_app('ada')", b"ada"),
        ("shop:create_app('ab', times=2)", b"abab"),
        ("shop:Box.make('c')", b"c"),
    ],
)
def test_a_factory_is_called_with_the_arguments_in_its_parentheses(
    shop_module: Path, text: str, expected: bytes
) -> None:
    assert called(load(text)) == expected


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "shop:create_nothing()",
            TypeError,
            r"^shop:create_nothing\(\) is None, which cannot be called; name a WSGI application$",
        ),
        ("shop:create_app(size=1)", TypeError, "unexpected keyword argument 'size'"),
        ("shop:make()", AttributeError, "has no attribute 'make'"),
    ],
)
def test_an_error_of_a_factory_is_reported(shop_module: Path, text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        load(text)


# --- in servers -------------------------------------------------------------------------------------------------------


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(("flags", "times"), [((), 2), (("--preload",), 1)], ids=["in each worker", "with preload"])
def test_a_factory_is_called_once_per_process_that_loads_the_application(
    serve: Serve, tmp_path: Path, flags: tuple[str, ...], times: int
) -> None:
    (tmp_path / "shop.py").write_text(FACTORY)
    admin = tmp_path / "admin"
    server = serve(
        "-w", "2", "--admin-bind", f"unix:{admin}", *flags, application="shop:create_app('ada', times=2)", cwd=tmp_path
    )
    assert server.get("/").body == b"adaada"
    poll(lambda: len(server.events("worker-ready")) == 3, "both workers, and the admin listener")
    assert [line.partition(" ")[2] for line in calls(tmp_path)] == ["ada 2"] * times
    command = [sys.executable, "-m", "wsgiserver", "healthcheck", "--ready", f"unix:{admin}"]
    assert subprocess.run(command, check=False, timeout=PATIENCE, cwd=ROOT).returncode == 0
    server.signal(signal.SIGHUP)
    poll(lambda: server.events("reloaded"), "the reload to finish")
    assert server.get("/").body == b"adaada"
    assert len(calls(tmp_path)) == (times if "--preload" in flags else 2 * times)


def test_reload_shows_the_error_of_a_factory_and_calls_it_again_after_a_change(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def create_app():\n    raise RuntimeError('no paint')\n")
    server = serve("--reload", application="shop:create_app()", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1")
    answer = server.get("/")
    assert (answer.status, b"no paint" in answer.body) == (500, True)
    (tmp_path / "shop.py").write_text(FACTORY)
    poll(lambda: server.get("/").body == b"nobody", "the application")


def test_a_factory_that_fails_ends_the_server_with_code_3(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def create_app():\n    raise RuntimeError('no paint')\n")
    server = serve(application="shop:create_app()", cwd=tmp_path)
    assert server.wait_for_end() == 3
    (event,) = server.events("application-not-loaded")
    assert event["application"] == "shop:create_app()"
    assert "no paint" in event["error"]
