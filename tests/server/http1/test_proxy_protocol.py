"""The PROXY protocol: each header in one piece, byte by byte and before a request; and invalid headers."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiserver.errors import Refusal
from wsgiserver.http1.proxy_protocol import MAX_BINARY, MAX_TEXT, Source, parse

FOLLOWING = b"GET / HTTP/1.1\r\n"
INVALID = "proxy-header-invalid"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def outcome(data: bytes) -> Source | str | None:
    try:
        return parse(data)
    except Refusal as refusal:
        return refusal.name


def check(header: bytes, client: tuple[str, int] | None, *, tls: bool = False) -> None:
    expected = Source(len(header), client, tls)
    assert outcome(header) == expected
    assert outcome(header + FOLLOWING) == expected
    for length in range(len(header)):
        assert outcome(header[:length]) is None, length


def refuse(data: bytes) -> None:
    """An invalid header is refused at any split, at the latest at its end."""
    assert outcome(data) == INVALID
    assert outcome(data + FOLLOWING) == INVALID
    for length in range(len(data)):
        assert outcome(data[:length]) in {None, INVALID}, length


# --- Version 1 --------------------------------------------------------------------------------------------------

LONGEST = "ffff:" * 7 + "ffff"


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443", ("192.0.2.1", 4711)),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535", ("255.255.255.255", 65535)),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0", ("0.0.0.0", 0)),
        ("PROXY TCP6 2001:DB8::1 ::1 4711 443", ("2001:db8::1", 4711)),
        (f"PROXY TCP6 {LONGEST} {LONGEST} 65535 65535", (LONGEST, 65535)),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2", (str(ipaddress.ip_address("::ffff:192.0.2.1")), 1)),
        ("PROXY UNKNOWN", None),
        ("PROXY UNKNOWN ", None),
        (f"PROXY UNKNOWN {LONGEST} {LONGEST} 65535 65535", None),
        ("PROXY UNKNOWN whatever \x00\xff it says", None),
    ],
)
def test_a_proxy_header_of_version_1_names_the_client(line: str, client: tuple[str, int] | None) -> None:
    check(line.encode("latin-1") + b"\r\n", client)


@pytest.mark.parametrize(
    "beginning",
    [
        "G",
        "PROXX",
        "PROXY\t",
        "PROXY \r",
        "PROXY \n",
        "PROXY U\r",
        "PROXY TCP5",
        "PROXY TCP4\r",
        "PROXY TCP4  ",
        "PROXY TCP4 x",
        "PROXY TCP4 192.0.2.1\r",
        "PROXY TCP4 192.0.2.1 x",
        "PROXY TCP4 192.0.2.1 198.51.100.1 x",
        "PROXY TCP4 192.0.2.1 198.51.100.1 00",
        "PROXY TCP4 192.0.2.1 198.51.100.1 123456",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 ",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\rx",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWNX",
        "PROXY UNKNOWN x\n",
        "PROXY UNKNOWN x\ry",
    ],
)
def test_a_proxy_header_is_refused_at_its_first_wrong_byte(beginning: str) -> None:
    refuse(beginning.encode())
    assert outcome(beginning[:-1].encode()) is None, "without the last byte it could still become valid"


@pytest.mark.parametrize(
    "line",
    [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 1\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY\tTCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        " PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 ::1 ::1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 ::1 4711 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.x 4711 443\r\n",
        "PROXY TCP4 client 198.51.100.1 4711 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
        "PROXY TCP6 [::1] ::1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 04711 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 http 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 \xb2 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\nGET / HTTP/1.1\r\n",
        "PROXY UNKNOWN \n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n",
    ],
)
def test_an_invalid_proxy_header_of_version_1_is_refused(line: str) -> None:
    data = line.encode("latin-1")
    if line == "\r\n":  # this can be the start of the signature of version 2
        data += FOLLOWING
    refuse(data)


def test_the_length_of_a_proxy_header_of_version_1_is_bounded() -> None:
    def line(size: int) -> bytes:
        return b"PROXY UNKNOWN " + b"x" * (size - 16) + b"\r\n"

    check(line(MAX_TEXT), None)
    refuse(line(MAX_TEXT + 1))
    assert outcome(line(MAX_TEXT)[:-1]) is None
    assert outcome(b"PROXY " + b"x" * MAX_TEXT) == INVALID


# --- Version 2 --------------------------------------------------------------------------------------------------

V4 = (
    ipaddress.ip_address("192.0.2.1").packed
    + ipaddress.ip_address("198.51.100.1").packed
    + struct.pack("!HH", 4711, 443)
)
V6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("::1").packed + struct.pack("!HH", 4711, 443)
UNIX = b"/client".ljust(108, b"\0") + b"/server".ljust(108, b"\0")
IPV4, IPV6 = ("192.0.2.1", 4711), ("2001:db8::1", 4711)


def binary(command: int, family: int, block: bytes, *, size: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if size is None else size) + block


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def ssl(flags: int, *inner: bytes) -> bytes:
    return tlv(0x20, struct.pack("!BI", flags, 0) + b"".join(inner))


ALPN, CRC, NOOP = tlv(0x01, b"http/1.1"), tlv(0x03, b"\1\2\3\4"), tlv(0x04, b"")


@pytest.mark.parametrize(
    ("header", "client", "tls"),
    [
        (binary(0x21, 0x11, V4), IPV4, False),
        (binary(0x21, 0x21, V6), IPV6, False),
        (binary(0x21, 0x12, V4), IPV4, False),
        (binary(0x21, 0x31, UNIX), ("", 0), False),
        # the peer itself, whatever the block contains
        (binary(0x20, 0x00, b""), None, False),
        (binary(0x20, 0x11, V4), None, False),
        (binary(0x20, 0xFF, b"whatever"), None, False),
        (binary(0x21, 0x00, b""), None, False),
        (binary(0x21, 0x00, b"whatever"), None, False),
        # TLVs
        (binary(0x21, 0x11, V4 + ALPN + CRC + NOOP), IPV4, False),
        (binary(0x21, 0x11, V4 + tlv(0xEA, b"x" * 100)), IPV4, False),
        (binary(0x21, 0x11, V4 + ssl(0x01)), IPV4, True),
        (binary(0x21, 0x21, V6 + ALPN + ssl(0x07, tlv(0x21, b"TLSv1.3")) + NOOP), IPV6, True),
        (binary(0x21, 0x31, UNIX + ssl(0x01)), ("", 0), True),
        (binary(0x21, 0x11, V4 + ssl(0x00)), IPV4, False),
        (binary(0x21, 0x11, V4 + ssl(0x06)), IPV4, False),
        (binary(0x21, 0x11, V4 + tlv(0xEA, ssl(0x01))), IPV4, False),  # within another TLV
    ],
)
def test_a_proxy_header_of_version_2_names_the_client(
    header: bytes, client: tuple[str, int] | None, *, tls: bool
) -> None:
    check(header, client, tls=tls)


@pytest.mark.parametrize(
    "header",
    [
        binary(0x11, 0x11, V4),  # version 1
        binary(0x31, 0x11, V4),
        binary(0x22, 0x11, V4),  # neither LOCAL nor PROXY
        binary(0x2F, 0x11, V4),
        binary(0x21, 0x41, V4),  # unknown family
        binary(0x21, 0x01, V4),
        binary(0x21, 0x10, V4),  # unknown transport
        binary(0x21, 0x13, V4),
        binary(0x21, 0x11, V4[:-1]),  # too short for the addresses
        binary(0x21, 0x11, b""),
        binary(0x21, 0x21, V4),
        binary(0x21, 0x31, UNIX[:-1]),
        binary(0x21, 0x11, V4 + b"\x01"),  # truncated TLVs
        binary(0x21, 0x11, V4 + b"\x01\x00"),
        binary(0x21, 0x11, V4 + b"\x01\x00\x01"),
        binary(0x21, 0x11, V4 + ALPN[:-1]),
        binary(0x21, 0x11, V4 + tlv(0x20, b"")),
        binary(0x21, 0x11, V4 + tlv(0x20, b"\1\0\0\0")),
        SIGNATURE[:-1] + b"\r" + binary(0x21, 0x11, V4)[12:],
    ],
)
def test_an_invalid_proxy_header_of_version_2_is_refused(header: bytes) -> None:
    refuse(header)


def test_the_length_of_a_proxy_header_of_version_2_is_bounded() -> None:
    def header(size: int) -> bytes:
        return binary(0x21, 0x11, V4 + tlv(0xEA, b"x" * (size - 15)))

    expected = Source(16 + MAX_BINARY, IPV4, tls=False)
    assert outcome(header(MAX_BINARY) + FOLLOWING) == expected
    assert outcome(header(MAX_BINARY)[:-1]) is None
    assert outcome(header(MAX_BINARY + 1)[:16]) == INVALID, "a header above the limit is refused before its end"
    assert outcome(binary(0x20, 0x00, b"", size=65535)) == INVALID


@given(data=st.binary(max_size=60), start=st.sampled_from([b"", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"]))
def test_random_bytes_are_read_as_a_proxy_header_or_refused(data: bytes, start: bytes) -> None:
    result = outcome(start + data)
    if isinstance(result, Source):
        assert result.length <= len(start + data)
        assert outcome((start + data)[: result.length]) == result
    else:
        assert result in {None, INVALID}
