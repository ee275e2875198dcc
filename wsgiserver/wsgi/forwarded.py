"""Which proxies are trusted, and what they say about a client in `X-Forwarded-*`. This is a security boundary.

What a client claims in these fields is dropped. What a trusted peer says replaces what the socket says: the address in
the logs and in REMOTE_ADDR, the scheme, the host and the port. This module knows addresses and field values, and
neither sockets nor requests.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from wsgiserver.http1.fields import is_host

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The bounds of the caches (docs/adr/0007): addresses, and values of X-Forwarded-For up to a length.
MAX_CACHED_ADDRESSES: Final = 1024
MAX_CACHED_CHAINS: Final = 1024
MAX_CACHED_CHAIN: Final = 256  # characters
# An element of X-Forwarded-For: an address, perhaps in brackets, perhaps with a port.
_NODE: Final = re.compile(r"[ \t]*+(?:\[([0-9A-Fa-f:.]++)\]|([0-9.]++|[0-9A-Fa-f:.]++))(?::([0-9]{1,5}))?[ \t]*+")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")

# The fields that only a proxy may send; all of x-forwarded-*, because every framework trusts another one.
_FORWARDED: Final = re.compile(r"forwarded|x-forwarded-.*|x-real-ip", re.DOTALL)


class Trust:
    """The trusted proxies: "*", or addresses and networks, as in `10.0.0.0/8,::1`.

    A peer on a unix socket has no address. It is trusted if any proxy is, because file permissions decide who may
    connect. Raises ValueError for a name that is not an address.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [name.strip() for name in allowed if name.strip()]
        self.everyone = "*" in names
        self.networks: list[Network] = [_network(name) for name in names if name != "*"]
        self.trusts = lru_cache(MAX_CACHED_ADDRESSES)(self._trusts)
        self.cached_client = lru_cache(MAX_CACHED_CHAINS)(self._client)

    def client(self, forwarded: str) -> tuple[str, str]:
        """Return the client that X-Forwarded-For names: address and port, "" for unknown.

        Each proxy appends the address that it received the request from. So the field is read from the right, past the
        trusted proxies, to the first address that is not trusted. What stands left of that may be invented by the
        client; with "*" only the last element counts. An element that is not an address ends the search, and the
        client is then the proxy that has passed it on.
        """
        return self.cached_client(forwarded) if len(forwarded) < MAX_CACHED_CHAIN else self._client(forwarded)

    def _client(self, forwarded: str) -> tuple[str, str]:
        client = ("", "")
        for element in reversed(forwarded.split(",")):
            match = _NODE.fullmatch(element)
            address = match[1] or match[2] if match else ""
            try:
                ipaddress.ip_address(address)
            except ValueError:
                break
            client = (address, match[3] or "" if match else "")
            if self.everyone or not self.trusts(address):
                break
        return client

    def _trusts(self, address: str) -> bool:
        if self.everyone:
            return True
        if not address:
            return bool(self.networks)
        peer = ipaddress.ip_address(address.partition("%")[0])
        mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
        return any((mapped or peer) in network for network in self.networks)


def _network(name: str) -> Network:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        message = f"{name!r} is not an address or a network; write one such as 10.0.0.1 or 10.0.0.0/8"
        raise ValueError(message) from None


def is_from_proxy(name: str) -> bool:
    """Return whether only a proxy may send a field of this lower-case name."""
    return _FORWARDED.fullmatch(name) is not None


def apply_forwarded(environ: dict[str, str], fields: dict[str, str], trust: Trust) -> None:
    """Set what a trusted proxy says of the client and its request; the proxy itself wrote the last element."""
    address, port = trust.client(fields.get("x-forwarded-for", ""))
    if address:
        environ["REMOTE_ADDR"] = address
        environ["REMOTE_PORT"] = port
    scheme = _last(fields, "x-forwarded-proto").lower()
    if scheme in {"http", "https"}:
        environ["wsgi.url_scheme"] = scheme
    host = _last(fields, "x-forwarded-host")
    if is_host(host):
        environ["HTTP_HOST"] = host
    listening = _last(fields, "x-forwarded-port")
    if _PORT.fullmatch(listening) and int(listening) < 1 << 16:
        environ["SERVER_PORT"] = listening


def _last(fields: dict[str, str], name: str) -> str:
    return fields[name].rpartition(",")[2].strip(" \t") if name in fields else ""
