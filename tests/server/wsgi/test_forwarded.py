"""Trusted proxies, and the values that the server takes from their headers."""

import pytest

from tests.server.wsgi.test_environ import check, environ
from wsgiserver.wsgi.forwarded import MAX_CACHED_ADDRESSES, MAX_CACHED_CHAINS, Trust

PROXIES = Trust(["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"])
TRUST_ALL = Trust("*")

FORWARDED = (
    "X-Forwarded-For: 1.1.1.1, 2.2.2.2|X-Forwarded-Proto: https|X-Forwarded-Host: evil|X-Forwarded-Port: 1"
    "|X-Forwarded-Prefix: /p|X-Forwarded-Server: s|X-Forwarded-Ssl: on|X-Real-IP: 3.3.3.3|Forwarded: for=4.4.4.4"
    "|X-Forwarded-Scheme: https|X-Forwarded-Protocol: ssl|X-Forwarded-By: b"
)
FORWARDED_KEYS = ["HTTP_" + line.partition(":")[0].upper().replace("-", "_") for line in FORWARDED.split("|")]


def test_forwarded_headers_of_an_untrusted_peer_are_dropped() -> None:
    expected = {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "4711", "wsgi.url_scheme": "http"}
    check("GET /|" + FORWARDED, expected | dict.fromkeys(FORWARDED_KEYS))


def test_forwarded_headers_of_a_trusted_proxy_are_believed() -> None:
    expected = {
        "REMOTE_ADDR": "2.2.2.2",
        "REMOTE_PORT": "",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "evil",
        "SERVER_PORT": "1",
    }
    raw = {key: environ("GET /|" + FORWARDED, PROXIES).get(key) for key in FORWARDED_KEYS}
    assert all(raw.values()), "the original values stay visible"
    check("GET /|" + FORWARDED, expected, PROXIES)


