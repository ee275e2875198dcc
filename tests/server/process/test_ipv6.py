"""IPv6 in a real server: next to IPv4 on one port, and in the environ of applications."""

import json
import socket

import pytest

from tests.server.conftest import Serve
from tests.server.harness import free_port, has_ipv6
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll

pytestmark = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


@pytest.mark.parametrize(
    ("bind", "peer", "expected"),
    [
        ("[::1]:0", "::1", ("[::1]", "::1")),
        ("[::]:0", "::1", ("[::]", "::1")),
        ("127.0.0.1:0", "127.0.0.1", ("127.0.0.1", "127.0.0.1")),
    ],
)
def test_server_name_has_brackets_around_ipv6_and_remote_addr_has_none(
    serve: Serve, bind: str, peer: str, expected: tuple[str, str]
) -> None:
    """RFC 3875, sections 4.1.14 and 4.1.8. HTTP/1.0 allows requests without Host: URLs then use SERVER_NAME."""
    server = serve("-b", bind)
    port = int(server.bind.rpartition(":")[2])
    with Client(socket.create_connection((peer, port), timeout=PATIENCE)) as client:
        environ = json.loads(client.send("GET /environ HTTP/1.0\r\n\r\n").answer().body)
    assert (environ["SERVER_NAME"], environ["REMOTE_ADDR"]) == expected
    poll(lambda: [line["client"] for line in server.requests()] == [peer], "the line in the log")


@pytest.mark.parametrize("order", [("0.0.0.0", "[::]"), ("[::]", "0.0.0.0")])
def test_all_addresses_of_ipv4_and_ipv6_can_share_one_port(serve: Serve, order: tuple[str, str]) -> None:
    port = free_port()
    server = serve("-b", f"{order[0]}:{port}", "-b", f"{order[1]}:{port}")
    assert server.bind == f"{order[0]}:{port}, {order[1]}:{port}"
    for host in ("127.0.0.1", "::1"):
        with Client(socket.create_connection((host, port), timeout=PATIENCE)) as client:
            assert client.get("/").body == b"hello"
