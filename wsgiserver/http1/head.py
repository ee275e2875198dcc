"""The request head: a strict pattern for the request line, and one for all field lines (RFC 9112, sections 2 to 5).

What matches is right, in one pass of C code; a field section that was found right before is not looked at again.
Nothing is repaired: bare LF, folded lines, spaces before a colon and control characters are how requests are smuggled
past a proxy that reads them otherwise.
"""

import re
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from wsgiserver.errors import Refusal
from wsgiserver.http1.grammar import FIELD_LINE, HOST, TARGET, TOKEN

MAX_LINE: Final = 8 * 1024  # bytes of request line; RFC 9112, section 3 asks for at least 8,000
MAX_HEAD: Final = 64 * 1024  # bytes
MAX_FIELDS: Final = 100  # what gunicorn and Apache take as well
END: Final = b"\r\n\r\n"

_LINE = re.compile(rf"({TOKEN}) ({TARGET}) HTTP/1\.([0-9])")
_SECTION = re.compile(rf"(?:{FIELD_LINE})*+\r\n")
_FIELD_SECTION = re.compile(rf"(?:{FIELD_LINE})*+")
_REQUEST_LINE = re.compile(rf"{TOKEN} {TARGET} HTTP/([0-9])\.[0-9]")
_BARE_CONTROL = re.compile(rb"(?<!\r)\n|\r(?![\n])(?!\Z)|\x00")
_HOST = re.compile(HOST)
_ABSOLUTE = re.compile(r"https?://([^/?]*+)(/[^?]*+)?(\?.*+)?", re.IGNORECASE)

_ONCE: Final = frozenset({"host", "content-length"})  # a second one is an attack or a bug, even if equal
# RFC 9110, section 6.5.1: what says where a message ends, where it goes or how to read it comes before it, or never.
_NOT_IN_TRAILERS: Final = re.compile(
    "connection|content-(?:encoding|length|range|type)|host|keep-alive|te|trailer|transfer-encoding|upgrade"
)
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


class Fields(dict[str, str]):
    """Lower-case names to values, repeated ones joined (RFC 9110, section 5.2). Never changed once it is made: a client
    repeats its field section with most of its requests, and they share what was worked out of the first.
    """

    derived: dict[object, dict[str, str]] | None = None  # what others have made of it, if it is kept
    is_plain = False  # it is known to ask for nothing of `framing.py`: no body, and no end after the answer


_SECTIONS: Final[dict[str, Fields]] = {}  # field sections that were found right, and came again
_SECTIONS_KEPT: Final = 256
_LARGEST_SECTION_KEPT: Final = 2048  # characters
_SEEN: Final[set[int]] = set()  # hashes of those that came once: most of them will not come again
_SEEN_KEPT: Final = 4096
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "expect"})


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
    line, _, section = text.partition("\r\n")
    match = _LINE.fullmatch(line)
    if match is None:
        raise _what_is_wrong(line)
    if len(line) > MAX_LINE:
        raise Refusal("line-too-long")
    method, target, minor = match.groups()
    fields = _SECTIONS.get(section) or _parse_section(section)
    head = _new(Head, (method, target, 0 if minor == "0" else 1, fields))
    if "host" not in fields and head.minor:
        raise Refusal("host-missing")
    if target[0] != "/" or method == "CONNECT":
        return _other_form(head)
    return head


def _parse_section(section: str) -> Fields:
    """Check and parse the field lines and the empty line of a head."""
    if not _SECTION.fullmatch(section):
        raise Refusal("head-malformed")
    fields = parse_fields(section[:-2])
    if "host" in fields and not is_host(fields["host"]):
        raise Refusal("host-invalid")
    fields.is_plain = _FRAMING.isdisjoint(fields) and fields.get("connection", "keep-alive").lower() == "keep-alive"
    if hash(section) in _SEEN:
        _keep(section, fields)
    elif len(section) <= _LARGEST_SECTION_KEPT:
        if len(_SEEN) >= _SEEN_KEPT:
            _SEEN.clear()
        _SEEN.add(hash(section))
    return fields


def _keep(section: str, fields: Fields) -> None:
    if len(_SECTIONS) >= _SECTIONS_KEPT:
        _SECTIONS.clear()
    fields.derived = {}
    _SECTIONS[section] = fields


def parse_fields(section: str) -> Fields:
    """Turn field lines that are known to be well formed into a dictionary, or raise Refusal."""
    lines = section.split("\r\n")
    lines.pop()  # what follows the last line end
    if len(lines) > MAX_FIELDS:
        raise Refusal("head-too-large")
    fields = Fields()
    for line in lines:
        spelled, _, value = line.partition(":")
        name = LOWERCASE[spelled]
        if name in fields:
            fields[name] = _joined(name, fields[name], value.strip(" \t"))
        else:
            fields[name] = value.strip(" \t")
    return fields


def parse_trailers(section: str) -> Fields:
    """Turn the trailer section of a chunked body, without its empty line, into values, or raise Refusal."""
    if not _FIELD_SECTION.fullmatch(section):
        raise Refusal("trailer-invalid")
    fields = parse_fields(section)
    if any(map(_NOT_IN_TRAILERS.fullmatch, fields)):
        raise Refusal("trailer-invalid")
    return fields


def is_host(text: str) -> bool:
    """Say whether it is a host, perhaps with a port (RFC 9110, section 7.2)."""
    match = _HOST.fullmatch(text)
    if match is None or int(match[2] or 0) >= 1 << 16:
        return False
    try:
        return not match[1] or bool(IPv6Address(match[1]))
    except ValueError:
        return False


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
    if match is None or not is_host(match[1]):
        raise Refusal("target-invalid")
    authority, path, query = match.groups()
    if head.method == "OPTIONS" and not path and not query:  # section 3.2.4: of the server as a whole
        path = "*"
    fields = Fields(head.fields | {"host": authority})  # wins over the Host that was sent (RFC 9112, section 3.2.2)
    return head._replace(target=(path or "/") + (query or ""), fields=fields)


def _what_is_wrong(line: str) -> Refusal:
    match = _REQUEST_LINE.fullmatch(line)
    if match is not None and match[1] != "1":
        return Refusal("version-unsupported")
    return Refusal("head-malformed")
