"""`--reload`: every change is detected, whatever the file's times, and the server survives a broken application."""

import os
import signal
from pathlib import Path

import pytest

from tests.server.conftest import Serve
from tests.wire.polling import poll
from wsgiserver.process.reloader import Reloader


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("modified", "changed"),
    [
        (900.0, False),
        (1000.5, True),  # during the load of the application
        (5000.0, False),  # in the future: it would count as changed forever
    ],
)
def test_the_first_check_finds_files_changed_since_the_start(tmp_path: Path, modified: float, *, changed: bool) -> None:
    clock = Clock()
    reloader = Reloader(clock)
    file = tmp_path / "a.py"
    file.touch()
    os.utime(file, (modified, modified))
    clock.now = 1001.0
    assert reloader.scan([str(file)]) == (str(file) if changed else None)


def test_later_checks_find_files_with_a_changed_modification_time(tmp_path: Path) -> None:
    clock = Clock()
    reloader = Reloader(clock)
    file = tmp_path / "a.py"
    missing = str(tmp_path / "missing.py")

    def check(modified: float, *, changed: bool) -> None:
        file.touch()
        os.utime(file, (modified, modified))
        clock.now += 1
        assert reloader.scan([missing, str(file)]) == (str(file) if changed else None)

    check(900.0, changed=False)
    check(900.0, changed=False)
    check(800.0, changed=True)  # an older version was restored
    check(900.0, changed=False)
    file.unlink()
    assert reloader.scan([str(file)]) is None, "an editor is replacing the file"
    check(901.0, changed=True)


def test_reload_serves_a_change_and_shows_the_error_of_a_broken_one(serve: Serve, tmp_path: Path) -> None:
    def put(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(tmp_path / "part.py")

    def check_response(text: str, status: int = 200) -> None:
        def is_served() -> bool:
            answer = server.get("/")
            return answer.status == status and text in answer.body.decode()

        poll(is_served, text)

    (tmp_path / "served.py").write_text(
        "import part\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [part.TEXT]\n"
    )
    put("TEXT = b'one'")
    server = serve("-w", "2", "--reload", application="served", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1")
    check_response("one")
    put("TEXT = b'two'")
    check_response("two")
    put("TEXT = ")
    check_response("SyntaxError: invalid syntax", 500)
    put("import one_that_is_missing as TEXT")
    check_response("ModuleNotFoundError: No module named 'one_that_is_missing'", 500)
    (tmp_path / "one_that_is_missing.py").write_text("")
    put("TEXT = b'three'")
    check_response("three")
    assert server.events("file-changed")
    assert not server.events("worker-died")
    server.signal(signal.SIGTERM)
    assert server.wait_for_end() == 0


def test_reload_starts_with_an_application_that_cannot_be_imported(serve: Serve, tmp_path: Path) -> None:
    server = serve("--reload", application="served", cwd=tmp_path, PYTHONDONTWRITEBYTECODE="1")
    answer = server.get("/")
    assert answer.status == 500
    assert b"No module named 'served'" in answer.body
    (tmp_path / "served.py").write_text("from tests.server.application import application")
    poll(lambda: server.get("/").body == b"hello", "the application")
