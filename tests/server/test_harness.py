"""The test harness: clients that a test leaves open, for example after a failure, are closed with their server.

Otherwise the garbage collector's warning would fail whichever test runs at that moment.
"""

from tests.server.conftest import Serve
from tests.server.eventloop.running import running


def test_the_clients_of_a_server_process_are_closed_with_it(serve: Serve) -> None:
    server = serve()
    client = server.client().send(b"GET / HT")
    server.destroy()
    assert client.socket.fileno() == -1


def test_the_clients_of_a_loop_are_closed_before_it_drains() -> None:
    """Otherwise the drain would wait for them."""
    with running() as server:
        client = server.client().send(b"GET / HT")
    assert client.socket.fileno() == -1
