"""The decoding process and its children: limits, deaths, many uploads, forks, and no leftovers."""

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from photos import decoder, decoding, errors, images
from photos.limits import CPU_MAX, FRAME
from tests.app import hostile, state
from tests.app.pictures import picture
from tests.forks import exit_code, fork, in_fork

APP = Path(images.__file__).parent.parent
SMALL, LARGE = picture(), hostile.flat_png(4000, 3000)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)


def children_of(process: int) -> list[int]:
    """Return the running child processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            status, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue  # it has just ended
        if int(parent) == process and status != "Z":
            found.append(int(path.parent.name))
    return found


def decoding_process() -> int:
    """Return the decoding process, after starting it if there was none."""
    images.inspect(BytesIO(SMALL))
    number = decoding.number()
    assert number
    return number


@contextmanager
def large_lane_taken() -> Iterator[None]:
    with decoder.LARGE_LOCK.open("rb") as other_process:
        fcntl.flock(other_process, fcntl.LOCK_EX)
        yield


def outcome(data: bytes, seconds: float = 45) -> object:
    try:
        return images.inspect(BytesIO(data), seconds).width
    except errors.Problem as problem:
        return type(problem)


def waiting_child(server: int) -> int:
    """Return the child that waits for a lock; children of earlier pictures may still be ending."""
    found: list[int] = []

    def is_waiting() -> bool:
        locks = Path("/proc/locks").read_text().splitlines()
        waiting = {int(line.split()[5]) for line in locks if "-> FLOCK" in line}
        found[:] = waiting & set(children_of(server))
        return bool(found)

    until(is_waiting)
    return found[0]


@contextmanager
def large_picture_under_way(server: int) -> Iterator[tuple[int, list[object]]]:
    """Decode a large picture: yield its process, and the list that has its outcome at the end of the `with`."""
    outcomes: list[object] = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome(LARGE)))
    with large_lane_taken():
        thread.start()
        child = waiting_child(server)
        yield child, outcomes
    thread.join()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGKILL, errors.DecoderBusy),  # as the kernel does when memory runs out
        (signal.SIGSEGV, errors.ImageTooComplex),
        (signal.SIGABRT, errors.ImageTooComplex),
        (signal.SIGXCPU, errors.ImageTooComplex),
    ],
)
def test_a_killed_child_fails_only_its_own_picture(number: signal.Signals, expected: type[errors.Problem]) -> None:
    server = decoding_process()
    with large_picture_under_way(server) as (child, outcomes):
        os.kill(child, number)
        until(lambda: outcomes)
    assert outcomes == [expected]
    assert (decoding_process(), images.inspect(BytesIO(SMALL)).width) == (server, 64)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGXCPU, errors.ImageTooComplex),
        (signal.SIGALRM, errors.OutOfTime),  # the elapsed time was too long; CPU time has a separate limit
        (signal.SIGTERM, errors.DecoderBusy),
    ],
)
def test_each_signal_that_ends_a_child_has_its_own_error(
    number: signal.Signals, expected: type[errors.Problem]
) -> None:
    with pytest.raises(expected):
        images.picture_of(images.KINDS[0], decoding.Answer({"ended": -number}, b""), size=0)


def test_a_killed_decoding_process_is_replaced_and_its_picture_retried() -> None:
    server = decoding_process()
    with large_picture_under_way(server) as (child, outcomes):
        os.kill(server, signal.SIGKILL)
        until(lambda: child not in children_of(server) and decoding.number() not in {None, server})
    assert outcomes == [4000]
    assert not Path(f"/proc/{server}").exists()


def test_an_idle_decoding_process_that_is_killed_is_replaced() -> None:
    server = decoding_process()
    os.kill(server, signal.SIGKILL)
    assert outcome(SMALL) == 64
    assert decoding_process() != server


def test_waiting_for_the_lane_of_large_pictures_is_bounded() -> None:
    decoding_process()
    with large_lane_taken():
        assert outcome(LARGE, 2) in {errors.DecoderBusy, errors.OutOfTime}
        assert outcome(SMALL) == 64  # does not wait
    assert outcome(LARGE) == 4000


def test_a_lack_of_time_is_not_reported_as_a_bad_picture() -> None:
    decoding_process()
    assert outcome(hostile.flat_png(9000, 9000), 0.1) in {errors.DecoderBusy, errors.OutOfTime}
    assert outcome(SMALL, 0) is errors.OutOfTime
    assert outcome(SMALL, -1) is errors.OutOfTime


def test_an_upload_that_waits_too_long_gets_503_with_retry_after(api: Client, media: Path, settings: Settings) -> None:
    decoding_process()
    settings.UPLOAD_SECONDS = 3
    with large_lane_taken():
        response = api.put("/api/photos/a.png", LARGE, content_type="image/png")
    assert (response.status_code, response.json()["error"]) in {(503, "decoder-busy"), (503, "out-of-time")}
    assert int(response["Retry-After"]) > 0
    state.check(media, set())


def descriptors(process: int | str) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def test_many_threads_can_decode_at_the_same_time() -> None:
    server = decoding_process()
    pictures = [picture(40 + number, 30) for number in range(24)]
    before = descriptors(server), descriptors("self")
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(outcome, pictures))
    assert found == [40 + number for number in range(24)]
    assert decoding.number() == server
    until(lambda: not children_of(server) and descriptors(server) <= before[0] and descriptors("self") <= before[1])


def test_a_forked_process_and_its_parent_can_both_decode() -> None:
    server = decoding_process()
    child = fork(decodes)
    assert outcome(SMALL) == 64
    assert exit_code(child) == 0
    assert decoding_process() == server


def decodes() -> None:
    assert outcome(SMALL) == 64
    decoding.end()


def test_a_forked_process_replaces_a_killed_decoding_process() -> None:
    os.kill(decoding_process(), signal.SIGKILL)
    assert in_fork(decodes) == 0
    assert outcome(SMALL) == 64


PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
from photos import decoding, images
def inspect(path):
    with open(path, "rb") as file:
        images.inspect(file)
inspect(sys.argv[2])
print(decoding.number(), flush=True)
for path in sys.argv[3:]:
    inspect(path)
"""


