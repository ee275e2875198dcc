"""A field section: header or trailer lines become a dictionary, or are refused (section 5 of RFC 9110 and of RFC 9112).

One strict pattern checks all lines in one pass of C code; a section that was found right before, and came again, is
not looked at again. Nothing is repaired: bare LF, folded lines, spaces before a colon and control characters are how
requests are smuggled past a proxy that reads them otherwise. It knows no request line.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from typing import Final

from wsgiserver.errors import Refusal
from wsgiserver.http1.grammar import FIELD_LINE, FIELDS_BEGUN, HOST, NAME_BEGUN, VALUE_BEGUN

MAX_FIELDS: Final = 100  # what gunicorn and Apache take as well
# The bounds of what is remembered (docs/adr/0007)
MAX_CACHED_NAMES: Final = 1024  # enough for every client there is, bounded for those that invent names
MAX_CACHED_NAME: Final = 64  # characters
MAX_CACHED_SECTIONS: Final = 256
MAX_CACHED_SECTION: Final = 2048  # characters
MAX_SEEN_SECTIONS: Final = 4096
MAX_CACHED_DERIVED: Final = 8  # of one section: listeners may trust different peers

_SECTION = re.compile(rf"(?:{FIELD_LINE})*\r\n")
_FIELD = re.compile(FIELD_LINE.removesuffix(r"\r\n"))
_FIELD_SECTION = re.compile(rf"(?:{FIELD_LINE})*")
_FIELDS_BEGUN = re.compile(FIELDS_BEGUN.encode("ascii"))
_VALUE_BEGUN = re.compile(VALUE_BEGUN.encode("ascii"))
_NAME_BEGUN = re.compile(NAME_BEGUN.encode("ascii"))
_HOST = re.compile(HOST)

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


class NameCache(dict[str, str]):
    """Field name as spelled -> what `derive` makes of it, remembered within bounds. `known` is so from the start."""

    def __init__(self, derive: Callable[[str], str], known: Mapping[str, str] | None = None) -> None:
        super().__init__(known or {})
        self._derive = derive

    def __missing__(self, name: str) -> str:
        derived = self._derive(name)
        if len(self) < MAX_CACHED_NAMES and len(name) <= MAX_CACHED_NAME:
            self[name] = derived
        return derived


class Fields(dict[str, str]):
    """Lower-case names to values, repeated ones joined (RFC 9110, section 5.2). Never changed once it is made: a client
    repeats its field section with most of its requests, and they share what was worked out of the first.
    """

    derived: dict[object, dict[str, str]] | None = None  # what others have made of it, if it is kept
    is_plain = False  # it is known to ask for nothing of `framing.py`: no body, and no end after the answer

    def settle(self) -> None:
        """All fields are there."""
        self.is_plain = _FRAMING.isdisjoint(self) and self.get("connection", "keep-alive").lower() == "keep-alive"

    def keep(self) -> None:
        """It will be used again, and so will what is worked out of it."""
        self.derived = {}

    def remember(self, key: object, derived: dict[str, str]) -> None:
        """Keep what was worked out of it, for as long as it is kept itself."""
        if self.derived is not None:
            if len(self.derived) >= MAX_CACHED_DERIVED:
                self.derived.clear()
            self.derived[key] = derived


SECTIONS: Final[dict[str, Fields]] = {}  # field sections that were found right, and came again
_SEEN: Final[set[int]] = set()  # hashes of those that came once: most of them will not come again
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "expect"})


def parse_section(section: str) -> Fields:
    """Check and parse the field lines and the empty line of a head."""
    try:
        fields = _parsed(section)
    except Refusal as refusal:
        raise first_mistake(section[:-2]) or refusal from None  # as if it had come in pieces
    if hash(section) in _SEEN:
        _keep(section, fields)
    elif len(section) <= MAX_CACHED_SECTION:
        if len(_SEEN) >= MAX_SEEN_SECTIONS:
            _SEEN.clear()
        _SEEN.add(hash(section))
    return fields


def _parsed(section: str) -> Fields:
    if not _SECTION.fullmatch(section):
        raise Refusal("head-malformed")
    fields = _parse_fields(section[:-2])
    if "host" in fields and not is_host(fields["host"]):
        raise Refusal("host-invalid")
    fields.settle()
    return fields


def _keep(section: str, fields: Fields) -> None:
    if len(SECTIONS) >= MAX_CACHED_SECTIONS:
        SECTIONS.clear()
    fields.keep()
    SECTIONS[section] = fields


def _parse_fields(section: str) -> Fields:
    """Turn field lines that are known to be well formed into a dictionary, or raise Refusal."""
    lines = section.split("\r\n")
    lines.pop()  # what follows the last line end
    if len(lines) > MAX_FIELDS:
        raise Refusal("headers-too-large")
    fields = Fields()
    for line in lines:
        spelled, _, value = line.partition(":")
        name = spelled.lower()
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
            raise Refusal("headers-too-large")
        spelled, _, value = line.partition(":")
        name = spelled.lower()
        if _NOT_IN_TRAILERS.fullmatch(name):
            raise Refusal("trailer-invalid")
        value = value.strip(" \t")
        fields[name] = _joined(name, fields[name], value) if name in fields else value
    return fields


def first_mistake(section: str) -> Refusal | None:
    """Find the first of some field lines that is wrong, as it is when it comes: what follows it does not count."""
    seen: set[str] = set()
    for count, line in enumerate(section.split("\r\n")[:-1]):  # what is behind the last line end is no line yet
        spelled, _, value = line.partition(":")
        name = spelled.lower()
        if not _FIELD.fullmatch(line):
            return Refusal("head-malformed")
        if count == MAX_FIELDS:
            return Refusal("headers-too-large")
        if name in seen and name in _ONCE:
            return Refusal("field-repeated")
        if name == "host" and not is_host(value.strip(" \t")):
            return Refusal("host-invalid")
        seen.add(name)
    return None


def can_become_fields(data: bytes, first: int, start: int, end: int) -> bool:
    """Look at the field lines from `first` on, those that are known to be right up to `start` not again."""
    line = data.rfind(b"\n", first, start + 1) + 1 or first
    if line >= start:
        return _FIELDS_BEGUN.fullmatch(data, line, end) is not None
    within = _VALUE_BEGUN if data.find(b":", line, start) >= 0 else _NAME_BEGUN
    return within.fullmatch(data, start, end) is not None


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
