"""TLS: versions, ciphers, HTTP/2, and redirects from HTTP to HTTPS."""

import contextlib
import json
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.stack.boundary import (
    ROUTES,
    SERVERS,
    curl,
    echoed,
)
from tests.stack.echo import Edge, ask, request
from tests.stack.wire import Tls


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_only_tls_1_2_and_1_3_are_accepted(edge_with_tls: Edge, version: str) -> None:
    if version in {"TLSv1", "TLSv1_1"}:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(Tls(edge_with_tls.ports["tls"], version), request("/x"))
    else:
        wire = Tls(edge_with_tls.ports["tls"], version)
        assert wire.version == version.replace("_", ".")
        assert echoed(ask(wire, request("/x")))["environ"]["wsgi.url_scheme"] == "https"


def test_only_ciphers_with_forward_secrecy_and_authentication_are_accepted(edge_with_tls: Edge) -> None:
    """The client offers each cipher of OpenSSL alone."""
    names = [cipher["name"] for cipher in ssl.create_default_context().get_ciphers()]
    taken, every = set(), [name for name in names if not name.startswith("TLS_")]  # all ciphers of 1.3 are accepted
    for cipher in every:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            wire = Tls(edge_with_tls.ports["tls"], "TLSv1_2", cipher)
            taken.add(wire.cipher)
            wire.close()
    assert len(every) > len(taken)
    assert taken == {  # the ciphers for an ECDSA key
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    }


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_a_body_without_a_length_arrives_whole_over_http2(
    edge_with_tls: Edge, route: str, size: int, tmp_path: Path
) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"ab" * (size // 2) + b"c" * (size % 2))
    version = ["-w", "\n%{http_version} %{http_code}", "--http2", "-T", "-"]
    with body.open("rb") as source:
        done = curl(edge_with_tls, f"{ROUTES[route]}x", *version, stdin=source)
    text, _, version_and_status = done.stdout.decode().rpartition("\n")
    assert version_and_status == "2 200", done.stderr
    received = json.loads(text)
    assert (received["method"], received["length"]) == ("PUT", size)
    assert received["body"] == body.read_bytes()[:4096].decode()


def test_a_redirect_to_https_loses_no_upload(edge_with_tls: Edge, tmp_path: Path) -> None:
    """To HTTPS_PORT, whatever the port of the request; method and body stay the same."""
    answer = ask(edge_with_tls.wire("web"), request("/a%2Fb?c=d&e", host="localhost:1234", method="POST"))
    assert answer
    assert (answer.status, answer.headers["Location"]) == (
        308,
        f"https://localhost:{edge_with_tls.ports['tls']}/a%2Fb?c=d&e",
    )
    body = tmp_path / "body"
    body.write_bytes(b"x" * 100_000)
    plain = f"http://localhost:{edge_with_tls.ports['web']}/api/x"
    command = ["curl", "-sSkL", "--noproxy", "*", "--max-time", "60", "-4", "-T", str(body), plain]
    done = subprocess.run(command, capture_output=True, check=True, timeout=90)
    received = json.loads(done.stdout)
    assert (received["method"], received["length"], received["environ"]["wsgi.url_scheme"]) == ("PUT", 100_000, "https")


def test_plain_http_on_a_tls_port_is_redirected_to_https(edge_with_tls: Edge) -> None:
    for server in ("tls", "gunicorn"):
        port = edge_with_tls.ports[server]
        answer = ask(edge_with_tls.wire(server), request("/a?b", host=f"localhost:{port}"))
        assert answer
        assert (answer.status, answer.headers["Location"]) == (308, f"https://localhost:{port}/a?b")
        assert ask(edge_with_tls.wire(server), request("/a?b", host="evil.example")) is None


def test_an_unknown_host_name_gets_no_response_over_tls(edge_with_tls: Edge) -> None:
    for server in SERVERS:
        assert ask(edge_with_tls.tls(server), request("/", host="evil.example")) is None
    assert ask(edge_with_tls.wire("web"), request("/", host="evil.example")) is None
    assert curl(edge_with_tls, "/x", "--http2", host="evil.example").stdout == b""
