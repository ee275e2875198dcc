"""The way back: status line, fields and chunks as bytes (RFC 9110, section 6; RFC 9112, sections 4 to 7).

What an application passes is checked here, once, as the bytes that would be sent: a value with a line break would
otherwise become another header. Most responses have the head of an earlier one, apart from date and length, so valid
heads are cached.
"""

import json
import re
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from wsgiserver.errors import ApplicationError, Refusal
from wsgiserver.http1.fields import NameCache
from wsgiserver.http1.grammar import FIELD_LINE, TOKEN

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_NAME = re.compile(TOKEN)
_RESPONSE_HEAD = re.compile(rf"HTTP/1\.1 [2-5][0-9]{{2}} [\t\x20-\x7e\x80-\xff]*+\r\n(?:{FIELD_LINE})*")
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

_MAX_LENGTH_DIGITS: Final = 18  # below 2**63, as for requests
# The bounds of the caches (docs/adr/0007)
MAX_CACHED_HEADS: Final = 256
MAX_CACHED_HEAD: Final = 2048  # bytes
MAX_CACHED_DATES: Final = 2

Headers = Sequence[tuple[str, str]]
# Status line and field lines without the empty line; the declared length in bytes; whether there is a Date.
EncodedHead = tuple[bytes, int | None, bool]


def _lower_case(name: str) -> str:
    """Return a name that an application may send in lower case; raises ApplicationError for all others."""
    if not _NAME.fullmatch(name):  # "A: b" would make a line, but not one of that name
        raise ApplicationError(f"not a header name: {name!r}")
    lower = name.lower()
    if lower in _HOP_BY_HOP:
        raise ApplicationError(f"hop-by-hop header in the response: {name!r}")
    return lower


_NAMES: Final = NameCache(_lower_case)
_HEADS: Final[dict[object, EncodedHead]] = {}


@lru_cache(MAX_CACHED_DATES)
def date_line(second: int) -> bytes:
    """Format a Date field line (RFC 9110, section 6.6.1); `second` counts from 1970."""
    return f"Date: {formatdate(second, usegmt=True)}\r\n".encode("ascii")


def encode_head(status: str, headers: Headers) -> EncodedHead:
    """Encode status and headers. Raises ApplicationError if they would not be valid lines."""
    key = (status, *headers)
    try:
        head = _HEADS.get(key)
    except TypeError:  # a header that is a list has no hash
        return _encode_head(status, headers)
    if head is None:
        head = _encode_head(status, headers)
        if len(head[0]) <= MAX_CACHED_HEAD and b"\r\nset-cookie:" not in head[0].lower():  # which is never the same
            if len(_HEADS) >= MAX_CACHED_HEADS:
                _HEADS.clear()
            _HEADS[key] = head
    return head


def _encode_head(status: str, headers: Headers) -> EncodedHead:
    names = field_names(headers)
    try:
        text = "HTTP/1.1 " + status + "\r\n" + "".join([name + ": " + value + "\r\n" for name, value in headers])
    except TypeError as error:
        raise ApplicationError(f"status or header is not a string: {status!r} {headers!r}") from error
    if not _RESPONSE_HEAD.fullmatch(text) or text.count("\n") != len(headers) + 1:
        raise ApplicationError(f"status or header cannot be sent as it is: {status!r} {headers!r}")
    length = None
    if "content-length" in names:
        if status[:3] == "204":  # RFC 9110, section 8.6: no length where there cannot be a body
            return _encode_head(status, [field for field in headers if field[0].lower() != "content-length"])
        length = _declared(headers)
    return text.encode("latin-1"), length, "date" in names


def _declared(headers: Headers) -> int:
    values = [value for name, value in headers if name.lower() == "content-length"]
    if len(values) != 1 or not (values[0].isascii() and values[0].isdigit() and len(values[0]) <= _MAX_LENGTH_DIGITS):
        raise ApplicationError(f"Content-Length in the response is not one number: {values}")
    return int(values[0])


def field_names(headers: Headers) -> frozenset[str]:
    """Return the lower-case names; raises ApplicationError for what is not a pair of strings, or hop-by-hop."""
    if any(isinstance(field, str) for field in headers):  # one of two letters would make a pair
        raise ApplicationError(f"response headers are not pairs of strings: {headers!r}")
    try:
        return frozenset([_NAMES[name] for name, _ in headers])
    except (TypeError, ValueError) as error:
        raise ApplicationError(f"response headers are not pairs of strings: {headers!r}") from error


def encode_hints(headers: Headers) -> bytes:
    """Return an interim 103 (RFC 8297), its fields checked as those of any answer. Raises ApplicationError."""
    lines, length, _ = _encode_head("200 Early Hints", headers)
    if length is not None:  # RFC 9110, section 8.6: not with 1xx
        raise ApplicationError("Content-Length in early hints")
    return lines.replace(b"200", b"103", 1) + b"\r\n"


def encode_chunk(data: bytes) -> bytes:
    """Frame a non-empty piece of body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def own_answer(status: HTTPStatus, name: str, detail: str, request_id: str, second: int, method: str = "") -> bytes:
    """Return a complete response of the server itself to a request by `method`; the connection closes after it.

    The body is JSON: a stable name for programs, a sentence for people, and the request id to search the logs for.
    """
    sentence = f"{detail[:1].upper()}{detail[1:]}."
    body = json.dumps({"error": name, "detail": sentence, "request_id": request_id}).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    )
    return head.encode("ascii") + date_line(second) + b"\r\n" + (body if method != "HEAD" else b"")


def refusal_answer(refusal: Refusal, request_id: str, second: int, method: str = "") -> bytes:
    """Return the response to a request that was refused."""
    return own_answer(refusal.status, refusal.name, refusal.detail, request_id, second, method)
