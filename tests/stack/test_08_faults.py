"""Faults: processes are killed, reloaded and restarted, containers replaced, the whole stack stopped.

Each test ends with the same check (faults.checked_uploads): every upload answered 201 is stored intact, the others
leave nothing that the sweep does not remove, and the stack is healthy again without help.
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
    checked_uploads,
    is_reached,
    killer_within,
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
    """Uploads that web was receiving are lost; those that nginx was buffering are not: it sends web whole bodies."""
    before = stack.container("web")
    with checked_uploads(stack, may_sweep=True) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.kill(before)
        for upload in halves:
            if upload.route == "direct":
                assert upload.receive_answer() is None
            if upload.route == "streamed":
                check_temporary_error(upload.finish(), UNREACHABLE)
        stack.wait_until_restarted("web", before, RECOVERS_WITHIN)
        poll(lambda: is_reached(stack), "nginx reaches web again", RECOVERS_WITHIN)
        for upload in halves:
            if upload.route == "buffered":
                upload.finish()
                assert upload.status == 201, str(upload)


# Where the picture is at the moment of the kill -> may there be a row afterwards? As soon as the files have their final
# names, the row and the answer follow: the client cannot know.
MOMENTS = {"incoming": False, "originals": True, "thumbs": True}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_of_web_while_django_stores_leaves_no_partial_photo(stack: Stack, moment: str) -> None:
    picture = pictures.padded(PHOTO, stack.limit)
    before = stack.container("web")
    with checked_uploads(stack, may_sweep=True) as uploads:
        with killer_within(before, "new", moment):
            upload = uploads.whole("buffered", "length", picture)
        stack.wait_until_restarted("web", before, RECOVERS_WITHIN)
    if upload.status != 201:
        check_temporary_error(upload.answer, UNREACHABLE)
    assert MOMENTS[moment] or stack.probe("photo", upload.name) is None


@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_a_killed_worker_is_replaced(stack: Stack, server: str) -> None:
    """Its parent replaces it, and the container keeps running. Only the uploads it was receiving are lost."""
    started = stack.container(server)["State"]["StartedAt"]
    before = workers(stack, server)
    with checked_uploads(stack, may_sweep=True) as uploads:
        # Several, so that the worker with the most connections has at least one upload.
        halves = [uploads.begin(*way) for way in 3 * (WAYS if server == "web" else [("gunicorn", "chunked")])]
        stack.processes(server, "kill-one")
        for upload in halves:
            check_stored_or_lost(upload)
        assert server != "web" or {upload.status for upload in halves} > {201}, "nothing was lost"
        poll(lambda: len(workers(stack, server) - before) == 1, "there is a new worker", 60)
    assert len(workers(stack, server)) == len(before)
    assert stack.container(server)["State"]["StartedAt"] == started


def test_a_kill_of_all_workers_loses_only_the_uploads_they_were_receiving(stack: Stack) -> None:
    """As after a kill of web, but no client has to wait for a container."""
    started = stack.container("web")["State"]["StartedAt"]
    before = workers(stack, "web")
    with checked_uploads(stack, may_sweep=True) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.processes("web", "kill-workers")
        for upload in halves:
            upload.finish()
            if upload.route == "direct":
                assert upload.answer is None
            elif upload.route == "streamed":
                check_temporary_error(upload.answer, UNREACHABLE)
            else:
                assert upload.status == 201, str(upload)  # the parent keeps the listening socket open
        poll(lambda: len(workers(stack, "web") - before) == len(before), "all are replaced", 60)
    assert stack.container("web")["State"]["StartedAt"] == started


def check_stored_or_lost(upload: Upload) -> None:
    """No upload is lost that nginx buffers before it sends it on."""
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
    """The connections of its clients break. Web gets half a streamed body and stores nothing."""
    before = stack.container("nginx")
    with checked_uploads(stack) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.kill(before)
        for upload in halves:
            upload.finish()
            assert upload.status == (201 if upload.route == "direct" else None), str(upload)
        stack.wait_until_restarted("nginx", before, RECOVERS_WITHIN)


# --- reloaded ---------------------------------------------------------------------------------------------------------


def test_a_reload_of_web_loses_no_upload(stack: Stack) -> None:
    """Its workers are replaced one after the other while some uploads are half received and others are sent whole."""
    started = stack.container("web")["State"]["StartedAt"]
    before = workers(stack, "web")
    reloads = stack.logs("web").count('"event":"reloaded"')
    with checked_uploads(stack) as uploads:
        halves = [uploads.begin(*way) for way in WAYS]
        stack.processes("web", "reload")
        poll(lambda: len(workers(stack, "web") - before) > 0, "there is a new worker", 60)
        for number in range(10):
            uploads.stored("streamed" if number % 2 else "buffered")
        check_all_stored(halves)
        poll(lambda: stack.logs("web").count('"event":"reloaded"') > reloads, "all workers are new", 60)
    assert len(before & workers(stack, "web")) == 1, "old processes besides that of the admin listener are left"
    assert stack.container("web")["State"]["StartedAt"] == started


def test_a_reload_of_nginx_loses_no_upload(stack: Stack) -> None:
    """New workers accept new connections, old ones finish theirs."""
    started = stack.container("nginx")["State"]["StartedAt"]
    before = nginx_workers(stack)
    with checked_uploads(stack) as uploads:
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
    """The new web has another address, because another container has the old one. nginx and gunicorn keep running."""
    nginx, old = stack.container("nginx"), stack.container("web")
    network = f"{stack.project}_inside"
    address = old["NetworkSettings"]["Networks"][network]["IPAddress"]
    with checked_uploads(stack) as uploads, contextlib.ExitStack() as afterwards:
        # If the test fails, the next one finds a web.
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
    """A container that takes the next free address of the network."""
    wait = ["python", "-c", "import signal; signal.sigwait({signal.SIGTERM})"]
    container = run("docker", "run", "--detach", *stack.labels, "--network", network, image, *wait).strip()
    try:
        yield
    finally:
        run("docker", "rm", "--force", container)


def test_web_finishes_its_uploads_before_it_stops(stack: Stack) -> None:
    """Uploads are half received at the time of `docker stop`."""
    with checked_uploads(stack) as uploads:
        web = stack.container("web")
        halves = [uploads.begin(*way) for way in WAYS if way[0] != "buffered"]
        with stopping(stack, "web") as stop:
            stop()
            poll(lambda: is_stopping(stack, web), "web is stopping", 60)
            check_all_stored(halves)
            finished = datetime.now(UTC)
        ended = datetime.fromisoformat(stack.container("web")["State"]["FinishedAt"])
        assert ended - finished < timedelta(seconds=60), "web waited although it had no request left"
        for upload in halves:
            assert upload.answer
            assert upload.route == "streamed" or upload.answer.headers["Connection"] == "close"


def test_nginx_finishes_its_uploads_before_it_stops(stack: Stack) -> None:
    with checked_uploads(stack) as uploads:
        halves = [uploads.begin(*way) for way in THROUGH_NGINX]
        with stopping(stack, "nginx") as stop:
            stop()
            poll(lambda: is_refused(stack), "nginx refuses connections", 60)
            check_all_stored(halves)


@contextlib.contextmanager
def stopping(stack: Stack, service: str) -> Iterator[Callable[[], None]]:
    """Yields a function that stops the service in the background. The service has to exit with 0, and is restarted."""
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
    """As after a change of image or settings. Begun uploads are stored; new ones may get a temporary error."""
    old = stack.container("web")
    with checked_uploads(stack) as uploads, uploads.traffic():
        halves = [uploads.begin(*way) for way in WAYS]
        with compose_in_background(stack, "up", "-d", "--no-deps", "--force-recreate", "web"):
            poll(lambda: is_stopping(stack, old), "web is stopping", 60)
            check_all_stored([upload for upload in halves if upload.route != "buffered"])
    assert stack.container("web")["Id"] != old["Id"]


def test_recreating_nginx_loses_no_upload(stack: Stack) -> None:
    old = stack.container("nginx")["Id"]
    with checked_uploads(stack) as uploads, uploads.traffic():
        halves = [uploads.begin(*way) for way in WAYS]
        with compose_in_background(stack, "up", "-d", "--no-deps", "--force-recreate", "nginx"):
            poll(lambda: is_refused(stack), "nginx refuses connections", 60)
            check_all_stored(halves)
    assert stack.container("nginx")["Id"] != old


def test_stopping_the_whole_stack_leaves_no_partial_photo(stack: Stack) -> None:
    """Both nginx and web stop at once, so that only some uploads are answered. The stack starts again."""
    with checked_uploads(stack) as uploads, contextlib.ExitStack() as afterwards:
        afterwards.callback(stack.compose, "start")
        with uploads.traffic():
            halves = [uploads.begin(*way) for way in WAYS]
            stack.forget()
            with compose_in_background(stack, "stop"):
                poll(lambda: is_refused(stack), "nginx refuses connections", 60)
                for upload in halves:
                    upload.finish()
    assert {upload.status for upload in halves} <= {201, 502, 504, None}


@contextlib.contextmanager
def compose_in_background(stack: Stack, *arguments: str) -> Iterator[None]:
    """Run compose.sh beside the block; it has to succeed."""
    command = [str(SCRIPTS / "compose.sh"), *arguments]
    with subprocess.Popen(command, env=stack.environment, stdout=subprocess.DEVNULL) as process:
        yield
    assert process.returncode == 0
