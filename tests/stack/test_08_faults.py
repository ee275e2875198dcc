"""What breaks: processes killed in the middle, reloaded, restarted, containers replaced, the whole stack stopped.

Afterwards the same holds each time (faults.trouble): what was answered 201 is there and intact, what was not has left
nothing that the sweep would not take, and the stack is well again without help.
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.stack import pictures
from tests.stack.faults import (
    PHOTO,
    RECOVERS_WITHIN,
    SLOW,
    THROUGH_NGINX,
    TOO_SLOW,
    UNREACHABLE,
    WAYS,
    Upload,
    check_temporary_error,
    is_reached,
    killer_within,
    trouble,
)
from tests.stack.stack import (
    SCRIPTS,
    Stack,
    run,
)
from tests.stack.wire import Request, exchange, may_break
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(SLOW)

# --- killed -----------------------------------------------------------------------------------------------------------


def test_a_kill_of_web_loses_only_the_uploads_that_web_was_receiving(stack: Stack) -> None:
    """What web itself was receiving is lost. What nginx was receiving is not: web is only asked for whole bodies."""
    before = stack.container("web")
    with trouble(stack, may_sweep=True) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.kill(before)
        for upload in halves:
            if upload.route == "direct":
                assert upload.receive_answer() is None
            if upload.route == "streamed":
                check_temporary_error(upload.finish(), UNREACHABLE)
        stack.wait_until_restarted("web", before, RECOVERS_WITHIN)
        poll(lambda: is_reached(stack), "nginx has found web again", RECOVERS_WITHIN)
        for upload in halves:
            if upload.route == "buffered":
                upload.finish()
                assert upload.status == 201, str(upload)


# Where the picture is at the moment of the kill -> may there be a row afterwards? Once the files have their final names
# the row is a moment away, and so is the answer: the client cannot know.
MOMENTS = {"incoming": False, "originals": True, "thumbs": True}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_of_web_while_django_stores_leaves_no_partial_photo(stack: Stack, moment: str) -> None:
    picture = pictures.padded(PHOTO, stack.limit)
    before = stack.container("web")
    with trouble(stack, may_sweep=True) as uploads:
        with killer_within(before, "new", moment):
            upload = uploads.whole("buffered", "length", picture)
        stack.wait_until_restarted("web", before, RECOVERS_WITHIN)
    if upload.status != 201:
        check_temporary_error(upload.answer, UNREACHABLE)
    assert MOMENTS[moment] or stack.probe("photo", upload.name) is None


@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_a_killed_worker_is_replaced(stack: Stack, server: str) -> None:
    """Its parent replaces it; the container goes on. What it was receiving is lost, and nothing else."""
    started = stack.container(server)["State"]["StartedAt"]
    before = workers(stack, server)
    with trouble(stack, may_sweep=True) as uploads:
        # Several, so that the worker with the most of them has one at least.
        halves = [uploads.begin(*way) for way in 3 * (WAYS if server == "web" else [("gunicorn", "chunked")])]
        stack.processes(server, "kill-one")
        for upload in halves:
            check_stored_or_lost(upload)
        assert server != "web" or {upload.status for upload in halves} > {201}, "nothing was lost"
        poll(lambda: len(workers(stack, server) - before) == 1, "there is a new worker", 60)
    assert len(workers(stack, server)) == len(before)
    assert stack.container(server)["State"]["StartedAt"] == started


def test_a_kill_of_all_workers_loses_only_the_uploads_they_were_receiving(stack: Stack) -> None:
    """The same as for the whole of web, but that nobody has to wait for a container."""
    started = stack.container("web")["State"]["StartedAt"]
    before = workers(stack, "web")
    with trouble(stack, may_sweep=True) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.processes("web", "kill-workers")
        for upload in halves:
            upload.finish()
            if upload.route == "direct":
                assert upload.answer is None
            elif upload.route == "streamed":
                check_temporary_error(upload.answer, UNREACHABLE)
            else:
                assert upload.status == 201, str(upload)  # the listening socket is the parent's, and waits
        poll(lambda: len(workers(stack, "web") - before) == len(before), "all are replaced", 60)
    assert stack.container("web")["State"]["StartedAt"] == started


def check_stored_or_lost(upload: Upload) -> None:
    """What nginx has as a whole before it asks is not lost, whoever dies."""
    upload.finish()
    if upload.status == 201:
        return
    assert upload.route in {"direct", "streamed"}, str(upload)
    if upload.route == "streamed":
        check_temporary_error(upload.answer, UNREACHABLE)
    else:
        assert upload.answer is None, str(upload)


def workers(stack: Stack, server: str) -> set[str]:
    return set(stack.processes(server, "workers").split())


def test_a_kill_of_nginx_disconnects_its_clients_and_stores_no_partial_photo(stack: Stack) -> None:
    """Its clients see the connection break. What was streamed is half a body for web, which is none."""
    before = stack.container("nginx")
    with trouble(stack) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.kill(before)
        for upload in halves:
            upload.finish()
            assert upload.status == (201 if upload.route == "direct" else None), str(upload)
        stack.wait_until_restarted("nginx", before, RECOVERS_WITHIN)


# --- reloaded ---------------------------------------------------------------------------------------------------------


def test_a_reload_of_web_loses_no_upload(stack: Stack) -> None:
    """Its workers are replaced, one after the other, while some uploads are half received and others come and go."""
    started = stack.container("web")["State"]["StartedAt"]
    before = workers(stack, "web")
    reloads = stack.logs("web").count('"event":"reloaded"')
    with trouble(stack) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.processes("web", "reload")
        poll(lambda: len(workers(stack, "web") - before) > 0, "there is a new worker", 60)
        for number in range(10):
            uploads.stored("streamed" if number % 2 else "buffered")
        check_all_stored(halves)
        poll(lambda: stack.logs("web").count('"event":"reloaded"') > reloads, "all workers are new", 60)
    assert len(before & workers(stack, "web")) == 1, "of those there were, only the admin listener's process is left"
    assert stack.container("web")["State"]["StartedAt"] == started


def test_a_reload_of_nginx_loses_no_upload(stack: Stack) -> None:
    """New workers take what comes, old ones finish what they have."""
    started = stack.container("nginx")["State"]["StartedAt"]
    before = nginx_workers(stack)
    with trouble(stack) as uploads:
        halves = [uploads.begin(*way) for way in THROUGH_NGINX]
        stack.exec("nginx", "sh", "-c", "kill -HUP $(cat /tmp/nginx.pid)")
        poll(lambda: nginx_workers(stack) - before, "there are new workers", 60)
        for number in range(4):
            uploads.stored("streamed" if number % 2 else "buffered")
        check_all_stored(halves)
    poll(lambda: not nginx_workers(stack) & before, "the old workers have ended", 60)
    assert stack.container("nginx")["State"]["StartedAt"] == started


def nginx_workers(stack: Stack) -> set[str]:
    children = "cat /proc/[0-9]*/stat 2>/dev/null | awk -v of=$(cat /tmp/nginx.pid) '$4 == of { print $1 }'"
    return set(stack.exec("nginx", "sh", "-c", children).split())


def check_all_stored(halves: list[Upload]) -> None:
    for upload in halves:
        upload.finish()
        assert upload.status == 201, str(upload)


# --- replaced, stopped ------------------------------------------------------------------------------------------------


def test_a_missing_web_is_a_502_and_nginx_finds_a_new_one(stack: Stack) -> None:
    """The new web has another address, because something else took the old one. nginx and gunicorn go on."""
    nginx, old = stack.container("nginx"), stack.container("web")
    network = f"{stack.project}_inside"
    address = old["NetworkSettings"]["Networks"][network]["IPAddress"]
    with trouble(stack) as uploads, contextlib.ExitStack() as afterwards:
        # Whatever fails here, the next test finds one.
        afterwards.callback(stack.compose, "up", "-d", "--no-deps", "web")
        stack.compose("rm", "--stop", "--force", "web")
        with address_taken(stack, network, old["Config"]["Image"]):
            for way in THROUGH_NGINX:
                check_temporary_error(uploads.whole(*way).answer, UNREACHABLE, TOO_SLOW)
            uploads.stored("gunicorn")
            stack.compose("up", "-d", "--no-deps", "web")
            stack.wait_until_healthy("web", within=RECOVERS_WITHIN)
        assert stack.container("web")["NetworkSettings"]["Networks"][network]["IPAddress"] != address
    assert stack.container("nginx")["State"]["StartedAt"] == nginx["State"]["StartedAt"]


@contextlib.contextmanager
def address_taken(stack: Stack, network: str, image: str) -> Iterator[None]:
    """Something in the network that takes the next free address."""
    wait = ["python", "-c", "import signal; signal.sigwait({signal.SIGTERM})"]
    container = run("docker", "run", "--detach", *stack.labels, "--network", network, image, *wait).strip()
    try:
        yield
    finally:
        run("docker", "rm", "--force", container)


def test_web_finishes_its_uploads_before_it_stops(stack: Stack) -> None:
    """Uploads are half received when `docker stop` comes; the clients are in no hurry."""
    with trouble(stack) as uploads:
        web = stack.container("web")
        halves = [uploads.begin(*way) for way in WAYS if way[0] != "buffered"]
        with stopping(stack, "web") as stop:
            stop()
            poll(lambda: is_stopping(stack, web), "web knows that it is to stop", 60)
            check_all_stored(halves)
            finished = datetime.now(UTC)
        ended = datetime.fromisoformat(stack.container("web")["State"]["FinishedAt"])
        assert ended - finished < timedelta(seconds=60), "it waited, though there was nothing left to do"
        for upload in halves:
            assert upload.answer
            assert upload.route == "streamed" or upload.answer.headers["Connection"] == "close"


def test_nginx_finishes_its_uploads_before_it_stops(stack: Stack) -> None:
    with trouble(stack) as uploads:
        halves = [uploads.begin(*way) for way in THROUGH_NGINX]
        with stopping(stack, "nginx") as stop:
            stop()
            poll(lambda: is_refused(stack), "nginx takes no more connections", 60)
            check_all_stored(halves)


@contextlib.contextmanager
def stopping(stack: Stack, service: str) -> Iterator[Callable[[], None]]:
    """Gives what stops the service, in the background. Afterwards it has ended in peace, and runs again."""
    container: str = stack.container(service)["Id"]
    try:
        with contextlib.ExitStack() as processes:
            command = ["docker", "stop", container]
            yield lambda: _start(processes, command)
        state = stack.container(service)["State"]
    finally:
        stack.compose("start", service)
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def _start(processes: contextlib.ExitStack, command: list[str]) -> None:
    processes.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))


def is_stopping(stack: Stack, web: dict[str, Any]) -> bool:
    return '"event":"stopping"' in stack.logs_of(web)


def is_refused(stack: Stack) -> bool:
    with may_break(), stack.nginx("web") as wire:
        exchange(wire, Request("GET", "/static/", {}), token=None)
        return False
    return True


def test_recreating_web_loses_no_upload(stack: Stack) -> None:
    """As when its image or its settings have changed. Who is being served is; others may be told to wait."""
    old = stack.container("web")
    with trouble(stack) as uploads, uploads.traffic():
        halves = [uploads.begin(*way) for way in WAYS]
        with compose_in_background(stack, "up", "-d", "--no-deps", "--force-recreate", "web"):
            poll(lambda: is_stopping(stack, old), "web knows that it is to stop", 60)
            check_all_stored([upload for upload in halves if upload.route != "buffered"])
    assert stack.container("web")["Id"] != old["Id"]


def test_recreating_nginx_loses_no_upload(stack: Stack) -> None:
    old = stack.container("nginx")["Id"]
    with trouble(stack) as uploads, uploads.traffic():
        halves = [uploads.begin(*way) for way in WAYS]
        with compose_in_background(stack, "up", "-d", "--no-deps", "--force-recreate", "nginx"):
            poll(lambda: is_refused(stack), "nginx takes no more connections", 60)
            check_all_stored(halves)
    assert stack.container("nginx")["Id"] != old


def test_stopping_the_whole_stack_leaves_no_partial_photo(stack: Stack) -> None:
    """Both nginx and web stop at once, so that some uploads are still answered and some are not; it starts again."""
    with trouble(stack) as uploads, contextlib.ExitStack() as afterwards:
        afterwards.callback(stack.compose, "start")
        with uploads.traffic():
            halves = [uploads.begin(*way) for way in WAYS]
            stack.forget()
            with compose_in_background(stack, "stop"):
                poll(lambda: is_refused(stack), "nginx takes no more connections", 60)
                for upload in halves:
                    upload.finish()
    assert {upload.status for upload in halves} <= {201, 502, 504, None}


@contextlib.contextmanager
def compose_in_background(stack: Stack, *arguments: str) -> Iterator[None]:
    """It has succeeded in the end."""
    command = [str(SCRIPTS / "compose.sh"), *arguments]
    with subprocess.Popen(command, env=stack.environment, stdout=subprocess.DEVNULL) as process:
        yield
    assert process.returncode == 0
