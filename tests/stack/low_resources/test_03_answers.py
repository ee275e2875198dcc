"""A kill of web in the middle of an answer: a client must not take the part for the whole."""

import contextlib
import http.client
from collections.abc import Callable, Iterator

import pytest

from tests.stack.faults import RECOVERS_WITHIN, SLOW, Ledger, checked_uploads, is_reached
from tests.stack.pictures import MEGABYTE
from tests.stack.stack import Stack
from tests.stack.wire import Request, Wire
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(SLOW)

HUGE = 400 * MEGABYTE  # more than all buffers on the way hold; a sparse file takes no room


@contextlib.contextmanager
def reading(stack: Stack, uploads: Ledger, *routes: Callable[[], Wire]) -> Iterator[list[Wire]]:
    """Clients that have read only the head of a huge answer, which web itself sends."""
    upload = uploads.stored()
    original = stack.probe("photo", upload.name)["original"]
    stack.exec("gunicorn", "truncate", f"--size={HUGE}", f"/srv/media/{original}")
    with contextlib.ExitStack() as wires:
        readers = [wires.enter_context(route()) for route in routes]
        for wire in readers:
            wire.send(Request("GET", f"/photos/{upload.name}", {}).head(wire.host, None))
            assert b" 200 " in wire.reader.readline()
            assert http.client.parse_headers(wire.reader)["Content-Length"] == str(HUGE)
        yield readers
    uploads.delete(upload)


def check_cut_off(wire: Wire) -> None:
    with contextlib.suppress(ConnectionError):  # which also shows that it was cut off
        assert len(wire.reader.read()) < HUGE


def test_a_response_cut_off_by_killed_workers_is_not_taken_for_complete(small_stack: Stack) -> None:
    routes = [lambda: small_stack.nginx("web"), lambda: small_stack.relay("web")]
    with checked_uploads(small_stack) as uploads, reading(small_stack, uploads, *routes) as readers:
        small_stack.processes("web", "kill-workers")
        for wire in readers:
            check_cut_off(wire)


def test_a_response_cut_off_by_a_kill_of_web_is_not_taken_for_complete(small_stack: Stack) -> None:
    """The end of web may send no FIN: nginx needs keepalive probes (proxy_socket_keepalive)."""
    web = small_stack.container("web")
    with (
        checked_uploads(small_stack) as uploads,
        reading(small_stack, uploads, lambda: small_stack.nginx("web")) as (wire,),
    ):
        small_stack.kill(web)
        check_cut_off(wire)
        small_stack.wait_until_restarted("web", web, RECOVERS_WITHIN)
        poll(lambda: is_reached(small_stack), "nginx reaches web again", RECOVERS_WITHIN)