@pytest.mark.parametrize(
    ("fields", "address", "port"),
    [
        ("X-Other: 1", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9", "9.9.9.9", ""),
        ("X-Forwarded-For: 1.1.1.1,9.9.9.9 ", "9.9.9.9", ""),
        ("X-Forwarded-For: 1.1.1.1|X-Forwarded-For: 9.9.9.9", "9.9.9.9", ""),
        ("X-Forwarded-For: ::1", "::1", ""),
        ("X-Forwarded-For: 2001:DB9::A", "2001:DB9::A", ""),
        ("X-Forwarded-For:", "192.0.2.1", "4711"),
        # with a port, as some load balancers send it
        ("X-Forwarded-For: 9.9.9.9:1234", "9.9.9.9", "1234"),
        ("X-Forwarded-For: [::1]:1234", "::1", "1234"),
        ("X-Forwarded-For: [::1]", "::1", ""),
        # past trusted addresses and no further
        ("X-Forwarded-For: 9.9.9.9, 10.1.1.1", "9.9.9.9", ""),
        ("X-Forwarded-For: 1.1.1.1, 9.9.9.9, 10.1.1.1, 10.2.2.2", "9.9.9.9", ""),
        ("X-Forwarded-For: 9.9.9.9, 2001:db8::1, 10.1.1.1:80", "9.9.9.9", ""),
        ("X-Forwarded-For: 9.9.9.9, ::ffff:10.1.1.1", "9.9.9.9", ""),
        ("X-Forwarded-For: 10.0.0.1, 10.0.0.2", "10.0.0.1", ""),  # all are trusted: the client is the farthest
        # up to an invalid address: the client is then the proxy that sent it
        ("X-Forwarded-For: 9.9.9.9, unknown", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9,", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9, unknown, 10.1.1.1", "10.1.1.1", ""),
        ("X-Forwarded-For: 9.9.9.9, , 10.1.1.1", "10.1.1.1", ""),
        ("X-Forwarded-For: 9.9.9.9, <script>", "192.0.2.1", "4711"),
        ("X-Forwarded-For: fe80::1%<script>", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 256.1.1.1", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 09.9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 9.9.9.9:http", "192.0.2.1", "4711"),
        ("X-Forwarded-For: [9.9.9.9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: 1:2:3:4:5:6:7:8:9", "192.0.2.1", "4711"),
        ("X-Forwarded-For: \xb9.9.9.9", "192.0.2.1", "4711"),
        (f"X-Forwarded-For: {'1.1.1.1, ' * 1000}9.9.9.9", "9.9.9.9", ""),
    ],
)
def test_the_client_is_the_last_address_that_is_not_trusted(fields: str, address: str, port: str) -> None:
    for _ in range(2):  # the second time uses the cache
        check("GET /|" + fields, {"REMOTE_ADDR": address, "REMOTE_PORT": port}, PROXIES)


@pytest.mark.parametrize(
    ("value", "address"),
    [("9.9.9.9", "9.9.9.9"), ("1.1.1.1, 9.9.9.9", "9.9.9.9"), ("1.1.1.1, x", "192.0.2.1"), ("1.1.1.1,", "192.0.2.1")],
)
def test_trusting_any_address_believes_only_the_last_forwarded_one(value: str, address: str) -> None:
    check("GET /|X-Forwarded-For: " + value, {"REMOTE_ADDR": address}, TRUST_ALL)


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ("X-Forwarded-Proto: HTTPS", "wsgi.url_scheme", "https"),
        ("X-Forwarded-Proto: http, https", "wsgi.url_scheme", "https"),
        ("X-Forwarded-Proto: https, http", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Proto: https|X-Forwarded-Proto: http", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Proto: javascript", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Proto:", "wsgi.url_scheme", "http"),
        ("X-Forwarded-Host: b.example:8443", "HTTP_HOST", "b.example:8443"),
        ("X-Forwarded-Host: [::1]:80", "HTTP_HOST", "[::1]:80"),
        ("X-Forwarded-Host: evil, b.example", "HTTP_HOST", "b.example"),
        ("X-Forwarded-Host: b/c", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: u@b", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: b.example,", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: b:http", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host: b c", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Host:", "HTTP_HOST", "a:1"),
        ("X-Forwarded-Port: 443", "SERVER_PORT", "443"),
        ("X-Forwarded-Port: 1, 65535", "SERVER_PORT", "65535"),
        ("X-Forwarded-Port: 65536", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: 0", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: 080", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: https", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port: \xb2", "SERVER_PORT", "8000"),
        ("X-Forwarded-Port:", "SERVER_PORT", "8000"),
    ],
)
@pytest.mark.parametrize("trust", [PROXIES, TRUST_ALL])
def test_forwarded_scheme_host_and_port_are_applied_if_they_are_valid(
    fields: str, key: str, value: str, trust: Trust
) -> None:
    check("GET /|" + fields, {key: value}, trust)


def test_the_caches_of_addresses_are_bounded() -> None:
    trust = Trust(["10.0.0.0/8"])
    for n in range(3000):
        trust.client(f"1.1.{n >> 8}.{n & 255}, 10.0.0.1")
        assert not trust.trusts(f"1.1.{n >> 8}.{n & 255}")
        trust.client(f"{'1.1.1.1, ' * 100}2.{n >> 8}.{n & 255}.1")
    for cache in (trust.trusts, trust.cached_client):
        assert cache.cache_info().currsize <= MAX_CACHED_CHAINS == MAX_CACHED_ADDRESSES
    before = trust.cached_client.cache_info().misses
    trust.client("1.1.1.1, " * 1000)
    assert trust.cached_client.cache_info().misses == before, "long values are not cached"


@pytest.mark.parametrize(
    ("allowed", "address", "trusts"),
    [
        ("", "127.0.0.1", False),
        ("*", "127.0.0.1", True),
        ("*", "", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.0/8, ::1", "10.1.2.3", True),
        ("10.0.0.1/8", "10.1.2.3", True),
        ("10.0.0.0/8, ::1", "::1", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),  # an IPv4 peer on a dual-stack socket
        ("10.0.0.0/8", "::ffff:11.1.2.3", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("10.0.0.0/8", "fe80::1%eth0", False),
        ("", "", False),  # a unix socket without trusted proxies
        ("127.0.0.1", "", True),
    ],
)
def test_an_address_is_trusted_if_it_is_allowed(allowed: str, address: str, *, trusts: bool) -> None:
    assert Trust(allowed.split(",")).trusts(address) is trusts


@pytest.mark.parametrize("allowed", ["localhost", "10.0.0.0/33", "10.0.0", "nginx:8000"])
def test_a_trusted_proxy_that_is_not_an_address_is_refused(allowed: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Trust([allowed])
