"""What breaks: processes killed in the middle, a container replaced, a container told to stop.

Afterwards the same holds each time: what was answered 201 is there and intact, what was not has left nothing that the
sweep would not take, and the stack is well again without help.
"""

import contextlib
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.stack import pictures
from tests.stack.pictures import Picture
from tests.stack.stack import KILL_AT_NEW_FILE, KILL_ONE_WORKER, RELOAD, WORKERS, Stack, eventually, run
from tests.stack.wire import CHUNKED, Answer, Request, Wire, exchange, read_answer, with_length

HALF = 20  # pieces of 64 KB: of a photo's 3 MB, less than half


@pytest.fixture
def intact(stack: Stack, photo: Picture, name: str) -> Iterator[None]:
    """Photos that were answered 201 before the trouble are the same after it."""
    names = [f"before-{number}-{name}" for number in range(3)]
    for each in names:
        with stack.nginx("web") as wire:
            assert exchange(wire, CHUNKED(each, photo.content), stack.token).status == 201
    yield
    for each in names:
        assert stack.probe("photo", each)["file_sha256"] == photo.sha256


def check_works(stack: Stack, photo: Picture, name: str, server: str = "web") -> None:
    """An upload through nginx is stored."""
    with stack.nginx(server) as wire:
        answer = exchange(wire, CHUNKED(name, photo.content), stack.token)
    assert (answer.status, answer.json()["sha256"]) == (201, photo.sha256)


def send_half(wire: Wire, request: Request, token: str) -> Iterator[bytes]:
    """Returns the other half."""
    pieces = iter(request.pieces)
    wire.send(request.head(wire.host, token))
    for piece in itertools.islice(pieces, HALF):
        wire.send(piece)
    return pieces


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("intact")
def test_web_is_killed_while_it_receives(stack: Stack, photo: Picture, name: str) -> None:
    """What web itself was receiving is lost. What nginx was receiving is not: web is only asked for whole bodies."""
    rows, files = stack.state()
    before = stack.container("web")
    with stack.relay("web") as measured, stack.relay("web") as chunked, stack.nginx("web") as buffered:
        send_half(measured, with_length(f"1-{name}", photo.content), stack.token)
        send_half(chunked, CHUNKED(f"2-{name}", photo.content), stack.token)
        rest = send_half(buffered, CHUNKED(name, photo.content), stack.token)
        stack.kill("web")
        for wire in (measured, chunked):
            with pytest.raises(ConnectionError):
                read_answer(wire)
        stack.wait_until_restarted("web", before)
        stack.sweep()
        assert stack.state() == (rows, files)
        for piece in rest:
            buffered.send(piece)
        answer = read_answer(buffered)
    assert (answer.status, answer.json()["sha256"]) == (201, photo.sha256)
    assert stack.probe("photo", name)["file_sha256"] == photo.sha256
    assert stack.leftovers() == []


