"""The way back: status line, fields and chunks as bytes (RFC 9110, section 6; RFC 9112, sections 4 to 7).

What an application gives is checked here, once, as the bytes that would go out: a value with a line break
in it would otherwise become a header of its own.
"""

import re
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from wsgiserver.errors import ApplicationError, Refusal
from wsgiserver.http1.grammar import FIELD_LINE, TOKEN
from wsgiserver.http1.head import Names

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_NAME = re.compile(TOKEN)
_RESPONSE_HEAD = re.compile(rf"HTTP/1\.1 [2-5][0-9]{{2}} [\t\x20-\x7e\x80-\xff]*+\r\n(?:{FIELD_LINE})*+")
# RFC 9110, section 7.6.1: the connection is the server's own affair (PEP 3333, "Other HTTP Features").
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

Headers = Sequence[tuple[str, str]]


class _ResponseNames(Names):
    """Field name as spelled -> lower case, for those an application may send; raises for all others."""

    def derive(self, name: str) -> str:
        if not _NAME.fullmatch(name):  # "A: b" would make a line, but not one of that name
            raise ApplicationError(f"not a header name: {name!r}")
        lower = name.lower()
        if lower in _HOP_BY_HOP:
            raise ApplicationError(f"hop-by-hop header in the response: {name!r}")
        return lower


_NAMES: Final = _ResponseNames()


@lru_cache(maxsize=2)
def date_line(second: int) -> str:
    """Format a Date field line (RFC 9110, section 6.6.1); `second` counts from 1970."""
    return f"Date: {formatdate(second, usegmt=True)}\r\n"


def field_names(headers: Headers) -> frozenset[str]:
    """Return the lower-case names; raises ApplicationError for what is not a pair of strings, or hop-by-hop."""
    try:
        return frozenset([_NAMES[name] for name, _ in headers])
    except (TypeError, ValueError) as error:
        raise ApplicationError(f"response headers are not pairs of strings: {headers!r}") from error


def encode_head(status: str, headers: Headers, extra: str) -> bytes:
    """Return the head up to and including its empty line. `extra` is field lines of the server's own.

    Raises ApplicationError where status or headers would not be the lines they are meant to be.
    """
    try:
        text = "HTTP/1.1 " + status + "\r\n" + "".join([name + ": " + value + "\r\n" for name, value in headers])
    except TypeError as error:
        raise ApplicationError(f"status or header is not a string: {status!r} {headers!r}") from error
    if not _RESPONSE_HEAD.fullmatch(text) or text.count("\n") != len(headers) + 1:
        raise ApplicationError(f"status or header cannot be sent as it is: {status!r} {headers!r}")
    return (text + extra + "\r\n").encode("latin-1")


def encode_hints(headers: Headers) -> bytes:
    """Return an interim 103 (RFC 8297), its fields checked as those of any answer. Raises ApplicationError."""
    if "content-length" in field_names(headers):  # RFC 9110, section 8.6: not with 1xx
        raise ApplicationError("Content-Length in early hints")
    return encode_head("200 Early Hints", headers, "").replace(b"200", b"103", 1)


def encode_chunk(data: bytes) -> bytes:
    """Frame a non-empty piece of body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def plain_answer(status: int, phrase: str, message: str, second: int, method: str = "") -> bytes:
    """Return a whole answer of the server's own to a request by `method`, after which the connection closes."""
    body = f"{message}\n".encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n{date_line(second)}Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + (body if method != "HEAD" else b"")


def refusal_answer(refusal: Refusal, second: int, method: str = "") -> bytes:
    """Return what tells a client that, and why, its request was not taken."""
    return plain_answer(refusal.status, refusal.status.phrase, f"{refusal.name}: {refusal.detail}", second, method)
