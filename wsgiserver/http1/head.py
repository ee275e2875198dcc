"""The request head: a strict pattern for the request line, with `fields.py` for the rest (RFC 9112, sections 2 to 5).

What matches is right, in one pass of C code. Nothing is repaired. A head may come in pieces: `find_end` refuses one
that is wrong as soon as nothing that follows can make it right.
"""

import re
from typing import Final, NamedTuple

from wsgiserver.errors import Refusal
from wsgiserver.http1.fields import SECTIONS, Fields, can_become_fields, first_mistake, is_host, parse_section
from wsgiserver.http1.grammar import METHOD, REQUEST_LINE_BEGUN, TARGET, TOKEN

MAX_LINE: Final = 8 * 1024  # bytes of request line; RFC 9112, section 3 asks for at least 8,000
MAX_HEAD: Final = 64 * 1024  # bytes
END: Final = b"\r\n\r\n"

_LINE = re.compile(rf"({METHOD}) ({TARGET}) HTTP/1\.([0-9])")
_REQUEST_LINE = re.compile(rf"{TOKEN} {TARGET} HTTP/([0-9])\.[0-9]".encode("ascii"))
_LINE_BEGUN = re.compile(REQUEST_LINE_BEGUN.encode("ascii"))
_METHOD_TOO_LONG = re.compile(f"{METHOD}{TOKEN}".encode("ascii"))
_BEGINS_WITH_HEAD = re.compile(rf"HEAD(?!{TOKEN}|\Z)".encode("ascii"))
_ABSOLUTE = re.compile(r"https?://([^/?]*+)(/[^?]*+)?(\?.*+)?", re.IGNORECASE)


class Head(NamedTuple):
    """A request head."""

    method: str
    target: str  # origin-form or "*"; an absolute-form has become origin-form and `fields["host"]`
    minor: int  # 0 for HTTP/1.0, 1 for HTTP/1.1 and above
    fields: Fields


_new = tuple.__new__  # half the time of NamedTuple's own, which is written in Python


def find_end(data: bytes, start: int = 0) -> int:
    """Say where the head ends, just after its empty line; 0 while it is not complete.

    What lies before `start` was looked at before, but for the last three bytes.
    Raises Refusal for a head that is too large, or that is wrong whatever may follow.
    """
    end = data.find(END, start, MAX_HEAD)
    if end >= 0:
        return end + len(END)
    line = data.find(b"\r\n", 0, MAX_LINE + 2)
    if line < 0:
        _check_line_begun(data)
        return 0
    if start < line + 2:
        _check_line(data[:line])
    fields = line + 2
    mistake = None if can_become_fields(data, fields, start, MAX_HEAD) else Refusal("head-malformed")
    if mistake or data.find(b"\n", max(start, fields)) >= 0:  # there are lines that are complete now
        mistake = first_mistake(data[fields:MAX_HEAD].decode("latin-1")) or mistake
    if mistake:
        raise mistake
    if len(data) >= MAX_HEAD:
        raise Refusal("headers-too-large")
    return 0


def parse_head(data: bytes) -> Head:
    """Turn a complete head, empty line included, into values, or raise Refusal."""
    text = data.decode("latin-1")
    line, _, section = text.partition("\r\n")
    match = _LINE.fullmatch(line)
    if match is None or len(line) > MAX_LINE:
        raise _refusal_for_line(data[: len(line)])
    method, target, minor = match.groups()
    if target[0] != "/" or method == "CONNECT":
        return _parse_other_form(match, section)
    fields = SECTIONS.get(section) or parse_section(section)
    if "host" not in fields and minor != "0":
        raise Refusal("host-missing")
    return _new(Head, (method, target, 0 if minor == "0" else 1, fields))


def begins_with_head(data: bytes) -> bool:
    """Say whether a request that begins so has the method HEAD, whatever is wrong with the rest of it."""
    return _BEGINS_WITH_HEAD.match(data) is not None


def _parse_other_form(line: re.Match[str], section: str) -> Head:
    """Do the same for a target that does not begin with a slash: what its line is comes before its fields are."""
    method, target, minor = line.groups()
    target, authority = _resolve_target(method, target)
    fields = SECTIONS.get(section) or parse_section(section)
    if "host" not in fields and minor != "0":
        raise Refusal("host-missing")
    if authority:  # wins over the Host that was sent (RFC 9112, section 3.2.2)
        fields = Fields(fields | {"host": authority})
    return Head(method, target, 0 if minor == "0" else 1, fields)


def _resolve_target(method: str, target: str) -> tuple[str, str]:
    """Resolve the forms of RFC 9112, section 3.2 that do not begin with a slash: to target, and authority or ""."""
    if method == "CONNECT":
        raise Refusal("method-unsupported")
    if target == "*" and method == "OPTIONS":
        return target, ""
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not is_host(match[1]):
        raise Refusal("target-invalid")
    authority, path, query = match.groups()
    if method == "OPTIONS" and not path and not query:  # section 3.2.4: of the server as a whole
        path = "*"
    return (path or "/") + (query or ""), authority


def _check_line(line: bytes) -> None:
    """Refuse a request line whose fields have not come yet, as it would be with them."""
    match = _LINE.fullmatch(line.decode("latin-1"))
    if match is None:
        raise _refusal_for_line(line)
    if match[2][0] != "/" or match[1] == "CONNECT":
        _resolve_target(match[1], match[2])


def _check_line_begun(data: bytes) -> None:
    if not _LINE_BEGUN.fullmatch(data, 0, MAX_LINE + 1) or len(data) >= MAX_LINE + 2:
        raise _refusal_for_line(data)


def _refusal_for_line(line: bytes) -> Refusal:
    """Say it of a request line, or of the beginning of one."""
    if _METHOD_TOO_LONG.match(line):
        return Refusal("method-unsupported")
    if len(line) > MAX_LINE and _LINE_BEGUN.fullmatch(line, 0, MAX_LINE + 1):  # its first mistake is its length
        return Refusal("uri-too-long")
    match = _REQUEST_LINE.fullmatch(line)
    if match is not None and match[1] != b"1" and len(line) <= MAX_LINE:
        return Refusal("version-unsupported")
    return Refusal("head-malformed")
