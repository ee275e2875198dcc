"""Forwarded headers: nginx accepts them only from a trusted proxy."""

import pytest

from tests.stack.boundary import SERVERS, echoed
from tests.stack.echo import Edge, ask, request

# Fields -> address, scheme and port of the client. None: the address of the peer.
PROXIED: dict[str, tuple[list[str], tuple[str | None, str, str]]] = {
    "an address": (["X-Forwarded-For: 203.0.113.9"], ("203.0.113.9", "http", "80")),
    "https": (["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"], ("203.0.113.9", "https", "443")),
    "the last one counts": (["X-Forwarded-For: 198.51.100.1, 203.0.113.9"], ("203.0.113.9", "http", "80")),
    "past trusted ones": (["X-Forwarded-For: 203.0.113.9, 10.9.1.2"], ("203.0.113.9", "http", "80")),
    "two lines": (["X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9"], ("203.0.113.9", "http", "80")),
    "IPv6, past a trusted one": (["X-Forwarded-For: 2001:db9::1, 2001:db8::2"], ("2001:db9::1", "http", "80")),
    "with a port": (["X-Forwarded-For: 203.0.113.9:4711"], ("203.0.113.9", "http", "80")),
    "no address": (["X-Forwarded-For: unknown"], (None, "http", "80")),
    "nothing": ([], (None, "http", "80")),
    "https twice": (["X-Forwarded-Proto: https, https"], (None, "https", "443")),
    "https twice, without a blank": (["X-Forwarded-Proto: https,https"], (None, "https", "443")),
    "https in two lines": (["X-Forwarded-Proto: https", "X-Forwarded-Proto: https"], (None, "https", "443")),
    "https in capitals, with blanks": (["X-Forwarded-Proto: HTTP ,\tHTTPS "], (None, "https", "443")),
    "the last scheme counts": (["X-Forwarded-Proto: https, http"], (None, "http", "80")),
    "a last scheme that is none": (["X-Forwarded-Proto: https, gopher"], (None, "http", "80")),
    "a last scheme that is empty": (["X-Forwarded-Proto: https,"], (None, "http", "80")),
    "https and more": (["X-Forwarded-Proto: httpsx"], (None, "http", "80")),
    "brackets and a port": (["X-Forwarded-For: [2001:db9::1]:4711"], ("2001:db9::1", "http", "80")),
    "another scheme": (["X-Forwarded-Proto: gopher"], (None, "http", "80")),
    "other headers": (["X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9;proto=https"], (None, "http", "80")),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", PROXIED)
def test_forwarded_headers_of_a_trusted_proxy_are_believed(
    edge_behind_proxies: Edge, gateway: str, case: str, server: str
) -> None:
    fields, (address, scheme, port) = PROXIED[case]
    environ = echoed(ask(edge_behind_proxies.wire(server), request("/x", *fields)))["environ"]
    assert environ["HTTP_X_FORWARDED_FOR"] == (address or gateway)
    assert (environ["wsgi.url_scheme"], environ["HTTP_X_FORWARDED_PORT"]) == (scheme, port)
    if server == "web":
        assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == (address or gateway, port)


@pytest.mark.parametrize("case", PROXIED)
def test_forwarded_headers_of_an_unknown_proxy_are_ignored(edge_for_any_host: Edge, gateway: str, case: str) -> None:
    environ = echoed(ask(edge_for_any_host.wire("web"), request("/x", *PROXIED[case][0])))["environ"]
    assert (environ["REMOTE_ADDR"], environ["HTTP_X_FORWARDED_FOR"]) == (gateway, gateway)
    assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == ("http", "80")
