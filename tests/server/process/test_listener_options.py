"""Options of single listeners of a real server: scheme, PROXY protocol, trusted proxies."""

import json
import re
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.client import Client
from tests.wire.polling import PATIENCE, poll

FORWARDED = ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
PROXY = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"
# Client address and scheme that the application sees in a request with the fields above.
PLAIN = ("127.0.0.1", "http")
FORWARDED_VALUES = ("192.0.2.1", "https")


def ports(server: Server) -> list[int]:
    return [int(port) for port in re.findall(r":(\d+)", server.bind)]


def client_and_scheme(port: int, *fields: str, before: bytes = b"") -> tuple[str, str]:
    with Client(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as client:
        environ: dict[str, Any] = json.loads(client.send(before).get("/environ", *fields).body)
    return environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]


FOUR = [
    "127.0.0.1:0",
    "127.0.0.1:0,scheme=https",
    "127.0.0.1:0,forwarded-allow-ips=127.0.0.0/8+::1",
    "127.0.0.1:0,proxy-protocol=on,scheme=https,forwarded-allow-ips=127.0.0.1",
]
FILE = """
[[bind]]
address = "127.0.0.1:0"
[[bind]]
address = "127.0.0.1:0"
scheme = "https"
[[bind]]
address = "127.0.0.1:0"
forwarded_allow_ips = ["127.0.0.0/8", "::1"]
[[bind]]
address = "127.0.0.1:0"
proxy_protocol = true
scheme = "https"
forwarded_allow_ips = ["127.0.0.1"]
"""


@pytest.mark.parametrize("source", ["flags", "one flag", "variable", "file"])
def test_each_listener_has_its_own_options(serve: Serve, tmp_path: Path, source: str) -> None:
    (tmp_path / "x.toml").write_text(FILE)
    server = {
        "flags": lambda: serve(*(argument for bind in FOUR for argument in ("-b", bind))),
        "one flag": lambda: serve("-b", ",".join(FOUR)),
        "variable": lambda: serve(WSGISERVER_BIND=", ".join(FOUR)),
        "file": lambda: serve("-c", str(tmp_path / "x.toml")),
    }[source]()
    plain, secure, trusting, proxied = ports(server)
    for _ in range(3):  # the values cached for one listener are not used for another
        assert client_and_scheme(plain, *FORWARDED) == PLAIN
        assert client_and_scheme(secure, *FORWARDED) == ("127.0.0.1", "https")
        assert client_and_scheme(trusting, *FORWARDED) == FORWARDED_VALUES
        assert client_and_scheme(proxied, before=PROXY) == ("203.0.113.7", "https")
    with Client(socket.create_connection(("127.0.0.1", proxied), timeout=PATIENCE)) as client:
        assert client.get("/").refused == "proxy-header-invalid"
    logged = poll(lambda: (lines := server.requests())[12:] and lines, "the log")
    clients = Counter(line["client"] for line in logged if line["status"] == 200)
    assert clients == {"127.0.0.1": 6, "192.0.2.1": 3, "203.0.113.7": 3}


def test_the_options_in_the_started_event_are_valid_binds(serve: Serve) -> None:
    server = serve(*(argument for bind in FOUR for argument in ("-b", bind)))
    _, secure, trusting, proxied = ports(server)
    assert server.events("started")[0]["options"] == ", ".join(
        [
            f"127.0.0.1:{secure},scheme=https",
            f"127.0.0.1:{trusting},forwarded-allow-ips=127.0.0.0/8+::1",
            f"127.0.0.1:{proxied},scheme=https,proxy-protocol=on,forwarded-allow-ips=127.0.0.1",
        ]
    )
    plain = serve()
    assert plain.bind
    assert "options" not in plain.events("started")[0]


def test_settings_are_the_defaults_of_listener_options(serve: Serve) -> None:
    server = serve(
        *("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1"),
        *("-b", "127.0.0.1:0", "-b", "127.0.0.1:0,proxy-protocol=off"),
        *("-b", "127.0.0.1:0,proxy-protocol=off,forwarded-allow-ips="),
    )
    proxied, trusting, plain = ports(server)
    assert client_and_scheme(proxied, before=PROXY) == ("203.0.113.7", "http")
    assert client_and_scheme(trusting, *FORWARDED) == FORWARDED_VALUES
    assert client_and_scheme(plain, *FORWARDED) == PLAIN


def test_unix_socket_peers_are_trusted_if_their_listener_trusts_any_address(serve: Serve, tmp_path: Path) -> None:
    for name, option in (("trusting", ",forwarded-allow-ips=10.0.0.0/8"), ("not", "")):
        server = serve("-b", f"unix:{tmp_path}/{name}{option}")
        environ = json.loads(server.get("/environ", *FORWARDED).body)
        assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (FORWARDED_VALUES if option else ("", "http"))


def test_the_admin_listener_ignores_proxy_protocol_and_forwarded_allow_ips(serve: Serve) -> None:
    """Health checks and requests come from different clients."""
    server = serve("--proxy-protocol", "--forwarded-allow-ips", "*", "--admin-bind", "127.0.0.1:0")
    assert server.bind
    port = int(server.events("started")[0]["admin_bind"].rpartition(":")[2])
    with Client(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as client:
        assert client.get("/healthz").status == 200
