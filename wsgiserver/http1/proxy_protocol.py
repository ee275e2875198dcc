r"""The PROXY protocol, versions 1 and 2: how a proxy that passes bytes on names their client.

    PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n          version 1, a line
    \r\n\r\n\0\r\nQUIT\n | 0x21 | 0x11 | length | addresses | TLVs          version 2, binary

Bytes in, values out; it knows neither sockets nor HTTP. Which proxies are trusted is decided elsewhere.
Source: HAProxy, "The PROXY protocol", sections 2.1 (text) and 2.2 (binary).
"""

import re
from ipaddress import ip_address
from typing import Final, NamedTuple

from wsgiserver.errors import Refusal

MAX_TEXT: Final = 107  # bytes, CRLF included
MAX_BINARY: Final = 8 * 1024  # bytes of addresses and TLVs: a client's certificate fits, if it is among them

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_SIZE: Final = 16  # bytes: signature, version and command, family and transport, length
_ADDRESS: Final = rb"([0-9A-Fa-f:.]++) "
_ADDRESS_BEGUN: Final = rb"[0-9A-Fa-f:.]++"
_PORT: Final = rb"(0|[1-9][0-9]{0,4}+)"
_TEXT: Final = re.compile(
    rb"PROXY (?:TCP([46]) " + _ADDRESS + _ADDRESS + _PORT + b" " + _PORT + rb"|UNKNOWN(?: [^\r\n]*+)?)\r\n"
)
# What can still become such a line, from behind "PROXY " on.
_ENDS_BEGUN: Final = (
    rb"(?:"
    + _ADDRESS_BEGUN
    + rb"(?: (?:"
    + _ADDRESS_BEGUN
    + rb"(?: (?:"
    + _PORT
    + rb"(?: (?:"
    + _PORT
    + rb"\r?)?)?)?)?)?)?)?"
)
_TEXT_BEGUN: Final = re.compile(
    rb"(?:T(?:C(?:P(?:[46](?: " + _ENDS_BEGUN + rb")?)?)?)?|U(?:N(?:K(?:N(?:O(?:W(?:N(?: [^\r\n]*+)?\r?)?)?)?)?)?)?)?"
)
_ADDRESS_SIZES: Final = {1: 12, 2: 36, 3: 216}  # bytes of both ends, by family: IPv4, IPv6, unix
_UNIX_FAMILY: Final = 3
_TRANSPORTS: Final = (1, 2)  # stream, datagram
_TYPE_SSL: Final = 0x20
_SSL_SIZE: Final = 3 + 5  # bytes, at least: type and length, flags, result of the verification
_CLIENT_SSL: Final = 0x01


class Source(NamedTuple):
    """Where a connection comes from."""

    length: int  # of the header, in bytes
    client: tuple[str, int] | None  # address and port, ("", 0) for a unix socket; None where it is the peer itself
    tls: bool


def parse(data: bytes) -> Source | None:
    """Parse the beginning of a connection; None while more of it is needed.

    Raises Refusal("proxy-header-invalid") as soon as it cannot be a header.
    """
    try:
        if _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
            return _binary(data) if len(data) >= _FIXED_SIZE else None
        return _text(data)
    except ValueError:
        raise Refusal("proxy-header-invalid") from None


def _text(data: bytes) -> Source | None:
    match = _TEXT.match(data, 0, MAX_TEXT)
    if match is None:
        if b"PROXY ".startswith(data[:6]) and len(data) < MAX_TEXT and _TEXT_BEGUN.fullmatch(data, 6):
            return None
        raise ValueError("no such line")
    version, client, server, client_port, server_port = match.groups()
    if version is None:
        return Source(match.end(), None, tls=False)
    address, other = (ip_address(each.decode("ascii")) for each in (client, server))
    if {address.version, other.version} != {int(version)} or max(int(client_port), int(server_port)) >= 1 << 16:
        raise ValueError("not the addresses and ports of that version")
    return Source(match.end(), (str(address), int(client_port)), tls=False)


def _binary(data: bytes) -> Source | None:
    version, command = divmod(data[12], 16)
    family, transport = divmod(data[13], 16)
    size = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or size > MAX_BINARY:  # noqa: PLR2004 - the version this is about
        raise ValueError("not this version, no such command, or too large")
    length = _FIXED_SIZE + size
    if len(data) < length:
        return None
    if not command or not data[13]:  # LOCAL, as for a health check; or of no family
        return Source(length, None, tls=False)
    addresses = _ADDRESS_SIZES.get(family, MAX_BINARY + 1)
    if transport not in _TRANSPORTS or addresses > size:
        raise ValueError("no such transport or family, or no room for its addresses")
    tls = _is_tls(data[_FIXED_SIZE + addresses : length])
    if family == _UNIX_FAMILY:
        return Source(length, ("", 0), tls)
    width = (addresses - 4) // 2  # of one address; two ports follow the two
    address = ip_address(data[_FIXED_SIZE : _FIXED_SIZE + width])
    port = int.from_bytes(data[_FIXED_SIZE + 2 * width :][:2], "big")
    return Source(length, (str(address), port), tls)


def _is_tls(tlvs: bytes) -> bool:
    """Read the list of type, length (two bytes) and value; return whether the client speaks TLS with the proxy."""
    tls = False
    while tlvs:
        end = 3 + int.from_bytes(tlvs[1:3], "big")
        if len(tlvs) < end or (tlvs[0] == _TYPE_SSL and end < _SSL_SIZE):
            raise ValueError("cut off")
        if tlvs[0] == _TYPE_SSL:
            tls = bool(tlvs[3] & _CLIENT_SSL)
        tlvs = tlvs[end:]
    return tls
