"""The host names that nginx answers for, and requests with another host or none."""

import pytest

from tests.stack.boundary import SERVERS, check_error, echoed
from tests.stack.echo import Edge, ask, request

# The lines of a request -> the Host that the application sees, or "closed", or the status of the refusal.
HOSTS: dict[str, str] = {
    "GET / HTTP/1.1|Host: localhost": "localhost",
    "GET / HTTP/1.1|Host: localhost:8080": "localhost:8080",
    "GET / HTTP/1.1|Host: LocalHost:81": "localhost:81",
    "GET / HTTP/1.1|Host: localhost.": "localhost",
    "GET / HTTP/1.1|Host: 127.0.0.1:1": "127.0.0.1:1",
    "GET / HTTP/1.1|Host: [::1]:8080": "[::1]:8080",
    "GET / HTTP/1.1|Host: example.com": "example.com",
    "GET / HTTP/1.1|Host: a.b.example.com": "a.b.example.com",
    "GET / HTTP/1.0|Host: localhost": "localhost",
    # The authority of the target overrides Host.
    "GET http://localhost:77/ HTTP/1.1|Host: evil.example": "localhost:77",
    "GET http://localhost HTTP/1.1|Host: evil.example": "localhost",
    "GET http://localhost?x=y HTTP/1.1|Host: evil.example": "localhost",
    "GET http://evil.example/ HTTP/1.1|Host: localhost": "closed",
    "GET http://localhost/ HTTP/1.1": "400",
    # Unknown.
    "GET / HTTP/1.1|Host: evil.example": "closed",
    "GET / HTTP/1.1|Host: 127.0.0.2": "closed",
    "GET / HTTP/1.1|Host: [::2]": "closed",
    "GET / HTTP/1.1|Host: localhost.evil.example": "closed",
    "GET / HTTP/1.1|Host: notexample.com": "closed",
    "GET / HTTP/1.1|Host: example.com.evil.example": "closed",
    "GET /_error/json HTTP/1.1|Host: evil.example": "closed",
    "GET /_nobody HTTP/1.1|Host: evil.example": "closed",
    "TRACE / HTTP/1.1|Host: evil.example": "closed",
    # None.
    "GET / HTTP/1.0": "closed",
    "GET / HTTP/1.1": "400",
    "GET / HTTP/1.1|Host:": "400",
    "GET /": "closed",
    # Malformed, so that the host is unknown.
    "GET / HTTP/1.1|Host: localhost:99999": "400",
    "GET / HTTP/1.1|Host: localhost:80:80": "400",
    "GET / HTTP/1.1|Host: localhost:http": "400",
    "GET / HTTP/1.1|Host: user@localhost": "400",
    "GET / HTTP/1.1|Host: localhost/path": "400",
    "GET / HTTP/1.1|Host: localhost evil.example": "400",
    "GET / HTTP/1.1|Host: localhost, evil.example": "400",
    "GET / HTTP/1.1|Host: local\x00host": "400",
    "GET / HTTP/1.1|Host: local\x01host": "400",
    "GET / HTTP/2.0|Host: localhost": "505",
    "PRI * HTTP/2.0": "400",
    "\x16\x03\x01\x02\x00": "400",
    # Malformed, but the host is known.
    "GET / HTTP/1.1|Host: localhost|Host: localhost": "400",
    "GET / HTTP/1.1|Host: localhost|Host: evil.example": "400",
}
REFUSALS = {"400": "bad-request", "505": "version-unsupported"}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("lines", HOSTS, ids=repr)
def test_only_requests_for_the_names_of_the_site_are_answered(edge: Edge, lines: str, server: str) -> None:
    data = "\r\n".join([*lines.split("|"), "", ""]).encode("latin-1")
    answer = ask(edge.wire(server), data)
    if HOSTS[lines] == "closed":
        assert answer is None
    elif HOSTS[lines] in REFUSALS:
        check_error(answer, int(HOSTS[lines]), REFUSALS[HOSTS[lines]])
    else:
        received = echoed(answer)
        assert received["environ"]["HTTP_HOST"] == HOSTS[lines]
        assert received["target"].startswith("/")


def test_an_asterisk_in_allowed_hosts_accepts_all_names(edge_for_any_host: Edge) -> None:
    for host in ("evil.example", "192.0.2.7:8080", "[2001:db8::1]", "a.b.c.d.e", "x"):
        assert echoed(ask(edge_for_any_host.wire("web"), request("/", host=host)))["environ"]["HTTP_HOST"] == host
    assert ask(edge_for_any_host.wire("web"), b"GET / HTTP/1.0\r\n\r\n") is None