# Where the picture is at the moment of the kill -> may there be a row afterwards? Once the files have their final names
# the row is a moment away, and so is the answer: the client cannot know.
MOMENTS = {"incoming": False, "originals": True, "thumbs": True}


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("moment", MOMENTS)
def test_web_is_killed_while_django_stores(stack: Stack, photo: Picture, name: str, moment: str) -> None:
    picture = pictures.padded(photo, stack.limit)
    before, earlier = stack.container("web"), stack.probe("files")
    command = ["docker", "exec", before["Id"], "python", "-c", KILL_AT_NEW_FILE, moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killer:
        assert killer.stdout
        assert killer.stdout.readline() == b"ready\n"
        with stack.nginx("web") as wire:
            answer = exchange(wire, with_length(name, picture.content), stack.token)
    stack.wait_until_restarted("web", before)
    check_all_or_nothing(stack, answer, name, picture, earlier)
    assert MOMENTS[moment] or stack.probe("photo", name) is None


def check_all_or_nothing(stack: Stack, answer: Answer, name: str, picture: Picture, earlier: list[str]) -> None:
    """The answer is one that a client can read, and the photo is there whole or not at all; if 201, it is there."""
    assert answer.status == 201 or (answer.status, answer.json()["error"]) == (502, "application-unreachable")
    stack.sweep()
    kept = stack.probe("photo", name)
    assert kept["file_sha256"] == picture.sha256 if kept else answer.status == 502
    assert len(stack.probe("files")) - len(earlier) == (2 if kept else 0)
    assert stack.leftovers() == []


@pytest.mark.usefixtures("intact")
@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_a_killed_worker_is_replaced(stack: Stack, photo: Picture, name: str, server: str) -> None:
    """Its parent does that; the container goes on."""
    started = stack.container(server)["State"]["StartedAt"]
    before = workers(stack, server)
    stack.exec(server, "python", "-c", KILL_ONE_WORKER)
    eventually(lambda: len(workers(stack, server) - before) == 1, 20, "there is a new worker")
    check_works(stack, photo, name, server)
    assert len(workers(stack, server)) == len(before)
    assert stack.container(server)["State"]["StartedAt"] == started


def workers(stack: Stack, server: str) -> set[str]:
    return set(stack.exec(server, "python", "-c", WORKERS).split())


def test_web_is_reloaded_under_uploads(stack: Stack, photo: Picture, name: str) -> None:
    """Its workers are replaced, one after the other, while two uploads are half received and others come and go."""
    started = stack.container("web")["State"]["StartedAt"]
    before = workers(stack, "web")
    reloads = stack.logs("web").count('"event":"reloaded"')
    with stack.relay("web") as measured, stack.relay("web") as chunked:
        halves = [
            (measured, send_half(measured, with_length(f"1-{name}", photo.content), stack.token)),
            (chunked, send_half(chunked, CHUNKED(f"2-{name}", photo.content), stack.token)),
        ]
        stack.exec("web", "python", "-c", RELOAD)
        eventually(lambda: len(workers(stack, "web") - before) > 0, 60, "there is a new worker")
        for number in range(10):
            check_works(stack, photo, f"meanwhile-{number}-{name}")
        for wire, rest in halves:
            for piece in rest:
                wire.send(piece)
            answer = read_answer(wire)
            assert (answer.status, answer.json()["sha256"]) == (201, photo.sha256)
    eventually(lambda: stack.logs("web").count('"event":"reloaded"') > reloads, 60, "all workers are new")
    assert len(before & workers(stack, "web")) == 1, "of those there were, only the admin listener's process is left"
    assert stack.container("web")["State"]["StartedAt"] == started


# --- replaced, stopped ------------------------------------------------------------------------------------------------


def test_a_web_that_is_gone_is_told_and_a_new_one_is_found(stack: Stack, photo: Picture, name: str) -> None:
    """With another address, because something else took the old one. nginx goes on all the time."""
    nginx, old = stack.container("nginx"), stack.container("web")
    network = f"{stack.project}_inside"
    address = old["NetworkSettings"]["Networks"][network]["IPAddress"]
    stack.compose("rm", "--stop", "--force", "web")
    with squatter(network, old["Config"]["Image"]):
        check_told(stack, photo, name)
        stack.compose("up", "-d", "--no-deps", "web")
        stack.wait_until_healthy("web")
        assert stack.container("web")["NetworkSettings"]["Networks"][network]["IPAddress"] != address
        eventually(lambda: is_reached(stack), 5, "nginx finds the new container")
        check_works(stack, photo, name)
    assert stack.container("nginx")["State"]["StartedAt"] == nginx["State"]["StartedAt"]


def check_told(stack: Stack, photo: Picture, name: str) -> None:
    """In JSON, with a time to try again; and gunicorn's side of nginx does not mind."""
    before = stack.state()
    with stack.nginx("web") as wire:
        answer = exchange(wire, CHUNKED(name, photo.content), stack.token)
    assert (answer.status, answer.json()["error"]) in [
        (502, "application-unreachable"),
        (504, "application-too-slow"),
    ]
    assert int(answer.headers["Retry-After"]) > 0
    assert stack.state() == before
    check_works(stack, photo, f"meanwhile-{name}", "gunicorn")


@contextlib.contextmanager
def squatter(network: str, image: str) -> Iterator[None]:
    """Something in the network that takes the next free address."""
    wait = "import signal; signal.sigwait({signal.SIGTERM})"
    container = run("docker", "run", "--detach", "--network", network, image, "python", "-c", wait).strip()
    try:
        yield
    finally:
        run("docker", "rm", "--force", container)


def is_reached(stack: Stack) -> bool:
    with stack.nginx("web") as wire:
        return exchange(wire, Request("GET", "/healthz", {}), token=None).status == 200


@pytest.mark.usefixtures("intact")
def test_a_web_that_is_told_to_stop_finishes_first(stack: Stack, photo: Picture, name: str) -> None:
    """Two uploads are half received when `docker stop` comes; the clients are in no hurry."""
    names = {f"1-{name}": with_length, f"2-{name}": CHUNKED}
    with contextlib.ExitStack() as wires, stopping(stack, "web") as stop:
        halves = []
        for each, shape in names.items():
            wire = wires.enter_context(stack.relay("web"))
            halves.append((wire, send_half(wire, shape(each, photo.content), stack.token)))
        stop()
        eventually(lambda: '"event":"stopping"' in stack.logs("web"), 20, "web knows that it is to stop")
        answers = []
        for wire, rest in halves:
            for piece in rest:
                wire.send(piece)
            answers.append(read_answer(wire))
        finished = time.monotonic()
    assert time.monotonic() - finished < 20, "it waited, though there was nothing left to do"
    for each, answer in zip(names, answers, strict=True):
        assert (answer.status, answer.json()["sha256"]) == (201, photo.sha256)
        assert answer.headers["Connection"] == "close"
        assert stack.probe("photo", each)["file_sha256"] == photo.sha256


def test_a_nginx_that_is_told_to_stop_finishes_first(stack: Stack, photo: Picture, name: str) -> None:
    with stack.nginx("web") as wire, stopping(stack, "nginx") as stop:
        rest = send_half(wire, CHUNKED(name, photo.content), stack.token)
        stop()
        eventually(lambda: is_refused(stack), 20, "nginx takes no more connections")
        for piece in rest:
            wire.send(piece)
        answer = read_answer(wire)
    assert (answer.status, answer.json()["sha256"]) == (201, photo.sha256)


@contextlib.contextmanager
def stopping(stack: Stack, service: str) -> Iterator[Callable[[], None]]:
    """Gives what stops the service, in the background. Afterwards it has ended in peace, and runs again."""
    container: str = stack.container(service)["Id"]
    with contextlib.ExitStack() as processes:
        yield lambda: _stop(container, processes)
    state = stack.container(service)["State"]
    stack.compose("start", service)
    stack.wait_until_healthy(service)
    # It may have come back with another address; and a nginx that is told to stop looks up no name any more.
    eventually(lambda: is_reached(stack), 10, "nginx has found what was started again")
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def _stop(container: str, processes: contextlib.ExitStack) -> None:
    processes.enter_context(subprocess.Popen(["docker", "stop", container], stdout=subprocess.DEVNULL))


def is_refused(stack: Stack) -> bool:
    try:
        with stack.nginx("web") as wire:
            exchange(wire, Request("GET", "/static/", {}), token=None)
    except OSError:
        return True
    return False
