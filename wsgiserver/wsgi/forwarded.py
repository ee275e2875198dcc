"""Which proxies are believed, and what they say of a client in `X-Forwarded-*`. A security boundary.

What a client says of itself is dropped; what a trusted peer says replaces what the socket says: the address in the
logs and in REMOTE_ADDR, scheme, host and port. It knows addresses and field values, and neither sockets nor requests.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from wsgiserver.http1.fields import is_host

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The bounds of what is remembered (docs/adr/0007): addresses, and values of X-Forwarded-For up to a length.
MAX_CACHED_ADDRESSES: Final = 1024
MAX_CACHED_CHAINS: Final = 1024
MAX_CACHED_CHAIN: Final = 256  # characters
# An element of X-Forwarded-For: an address, perhaps in brackets, perhaps with a port.
_NODE: Final = re.compile(r"[ \t]*+(?:\[([0-9A-Fa-f:.]++)\]|([0-9.]++|[0-9A-Fa-f:.]++))(?::([0-9]{1,5}))?[ \t]*+")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")

# What only a proxy may say of a client; x-forwarded-anything, because every framework believes another one.
_FORWARDED: Final = re.compile(r"forwarded|x-forwarded-.*|x-real-ip", re.DOTALL)


class Trust:
    """The proxies whose word on a client counts: "*", or addresses and networks, as in `10.0.0.0/8,::1`.

    A peer on a unix socket (no address) is trusted as soon as any is: only who may open the file gets there.
    Raises ValueError for what is not an address.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [name.strip() for name in allowed if name.strip()]
        self.everyone = "*" in names
        self.networks: list[Network] = [_network(name) for name in names if name != "*"]
        self.trusts = lru_cache(MAX_CACHED_ADDRESSES)(self._trusts)
        self.cached_client = lru_cache(MAX_CACHED_CHAINS)(self._client)

    def client(self, forwarded: str) -> tuple[str, str]:
        """Say whose request trusted proxies pass on, by their X-Forwarded-For: address and port, "" for unknown.

        Each proxy appends whom it has it from, so it is read from the right, past the proxies that are trusted. What
        is left of the first one that is not may be anybody's invention, as may be all with "*" but the last. An element
        that is no address ends it, too: with the proxy that has passed it on.
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
    """Say whether a field, by its lower-case name, is one that only a proxy may send."""
    return _FORWARDED.fullmatch(name) is not None


def apply_forwarded(environ: dict[str, str], fields: dict[str, str], trust: Trust) -> None:
    """Take from a trusted proxy who the client is, and what it asked for: the last element is the proxy's own."""
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
