"""The request head: one strict pattern over the whole of it (RFC 9112, sections 2 to 5).

A head that matches is right, in one pass of C code. Only one that does not is looked at again, line by line,
to say what is wrong. Nothing is repaired: bare LF, folded lines, spaces before a colon and control characters
are how requests are smuggled past a proxy that reads them otherwise.
"""

import re
from typing import Final, NamedTuple

from wsgiserver.errors import Refusal
from wsgiserver.http1.grammar import FIELD_LINE, HOST, TARGET, TOKEN

MAX_LINE: Final = 8 * 1024  # bytes of request line; RFC 9112, section 3 asks for at least 8,000
MAX_HEAD: Final = 64 * 1024  # bytes
MAX_FIELDS: Final = 100  # what gunicorn and Apache take as well
END: Final = b"\r\n\r\n"

_HEAD = re.compile(rf"({TOKEN}) ({TARGET}) HTTP/1\.([0-9])\r\n((?:{FIELD_LINE})*+)\r\n")
_FIELD_SECTION = re.compile(rf"(?:{FIELD_LINE})*+")
_REQUEST_LINE = re.compile(rf"{TOKEN} {TARGET} HTTP/([0-9])\.[0-9]")
_BARE_CONTROL = re.compile(rb"(?<!\r)\n|\r(?![\n])(?!\Z)|\x00")
VALID_HOST: Final = re.compile(HOST)
_ABSOLUTE = re.compile(rf"https?://({HOST})(/[^\s]*+)?(\?[^\s]*+)?", re.IGNORECASE)

_ONCE: Final = frozenset({"host", "content-length"})  # a second one is an attack or a bug, even if equal
_NAMES_KEPT: Final = 1024  # enough for every client there is, bounded for those that invent names
_LONGEST_KEPT: Final = 64  # characters


class Names(dict[str, str]):
    """Field name -> what `derive` makes of it, remembered: a look-up is several times cheaper than `str.lower`."""

    def __missing__(self, name: str) -> str:
        derived = self.derive(name)
        if len(self) < _NAMES_KEPT and len(name) <= _LONGEST_KEPT:
            self[name] = derived
        return derived

    def derive(self, name: str) -> str:
        return name.lower()


LOWERCASE: Final = Names()


_HOSTS: Final[set[str]] = set()  # that are known to be well formed


class Head(NamedTuple):
    """A request head. `fields` maps lower-case names to values, repeated ones joined (RFC 9110, section 5.2)."""

    method: str
    target: str  # origin-form or "*"; an absolute-form has become origin-form and `fields["host"]`
    minor: int  # 0 for HTTP/1.0, 1 for HTTP/1.1 and above
    fields: dict[str, str]


_new = tuple.__new__  # half the time of NamedTuple's own, which is written in Python


def find_end(data: bytes, start: int = 0) -> int:
    """Say where the head ends, just after its empty line; 0 while it is not complete.

    What lies before `start` was looked at before, but for the last three bytes.
    Raises Refusal for a head that is too large, or that is wrong whatever may follow.
    """
    end = data.find(END, start, MAX_HEAD)
    if end >= 0:
        return end + len(END)
    line = data.find(b"\r\n")
    if (line if line >= 0 else len(data) - 1) > MAX_LINE:  # the last byte may be the CR that ends it
        raise Refusal("line-too-long")
    if len(data) >= MAX_HEAD:
        raise Refusal("head-too-large")
    if _BARE_CONTROL.search(data, start):
        raise Refusal("head-malformed")
    return 0


def parse_head(data: bytes) -> Head:
    """Turn a complete head, empty line included, into values, or raise Refusal."""
    text = data.decode("latin-1")
    match = _HEAD.fullmatch(text)
    if match is None:
        raise _what_is_wrong(text)
    method, target, minor, section = match.groups()
    if len(text) > MAX_LINE and len(method) + len(target) + len("  HTTP/1.1") > MAX_LINE:
        raise Refusal("line-too-long")
    fields = parse_fields(section)
    head = _new(Head, (method, target, 0 if minor == "0" else 1, fields))
    host = fields.get("host")
    if host is None:
        if head.minor:
            raise Refusal("host-missing")
    elif host not in _HOSTS:
        _check_host(host)
    if target[0] != "/" or method == "CONNECT":
        return _other_form(head)
    return head


def parse_fields(section: str) -> dict[str, str]:
    """Turn field lines that are known to be well formed into a dictionary, or raise Refusal."""
    lines = section.split("\r\n")
    lines.pop()  # what follows the last line end
    if len(lines) > MAX_FIELDS:
        raise Refusal("head-too-large")
    fields: dict[str, str] = {}
    for line in lines:
        spelled, _, value = line.partition(":")
        name = LOWERCASE[spelled]
        if name in fields:
            fields[name] = _joined(name, fields[name], value.strip(" \t"))
        else:
            fields[name] = value.strip(" \t")
    return fields


def parse_trailers(section: str) -> dict[str, str]:
    """Turn the trailer section of a chunked body, without its empty line, into values, or raise Refusal."""
    if not _FIELD_SECTION.fullmatch(section):
        raise Refusal("trailer-invalid")
    return parse_fields(section)


def _check_host(host: str) -> None:
    if not VALID_HOST.fullmatch(host):
        raise Refusal("host-invalid")
    if len(_HOSTS) < _NAMES_KEPT and len(host) <= _LONGEST_KEPT:
        _HOSTS.add(host)


def _joined(name: str, first: str, second: str) -> str:
    if name in _ONCE:
        raise Refusal("field-repeated")
    return f"{first}; {second}" if name == "cookie" else f"{first}, {second}"


def _other_form(head: Head) -> Head:
    """Resolve the forms of RFC 9112, section 3.2 that do not begin with a slash."""
    if head.method == "CONNECT":
        raise Refusal("method-unsupported")
    if head.target == "*" and head.method == "OPTIONS":
        return head
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None:
        raise Refusal("target-invalid")
    authority, path, query = match.groups()
    head.fields["host"] = authority  # wins over the Host that was sent (RFC 9112, section 3.2.2)
    return head._replace(target=(path or "/") + (query or ""))


def _what_is_wrong(text: str) -> Refusal:
    line = _REQUEST_LINE.fullmatch(text.partition("\r\n")[0])
    if line is not None and line[1] != "1":
        return Refusal("version-unsupported")
    return Refusal("head-malformed")
