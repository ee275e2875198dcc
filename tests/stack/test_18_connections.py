"""Faults between clients and the stack, and inside it: clients that disconnect, stall or send too much, and a broken
network between nginx and web.
"""

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stack import pictures
from tests.stack.faults import (
    HALF,
    PHOTO,
    SLOW,
    THROUGH_NGINX,
    TOO_SLOW,
    UNREACHABLE,
    WAYS,
    Upload,
    check_temporary_error,
    checked_uploads,
)
from tests.stack.pictures import MEGABYTE
from tests.stack.stack import SPOOLS, Stack, run
from tests.stack.wire import BLOCK, Tcp
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(SLOW)

# --- clients ----------------------------------------------------------------------------------------------------------

LARGE = pictures.padded(PHOTO, 8 * MEGABYTE)
IN_A_FILE = 4 * MEGABYTE // BLOCK  # pieces: more than nginx (128 KB) or web (3 MB) keeps in memory
# Route -> the service whose spool holds an incomplete body.
RECEIVED_IN = {"buffered": "nginx", "streamed": "web", "direct": "web"}


@pytest.mark.parametrize("route", RECEIVED_IN)
def test_an_incomplete_body_in_a_spool_is_found_by_the_check(stack: Stack, route: str) -> None:
    """The check for leftover bodies works: it finds a spooled body although it has no name."""
    with checked_uploads(stack) as uploads:
        finished, disconnected = (uploads.begin(route, framing, LARGE, IN_A_FILE) for framing in ("length", "chunked"))
        poll(lambda: len(stack.leftovers()) == 2, f"two bodies are in files: {stack.leftovers()}", 30)
        assert all(path.startswith(f"{SPOOLS[RECEIVED_IN[route]]}/") for path in stack.leftovers())
        finished.finish()
        assert finished.status == 201, str(finished)
        poll(lambda: len(stack.leftovers()) == 1, "one is left", 30)
        disconnected.disconnect()
        poll(lambda: not stack.leftovers(), "none is left", 30)


# Pieces of 64 KB that the client sends before it disconnects.
GONE_AFTER = {"the head": 0, "one piece": 1, "half": HALF, "all but the end": PHOTO.size // BLOCK}


@pytest.mark.parametrize("point", GONE_AFTER)
def test_a_client_that_disconnects_stores_nothing(stack: Stack, point: str) -> None:
    """At any point of the body. Some clients close the connection, others reset it."""
    with checked_uploads(stack) as uploads:
        for way in WAYS:
            uploads.begin(*way, pieces=GONE_AFTER[point], is_stalled=True)
        for way in THROUGH_NGINX:
            cut_off = uploads.begin(*way, pieces=GONE_AFTER[point], is_stalled=True)
            assert isinstance(cut_off.wire, Tcp)
            cut_off.wire.reset()


def test_a_client_that_stalls_is_disconnected_and_stores_nothing(stack: Stack) -> None:
    """All at once, because each waits half a minute. Web answers 408; nginx just closes."""
    with checked_uploads(stack) as uploads:
        for upload in [uploads.begin(*way, is_stalled=True) for way in WAYS]:
            upload.receive_answer()
            if upload.route == "buffered":
                assert upload.answer is None, str(upload)
            else:
                check_refused(upload, 408, "body-timeout")


def test_a_content_length_beyond_the_limit_is_refused_before_the_body(stack: Stack) -> None:
    """The refusal comes before any byte of the body is sent."""
    picture = pictures.padded(PHOTO, stack.limit + 1)
    with checked_uploads(stack) as uploads:
        for route in ("buffered", "streamed", "direct"):
            upload = uploads.begin(route, "length", picture, pieces=0, is_stalled=True)
            upload.receive_answer()
            check_refused(upload, 413, "body-too-large")


def test_a_chunked_body_beyond_the_limit_is_refused_at_its_last_byte(stack: Stack) -> None:
    """The size is unknown before that byte; the client gets the error."""
    picture = pictures.padded(PHOTO, stack.limit + 1)
    with checked_uploads(stack) as uploads:
        for route in ("buffered", "streamed", "direct"):
            upload = uploads.begin(route, "chunked", picture, pieces=stack.limit // BLOCK)
            upload.finish()
            check_refused(upload, 413, "body-too-large")


def check_refused(upload: Upload, status: int, error: str) -> None:
    """The same error from nginx or web."""
    assert upload.answer, str(upload)
    assert (upload.status, upload.answer.json()["error"]) == (status, error), str(upload)


# --- the inner network ------------------------------------------------------------------------------------------------


def test_a_cut_network_between_nginx_and_web_is_reported_to_clients(stack: Stack) -> None:
    """Clients of web get an error, those of gunicorn do not. nginx finds web again, even with another address.

    A streamed upload hangs until the network is back or a time limit ends: proxy_send_timeout (30 s) while nginx has
    data to send, otherwise proxy_read_timeout (70 s). Of two clients, one waits for that, the other disconnects.
    """
    with checked_uploads(stack) as uploads:
        buffered = [uploads.begin(*way) for way in THROUGH_NGINX if way[0] == "buffered"]
        streamed = [uploads.begin(*way) for way in THROUGH_NGINX if way[0] == "streamed"]
        patient, impatient = streamed
        # A request on a connection that was idle at the cut would hang as long.
        poll(lambda: connections(stack) == len(streamed), "nginx has no idle connection to web", 60)
        with cut_off(stack, "web"), ThreadPoolExecutor() as threads:
            waiting = threads.submit(patient.finish)
            for upload in buffered:
                check_temporary_error(upload.finish(), UNREACHABLE, TOO_SLOW)
            uploads.stored("gunicorn")
            impatient.disconnect()
            check_temporary_error(waiting.result(), UNREACHABLE, TOO_SLOW)


def connections(stack: Stack) -> int:
    """Established connections from nginx to web."""
    network = stack.container("web")["NetworkSettings"]["Networks"][f"{stack.project}_inside"]
    address = int.from_bytes(socket.inet_aton(network["IPAddress"]), "little")
    web, established = f"{address:08X}:{8000:04X}", "01"
    return sum((peer, state) == (web, established) for _, peer, state in stack.sockets("nginx"))


@contextlib.contextmanager
def cut_off(stack: Stack, service: str) -> Iterator[None]:
    network, container = f"{stack.project}_inside", stack.container(service)["Id"]
    run("docker", "network", "disconnect", network, container)
    try:
        yield
    finally:
        run("docker", "network", "connect", "--alias", service, network, container)
