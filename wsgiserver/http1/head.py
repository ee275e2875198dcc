"""The request head: a strict pattern for the request line, and one for all field lines (RFC 9112, sections 2 to 5).

What matches is right, in one pass of C code; a field section that was found right before is not looked at again.
Nothing is repaired: bare LF, folded lines, spaces before a colon and control characters are how requests are smuggled
past a proxy that reads them otherwise.
"""

import re
from ipaddress import IPv6Address
from typing import Final, NamedTuple

from wsgiserver.errors import Refusal
from wsgiserver.http1.grammar import (
    FIELD_LINE,
    FIELDS_BEGUN,
    HOST,
    METHOD,
    NAME_BEGUN,
    REQUEST_LINE_BEGUN,
    TARGET,
    TOKEN,
    VALUE_BEGUN,
)

MAX_LINE: Final = 8 * 1024  # bytes of request line; RFC 9112, section 3 asks for at least 8,000
MAX_HEAD: Final = 64 * 1024  # bytes
MAX_FIELDS: Final = 100  # what gunicorn and Apache take as well
END: Final = b"\r\n\r\n"

_LINE = re.compile(rf"({METHOD}) ({TARGET}) HTTP/1\.([0-9])")
_SECTION = re.compile(rf"(?:{FIELD_LINE})*\r\n")
_FIELD = re.compile(FIELD_LINE.removesuffix(r"\r\n"))
_FIELD_SECTION = re.compile(rf"(?:{FIELD_LINE})*")
_REQUEST_LINE = re.compile(rf"{TOKEN} {TARGET} HTTP/([0-9])\.[0-9]".encode("ascii"))
_LINE_BEGUN = re.compile(REQUEST_LINE_BEGUN.encode("ascii"))
_FIELDS_BEGUN = re.compile(FIELDS_BEGUN.encode("ascii"))
_VALUE_BEGUN = re.compile(VALUE_BEGUN.encode("ascii"))
_NAME_BEGUN = re.compile(NAME_BEGUN.encode("ascii"))
_METHOD_TOO_LONG = re.compile(f"{METHOD}{TOKEN}".encode("ascii"))
_BEGINS_WITH_HEAD = re.compile(rf"HEAD(?!{TOKEN}|\Z)".encode("ascii"))
_HOST = re.compile(HOST)
_ABSOLUTE = re.compile(r"https?://([^/?]*+)(/[^?]*+)?(\?.*+)?", re.IGNORECASE)

# A second one is an attack or a bug, even if equal: these have one value by definition (RFC 9110, section 5.3), decide
# whose request it is, what it holds or whether it counts, and would reach the application as one value with a comma in
# it. Not among them: lists, what clients are known to repeat (User-Agent), and what decides nothing (Date, From).
_ONCE: Final = frozenset(
    {
        "authorization",
        "content-disposition",
        "content-length",
        "content-range",
        "content-type",
        "host",
        "if-modified-since",
        "if-range",
        "if-unmodified-since",
        "origin",
        "proxy-authorization",
        "range",
        "referer",
    }
)
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
    line = data.find(b"\r\n", 0, MAX_LINE + 2)
    if line < 0:
        _check_line_begun(data)
        return 0
    if start < line + 2:
        _check_line(data[:line])
    fields = line + 2
    mistake = None if _can_become_fields(data, fields, start) else Refusal("head-malformed")
    if mistake or data.find(b"\n", max(start, fields)) >= 0:  # there are lines that are complete now
        mistake = _first_mistake(data[fields:MAX_HEAD].decode("latin-1")) or mistake
    if mistake:
        raise mistake
    if len(data) >= MAX_HEAD:
        raise Refusal("head-too-large")
    return 0


def parse_head(data: bytes) -> Head:
    """Turn a complete head, empty line included, into values, or raise Refusal."""
    text = data.decode("latin-1")
    line, _, section = text.partition("\r\n")
    match = _LINE.fullmatch(line)
    if match is None or len(line) > MAX_LINE:
        raise _what_is_wrong(data[: len(line)])
    method, target, minor = match.groups()
    if target[0] != "/" or method == "CONNECT":
        return _other_form(match, section)
    fields = _SECTIONS.get(section) or _parse_section(section)
    if "host" not in fields and minor != "0":
        raise Refusal("host-missing")
    return _new(Head, (method, target, 0 if minor == "0" else 1, fields))


def begins_with_head(data: bytes) -> bool:
    """Say whether a request that begins so has the method HEAD, whatever is wrong with the rest of it."""
    return _BEGINS_WITH_HEAD.match(data) is not None


