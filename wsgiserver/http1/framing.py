"""Where a request ends, and whether another may follow: every rule against smuggling, in one place.

Two parties that disagree on the length of a message can be made to disagree on whose request comes next
(RFC 9112, section 11.2). So this module refuses what the RFC allows a server to tolerate: a length beside a transfer
coding, a repeated length, a coding in HTTP/1.0.
"""

from typing import Final

from wsgiserver.errors import Refusal
from wsgiserver.http1.head import Head

CHUNKED: Final = -1  # what body_length() returns for a body in the chunked coding
_MAX_LENGTH_DIGITS: Final = 18  # below 2**63, what files and sockets count with


def body_length(head: Head) -> int:
    """Return how many bytes of body follow the head, or CHUNKED (RFC 9112, section 6.3). Raises Refusal."""
    coding = head.fields.get("transfer-encoding")
    length = head.fields.get("content-length")
    if coding is not None:
        return _chunked(head, coding, length)
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS):
        raise Refusal("content-length-invalid")
    return int(length)


def _chunked(head: Head, coding: str, length: str | None) -> int:
    if length is not None:
        raise Refusal("length-ambiguous")
    if not head.minor:
        raise Refusal("transfer-encoding-invalid")
    codings = tokens(coding)
    if codings == ["chunked"]:
        return CHUNKED
    if codings.count("chunked") == 1 and codings[-1] == "chunked":
        raise Refusal("transfer-encoding-unknown")
    raise Refusal("transfer-encoding-invalid")  # nothing says where such a body ends (section 6.3, item 4)


def keeps_alive(head: Head) -> bool:
    """Return whether the client wants the connection to stay open (RFC 9112, section 9.3)."""
    connection = head.fields.get("connection")
    if connection is None:
        return head.minor > 0
    options = tokens(connection)
    if "close" in options:
        return False
    return head.minor > 0 or "keep-alive" in options


def expects_continue(head: Head) -> bool:
    """Return whether the client waits for 100 Continue (RFC 9110, section 10.1.1). Raises Refusal."""
    expectation = head.fields.get("expect")
    if expectation is None or not head.minor:
        return False
    if expectation.lower() != "100-continue":
        raise Refusal("expectation-unknown")
    return True


def tokens(value: str) -> list[str]:
    """Split a comma-separated field value into lower-case elements (RFC 9110, section 5.6.1)."""
    return [element.strip(" \t").lower() for element in value.split(",")]
