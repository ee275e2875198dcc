"""A request as the `environ` of PEP 3333, and whom to believe about the client.

Nothing of the process's own environment gets in: it holds secrets. Names with an underscore are dropped,
since CGI could not tell `X_Forwarded_For` from `X-Forwarded-For`, and so is `Proxy`, which CGI programs take
for HTTP_PROXY (httpoxy, CVE-2016-5385). What a client says of itself in `X-Forwarded-*` is dropped unless the
peer is a trusted proxy.
"""

import ipaddress
import itertools
import re
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, BinaryIO, Final, TextIO
from urllib.parse import unquote_to_bytes

from wsgiserver.filewrapper import FileWrapper
from wsgiserver.http1.head import Fields, Head, Names, is_host

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REMEMBERED: Final = 1024  # addresses, and values of X-Forwarded-For, about which the answer is known
_LONGEST_REMEMBERED: Final = 256  # characters
# An element of X-Forwarded-For: an address, perhaps in brackets, perhaps with a port.
_NODE: Final = re.compile(r"[ \t]*+(?:\[([0-9A-Fa-f:.]++)\]|([0-9.]++|[0-9A-Fa-f:.]++))(?::([0-9]{1,5}))?[ \t]*+")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")

# What only a proxy may say of a client; x-forwarded-anything, because every framework believes another one.
_FORWARDED: Final = re.compile(r"forwarded|x-forwarded-.*|x-real-ip", re.DOTALL)
_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


class _CgiNames(Names):
    """Lower-case field name -> environ key (RFC 3875, section 4.1.18), or "" for one that must not get in."""

    def __init__(self, *, trusted: bool) -> None:
        super().__init__(_SPECIAL)
        self._trusted = trusted

    def derive(self, name: str) -> str:
        dropped = "_" in name or (not self._trusted and _FORWARDED.fullmatch(name))
        return "" if dropped else "HTTP_" + name.upper().replace("-", "_")


_SPECIAL: Final = {
    "content-type": "CONTENT_TYPE",
    "content-length": "",  # set from what was received, not from what was said
    "transfer-encoding": "",  # undone: the application sees a body with a length
    "trailer": "",  # its fields are offered apart
    "expect": "",  # answered
    "proxy": "",
}
_FROM_PROXY: Final = _CgiNames(trusted=True)
_FROM_STRANGER: Final = _CgiNames(trusted=False)


class Trust:
    """The proxies whose word on a client counts: "*", or addresses and networks, as in `10.0.0.0/8,::1`.

    A peer on a unix socket (no address) is trusted as soon as any is: only who may open the file gets there.
    Raises ValueError for what is not an address.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [name.strip() for name in allowed if name.strip()]
        self.everyone = "*" in names
        self.networks: list[Network] = [ipaddress.ip_network(name, strict=False) for name in names if name != "*"]

        self.covers = lru_cache(_REMEMBERED)(self._covers)
        self.clients = lru_cache(_REMEMBERED)(self._client)

    def client(self, forwarded: str) -> tuple[str, str]:
        """Say whose request trusted proxies pass on, by their X-Forwarded-For: address and port, "" for unknown.

        Each proxy appends whom it has it from, so it is read from the right, past the proxies that are trusted. What
        is left of the first one that is not may be anybody's invention, as may be all with "*" but the last. An element
        that is no address ends it, too: with the proxy that has passed it on.
        """
        return self.clients(forwarded) if len(forwarded) < _LONGEST_REMEMBERED else self._client(forwarded)

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
            if self.everyone or not self.covers(address):
                break
        return client

    def _covers(self, address: str) -> bool:
        if self.everyone:
            return True
        if not address:
            return bool(self.networks)
        peer = ipaddress.ip_address(address.partition("%")[0])
        mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
        return any((mapped or peer) in network for network in self.networks)


class RequestIds:
    """What a request is called in every log: what the client or the proxy called it, where that is fit to be
    repeated, else a name of our own, different in every process.
    """

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count()

    def of(self, head: Head | None) -> str:
        sent = head.fields.get("x-request-id", "") if head is not None else ""
        return sent if sent and _ID.fullmatch(sent) else f"{self._prefix}{next(self._numbers):016x}"


def template(name: str, port: int, errors: TextIO, *, threads: bool, processes: bool) -> dict[str, Any]:
    """Return what is the same in every environ of a listening socket (PEP 3333, "environ Variables")."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": name,
        "SERVER_PORT": str(port),
        "SERVER_SOFTWARE": "wsgiserver",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": errors,
        "wsgi.multithread": threads,
        "wsgi.multiprocess": processes,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,  # reading to the end of wsgi.input is safe
    }


def build(base: dict[str, Any], head: Head, client: tuple[str, int], trust: Trust | None) -> dict[str, Any]:
    """Return the environ of one request but for its body. `client` is the peer's address and port; there is `trust`
    only if it covers that peer.
    """
    method, target, minor, fields = head
    path, _, query = target.partition("?")
    if path == "*":  # OPTIONS of the server as a whole; a path begins with a slash (RFC 3875, section 4.1.5)
        path = ""
    address, port = client
    return {
        **base,
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") if "%" in path else path,
        "QUERY_STRING": query,
        "RAW_URI": target,
        "SERVER_PROTOCOL": "HTTP/1.1" if minor else "HTTP/1.0",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": str(port),
        **((fields.derived and fields.derived.get(trust)) or _derive(fields, trust)),
    }


def _derive(fields: Fields, trust: Trust | None) -> dict[str, str]:
    """Translate a field section; kept with it, if it is kept."""
    keys = _FROM_PROXY if trust else _FROM_STRANGER
    derived = {key: value for name, value in fields.items() if (key := keys[name])}
    if trust:
        _believe(derived, fields, trust)
    if fields.derived is not None:
        fields.derived[trust] = derived
    return derived


def add_body(environ: dict[str, Any], body: BinaryIO, size: int, trailers: dict[str, str]) -> None:
    """Add the body and its true length, however it was framed: the reason this server exists."""
    environ["wsgi.input"] = body
    environ["CONTENT_LENGTH"] = str(size)
    if trailers:
        environ["wsgiserver.trailers"] = trailers


def _believe(environ: dict[str, str], fields: dict[str, str], trust: Trust) -> None:
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