@contextmanager
def web_process(tmp_path: Path, *more: bytes) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a process that has decoded one picture, and its decoding process. Then it decodes more, and ends."""
    paths = []
    for number, data in enumerate((SMALL, *more)):
        paths.append(str(tmp_path / str(number)))
        Path(paths[-1]).write_bytes(data)
    arguments = [sys.executable, "-c", PROGRAM, str(APP), *paths]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process, int(process.stdout.readline())


def is_gone(process: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{process}/stat").read_text()  # if no init process reaps orphans
    except OSError:
        return True


def test_the_decoding_process_ends_with_its_parent(tmp_path: Path) -> None:
    with web_process(tmp_path) as (process, server):
        assert process.wait(60) == 0
        assert is_gone(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_web_process_leaves_no_decoder_behind(number: signal.Signals, tmp_path: Path) -> None:
    with large_lane_taken(), web_process(tmp_path, LARGE) as (process, server):
        child = waiting_child(server)
        process.send_signal(number)
        process.wait(60)
        until(lambda: is_gone(server) and is_gone(child))


def test_the_decoding_process_ignores_signals_of_the_terminal(tmp_path: Path) -> None:
    with large_lane_taken(), web_process(tmp_path, LARGE) as (process, server):
        assert os.getsid(server) == server != os.getsid(process.pid)
        for signal_to_all in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            os.kill(server, signal_to_all)
        waiting_child(server)  # it continues
        process.kill()


def test_the_decoding_process_gets_no_secrets_and_imports_no_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "5ecre7")
    os.kill(decoding_process(), signal.SIGKILL)
    until(lambda: outcome(SMALL) == 64)  # by a new decoding process
    assert b"5ecre7" not in Path(f"/proc/{decoding_process()}/environ").read_bytes()
    code = "import sys; sys.path += sys.argv[1:]; from photos import decoder; print('django' in sys.modules)"
    command = [sys.executable, "-I", "-S", "-B", "-c", code, *decoding.paths()]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("without", [[], ["without-proc"]], ids=["", "without proc"])
def test_a_child_cannot_exceed_its_limits(without: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("unlimited.py")), str(APP), str(tmp_path), *without]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


TIGHT = {
    "an address space of 300 MiB": "resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))",
    "ten seconds of processor time": "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))",
    "fourteen descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))",
    "an interpreter that is no Python, as in uWSGI": "sys.executable = '/bin/false'",
    "an interpreter that nobody knows": "sys.executable = None",
}


@pytest.mark.parametrize("case", TIGHT)
def test_a_server_with_low_limits_decodes_pictures(case: str, tmp_path: Path) -> None:
    """The limits of the server are lower than those for a picture; or the server embeds Python."""
    (tmp_path / "0").write_bytes(SMALL)
    program = f"import resource, sys\n{TIGHT[case]}\n{PROGRAM}"
    arguments = [sys.executable, "-c", program, str(APP), str(tmp_path / "0")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_without_limits_decodes_nothing_and_reports_no_bad_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Path(os.devnull).open("rb") as picture_file:

        def run_child() -> None:
            monkeypatch.setattr(resource, "setrlimit", _refused)
            decoder._run_child(os.getppid(), {"wall": 60}, picture_file.fileno(), theirs, [])  # noqa: SLF001

        assert in_fork(run_child) == 0
        with pytest.raises(errors.DecoderBusy):
            images.picture_of(images.KINDS[0], decoding.received(ours, time.monotonic() + 60), len(SMALL))


def _refused(*_: object) -> None:
    raise ValueError("not allowed to raise maximum limit")


def test_a_decoding_process_that_cannot_start_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    decoding.end()
    monkeypatch.setattr(decoding, "_process", None)
    monkeypatch.setattr(decoding, "interpreter", lambda: "/bin/false")
    assert outcome(SMALL) is errors.DecoderBusy
    (record,) = caplog.records
    assert (record.levelname, "/bin/false" in record.getMessage()) == ("ERROR", True)


def test_the_cpu_time_of_a_child_is_bounded() -> None:
    def compute() -> None:
        decoder.limit({"wall": 600})
        assert resource.getrlimit(resource.RLIMIT_CPU) == (CPU_MAX, CPU_MAX + 1)
        resource.setrlimit(resource.RLIMIT_CPU, (1, 2))  # seconds, so that the test is short
        while True:
            pass

    assert in_fork(compute) == -signal.SIGXCPU


def test_the_wall_clock_time_of_a_child_is_bounded() -> None:
    def wait() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # as in a child; pytest uses the signal
        decoder.limit({"wall": 0.1})
        signal.sigtimedwait([], 60)

    assert in_fork(wait) == -signal.SIGALRM


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff" * 8,
        FRAME.pack(2, 0) + b"{]",
        FRAME.pack(2, 0) + b"[]",
        FRAME.pack(2, 0) + b"{}",
        FRAME.pack(26, 1) + b'{"width": 1, "height": 1} x',
        FRAME.pack(27, 4) + b'{"width": -1, "height": 1} RIFF',
        FRAME.pack(28, 4) + b'{"width": "1", "height": 1} RIFF',
        FRAME.pack(25, 4) + b'{"width": 1, "height": 1}RIFF',
        FRAME.pack(39, 4) + b'{"width": 1, "height": 1, "patches": 9}RIFF',
        FRAME.pack(40, 18) + b'{"width": 1, "height": 1, "patches": 14}RIFF' + b"\xff" * 14,
    ],
)
def test_an_invalid_response_of_the_decoder_is_an_error(answer: bytes) -> None:

    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        with pytest.raises((decoding.Unavailable, errors.DecoderBusy)):
            images.picture_of(images.KINDS[0], decoding.received(ours, time.monotonic() + 60), len(SMALL))


def test_decoding_does_not_move_the_position_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(SMALL)
    with path.open("r+b") as file:
        images.inspect(file)
        file.seek(3)
        images.inspect(file)
        file.seek(0)
        assert file.read() == SMALL
        file.write(b"more")
        file.flush()
    assert path.read_bytes() == SMALL + b"more"