def _parse_section(section: str) -> Fields:
    """Check and parse the field lines and the empty line of a head."""
    try:
        fields = _parsed(section)
    except Refusal as refusal:
        raise _first_mistake(section[:-2]) or refusal from None  # as if it had come in pieces
    if hash(section) in _SEEN:
        _keep(section, fields)
    elif len(section) <= _LARGEST_SECTION_KEPT:
        if len(_SEEN) >= _SEEN_KEPT:
            _SEEN.clear()
        _SEEN.add(hash(section))
    return fields


def _parsed(section: str) -> Fields:
    if not _SECTION.fullmatch(section):
        raise Refusal("head-malformed")
    fields = parse_fields(section[:-2])
    if "host" in fields and not is_host(fields["host"]):
        raise Refusal("host-invalid")
    fields.is_plain = _FRAMING.isdisjoint(fields) and fields.get("connection", "keep-alive").lower() == "keep-alive"
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
    """Turn lines of the trailer section of a chunked body into values, or raise Refusal for the first that is wrong."""
    if not _FIELD_SECTION.fullmatch(section):
        raise Refusal("trailer-invalid")
    fields = Fields()
    for count, line in enumerate(section.split("\r\n")[:-1]):
        if count == MAX_FIELDS:
            raise Refusal("head-too-large")
        spelled, _, value = line.partition(":")
        name = LOWERCASE[spelled]
        if _NOT_IN_TRAILERS.fullmatch(name):
            raise Refusal("trailer-invalid")
        value = value.strip(" \t")
        fields[name] = _joined(name, fields[name], value) if name in fields else value
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


def _other_form(line: re.Match[str], section: str) -> Head:
    """Do the same for a target that does not begin with a slash: what its line is comes before its fields are."""
    method, target, minor = line.groups()
    target, authority = _resolved(method, target)
    fields = _SECTIONS.get(section) or _parse_section(section)
    if "host" not in fields and minor != "0":
        raise Refusal("host-missing")
    if authority:  # wins over the Host that was sent (RFC 9112, section 3.2.2)
        fields = Fields(fields | {"host": authority})
    return Head(method, target, 0 if minor == "0" else 1, fields)


def _resolved(method: str, target: str) -> tuple[str, str]:
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
        raise _what_is_wrong(line)
    if match[2][0] != "/" or match[1] == "CONNECT":
        _resolved(match[1], match[2])


def _check_line_begun(data: bytes) -> None:
    if not _LINE_BEGUN.fullmatch(data, 0, MAX_LINE + 1) or len(data) >= MAX_LINE + 2:
        raise _what_is_wrong(data)


def _what_is_wrong(line: bytes) -> Refusal:
    """Say it of a request line, or of the beginning of one."""
    if _METHOD_TOO_LONG.match(line):
        return Refusal("method-unsupported")
    if len(line) > MAX_LINE and _LINE_BEGUN.fullmatch(line, 0, MAX_LINE + 1):  # its first mistake is its length
        return Refusal("line-too-long")
    match = _REQUEST_LINE.fullmatch(line)
    if match is not None and match[1] != b"1" and len(line) <= MAX_LINE:
        return Refusal("version-unsupported")
    return Refusal("head-malformed")


def _can_become_fields(data: bytes, first: int, start: int) -> bool:
    """Look at the field lines from `first` on, those that are known to be right up to `start` not again."""
    line = data.rfind(b"\n", first, start + 1) + 1 or first
    if line >= start:
        return _FIELDS_BEGUN.fullmatch(data, line, MAX_HEAD) is not None
    within = _VALUE_BEGUN if data.find(b":", line, start) >= 0 else _NAME_BEGUN
    return within.fullmatch(data, start, MAX_HEAD) is not None


def _first_mistake(section: str) -> Refusal | None:
    """Find the first of some field lines that is wrong, as it is when it comes: what follows it does not count."""
    seen: set[str] = set()
    for count, line in enumerate(section.split("\r\n")[:-1]):  # what is behind the last line end is no line yet
        spelled, _, value = line.partition(":")
        name = LOWERCASE[spelled]
        if not _FIELD.fullmatch(line):
            return Refusal("head-malformed")
        if count == MAX_FIELDS:
            return Refusal("head-too-large")
        if name in seen and name in _ONCE:
            return Refusal("field-repeated")
        if name == "host" and not is_host(value.strip(" \t")):
            return Refusal("host-invalid")
        seen.add(name)
    return None
