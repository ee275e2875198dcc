"""--proxy-protocol in a real process: client addresses, trusted proxies and refusals."""

import ipaddress
import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.building import request, sized
from tests.wire.client import Client
from tests.wire.polling import poll

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TEXT = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
TRUSTED = b"PROXY TCP4 10.1.2.3 198.51.100.1 4711 443\r\n"
UNKNOWN = b"PROXY UNKNOWN\r\n"
TLS = struct.pack("!BHBI", 0x20, 5, 1, 0)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


def binary(tlvs: bytes = b"") -> bytes:
    addresses = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("::1").packed
    block = addresses + struct.pack("!HH", 4711, 443) + tlvs
    return SIGNATURE + b"\x21\x21" + struct.pack("!H", len(block)) + block


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.0/8,10.0.0.0/8")


def received_environ(client: Client, *fields: str) -> dict[str, Any]:
    environ: dict[str, Any] = json.loads(client.get("/environ", *fields).body)
    return environ


def check(server: Server, header: bytes, address: str, port: str | None, scheme: str = "http") -> None:
    """The environ of the application: header in one piece, in two pieces, and for the next request."""
    target = request("GET", "/environ")
    for pieces in ([header + target], [header, target], [header[:5], header[5:] + target]):
        with server.client() as client:
            for piece in pieces:
                client.send(piece)
            environ = json.loads(client.answer().body)
            again = received_environ(client)
        for each in (environ, again):
            assert each["REMOTE_ADDR"] == address
            assert port is None or each["REMOTE_PORT"] == port
            assert each["wsgi.url_scheme"] == scheme


def test_the_proxy_header_decides_the_client_address(server: Server) -> None:
    check(server, TEXT, "203.0.113.7", "4711")
    check(server, binary(), "2001:db8::7", "4711")
    check(server, binary(TLS), "2001:db8::7", "4711", "https")
    check(server, UNKNOWN, "127.0.0.1", None)
    check(server, LOCAL, "127.0.0.1", None)
    logged = poll(lambda: (lines := server.requests())[29:] and lines, "the log")
    assert {line["client"] for line in logged} == {"203.0.113.7", "2001:db8::7", "127.0.0.1"}


@pytest.mark.parametrize(
    ("header", "address", "scheme"),
    [
        (TEXT, "203.0.113.7", "http"),  # the client set the headers itself
        (TRUSTED, "9.9.9.9", "https"),  # the client is also a trusted proxy
        (LOCAL, "9.9.9.9", "https"),
        (UNKNOWN, "9.9.9.9", "https"),
    ],
)
def test_forwarded_headers_are_believed_from_trusted_addresses_only(
    server: Server, header: bytes, address: str, scheme: str
) -> None:
    with server.client() as client:
        environ = received_environ(client.send(header), "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https")
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (address, scheme)
    assert ("HTTP_X_FORWARDED_FOR" in environ) is (address == "9.9.9.9")
    (line,) = poll(server.requests, "the log")
    assert line["client"] == address, "the log and the application have the same address"


def test_trusting_any_peer_does_not_trust_any_client(serve: Serve) -> None:
    with serve("--proxy-protocol", "--forwarded-allow-ips", "*").client() as client:
        environ = received_environ(client.send(TEXT), "X-Forwarded-For: 9.9.9.9")
    assert environ["REMOTE_ADDR"] == "203.0.113.7"


def test_a_proxy_header_and_a_body_can_arrive_byte_by_byte(server: Server) -> None:
    with server.client() as client:
        for byte in TEXT + sized("/upload", b"hello"):
            client.send(bytes([byte]))
        assert json.loads(client.answer().body)["size"] == 5


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/"),
        b"PROXY TCP4 localhost localhost 1 2\r\n" + request("GET", "/"),
        b"PROXY TCP4 192.0.2 198.51.100 1 2\r\n" + request("GET", "/"),
        b"\r\n" + TEXT + request("GET", "/"),
        SIGNATURE + b"\x11" + request("GET", "/"),
    ],
)
def test_a_connection_without_a_valid_proxy_header_is_refused(server: Server, data: bytes) -> None:
    with server.client() as client:
        answer = client.send(data).answer()
    assert (answer.status, answer.refused) == (400, "proxy-header-invalid")
    (line,) = poll(server.requests, "the log")
    assert (line["error"], line["client"]) == ("proxy-header-invalid", "127.0.0.1")
    reported = {event["event"] for event in server.events()}
    assert reported <= {"started", "worker-ready"}, "no event that needs an administrator"


def test_a_second_proxy_header_is_refused(server: Server) -> None:
    with server.client() as client:
        assert client.send(TEXT + TEXT + request("GET", "/")).answer().status == 400


def test_an_untrusted_peer_is_refused(serve: Serve) -> None:
    server = serve("--proxy-protocol", "--forwarded-allow-ips", "192.0.2.1")
    for data in (TEXT + request("GET", "/"), request("GET", "/")):
        with server.client() as client:
            answer = client.send(data).answer()
            assert (answer.status, answer.refused) == (403, "proxy-not-trusted")
            assert client.rest() == b""


@pytest.mark.parametrize(
    ("data", "allowed", "status"),
    [
        (request("HEAD", "/"), "*", 400),  # instead of a header
        (TEXT + b"HEAD / HTTP/1.1\r\n\r\n", "*", 400),
        (LOCAL + b"HEAD /\0", "*", 400),
        (request("HEAD", "/"), "192.0.2.1", 403),
        (TEXT + request("HEAD", "/"), "192.0.2.1", 403),
        (LOCAL + request("HEAD", "/"), "192.0.2.1", 403),
    ],
)
def test_a_refusal_of_a_head_request_has_no_content(serve: Serve, data: bytes, allowed: str, status: int) -> None:
    with serve("--proxy-protocol", "--forwarded-allow-ips", allowed).client() as client:
        assert client.send(data).answer(method="HEAD").status == status
        assert client.rest() == b""


def test_an_incomplete_proxy_header_is_closed_after_the_head_timeout(serve: Serve) -> None:
    server = serve("--proxy-protocol", "--forwarded-allow-ips", "*", "--head-timeout", "0.2")
    for beginning in (b"", TEXT[:-1], LOCAL[:-1]):
        with server.client() as client:
            assert client.send(beginning).rest() == b""


def test_a_proxy_header_is_accepted_over_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    server = serve("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1", "-b", f"unix:{tmp_path}/socket")
    check(server, TEXT, "203.0.113.7", "4711")
    check(server, LOCAL, "", None)


def test_the_admin_listener_needs_no_proxy_header(serve: Serve) -> None:
    server = serve("--proxy-protocol", "--forwarded-allow-ips", "*", "--admin-bind", "127.0.0.1:0")
    poll(server.workers, "the server to start")
    host, _, port = str(server.events("started")[0]["admin_bind"]).rpartition(":")
    with Client(socket.create_connection((host, int(port)))) as client:
        assert client.get("/healthz").status == 200
