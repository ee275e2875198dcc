"""What the tests stand on: a client that a test leaves open, as one that fails does, is closed with its server.

Or the warning about it would hit whichever test runs when the garbage collector comes to it.
"""

from tests.server.conftest import Serve
from tests.server.eventloop.running import running


def test_the_clients_of_a_server_process_are_closed_with_it(serve: Serve) -> None:
    server = serve()
    client = server.client().send(b"GET / HT")
    server.destroy()
    assert client.socket.fileno() == -1


def test_the_clients_of_a_loop_are_closed_before_it_drains() -> None:
    """Before it drains, or it would wait for them for as long as they may take."""
    with running() as server:
        client = server.client().send(b"GET / HT")
    assert client.socket.fileno() == -1
