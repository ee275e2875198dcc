"""A field section: header or trailer lines become a dictionary, or are refused (section 5 of RFC 9110 and of RFC 9112).

One strict pattern checks all lines in one pass of C code. A section that was valid before and comes again is not
checked again. Nothing is repaired: bare LF, folded lines, spaces before a colon and control characters are used to
smuggle requests past a proxy that reads them differently. It knows no request line.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from typing import Final

from wsgiserver.errors import Refusal
from wsgiserver.http1.grammar import FIELD_LINE, FIELDS_BEGUN, HOST, NAME_BEGUN, VALUE_BEGUN

MAX_FIELDS: Final = 100  # what gunicorn and Apache take as well
# The bounds of the caches (docs/adr/0007)
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
_SINGLE_FIELDS: Final = frozenset(
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
    """Cache: field name as spelled -> result of `derive`, within bounds. `known` has the results that are fixed."""

    def __init__(self, derive: Callable[[str], str], known: Mapping[str, str] | None = None) -> None:
        super().__init__(known or {})
        self._derive = derive

    def __missing__(self, name: str) -> str:
        derived = self._derive(name)
        if len(self) < MAX_CACHED_NAMES and len(name) <= MAX_CACHED_NAME:
            self[name] = derived
        return derived


class Fields(dict[str, str]):
    """Lower-case names -> values, repeated fields joined (RFC 9110, section 5.2).

    The fields never change once they are parsed, because requests with the same field section share one object, with
    what was derived from it.
    """

    derived: dict[object, dict[str, str]] | None = None  # what other modules have made of it, if it is cached
    is_plain = False  # nothing in it concerns `framing.py`: no body, and the connection stays open

    def settle(self) -> None:
        """All fields are parsed."""
        self.is_plain = (
            _FRAMING_FIELDS.isdisjoint(self) and self.get("connection", "keep-alive").lower() == "keep-alive"
        )

    def keep(self) -> None:
        """It is cached, so cache what is derived from it too."""
        self.derived = {}

    def remember(self, key: object, derived: dict[str, str]) -> None:
        """Cache what was derived from it, as long as it is cached itself."""
        if self.derived is not None:
            if len(self.derived) >= MAX_CACHED_DERIVED:
                self.derived.clear()
            self.derived[key] = derived


SECTIONS: Final[dict[str, Fields]] = {}  # valid field sections that came at least twice
_SEEN_HASHES: Final[set[int]] = set()  # hashes of those that came once: most never come again
_FRAMING_FIELDS: Final = frozenset({"content-length", "transfer-encoding", "expect"})


def parse_section(section: str) -> Fields:
    """Check and parse the field lines and the empty line of a head."""
    try:
        fields = _parsed(section)
    except Refusal as refusal:
        raise first_mistake(section[:-2]) or refusal from None  # the same refusal as if it had come in pieces
    if hash(section) in _SEEN_HASHES:
        _keep(section, fields)
    elif len(section) <= MAX_CACHED_SECTION:
        if len(_SEEN_HASHES) >= MAX_SEEN_SECTIONS:
            _SEEN_HASHES.clear()
        _SEEN_HASHES.add(hash(section))
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
    """Return the refusal for the first wrong line of some field lines; what follows that line does not count."""
    seen: set[str] = set()
    for count, line in enumerate(section.split("\r\n")[:-1]):  # what follows the last line end is not a line yet
        spelled, _, value = line.partition(":")
        name = spelled.lower()
        if not _FIELD.fullmatch(line):
            return Refusal("head-malformed")
        if count == MAX_FIELDS:
            return Refusal("headers-too-large")
        if name in seen and name in _SINGLE_FIELDS:
            return Refusal("field-repeated")
        if name == "host" and not is_host(value.strip(" \t")):
            return Refusal("host-invalid")
        seen.add(name)
    return None


def can_become_fields(data: bytes, first: int, start: int, end: int) -> bool:
    """Return whether the field lines from `first` on can still become valid; up to `start` they were checked before."""
    line = data.rfind(b"\n", first, start + 1) + 1 or first
    if line >= start:
        return _FIELDS_BEGUN.fullmatch(data, line, end) is not None
    within = _VALUE_BEGUN if data.find(b":", line, start) >= 0 else _NAME_BEGUN
    return within.fullmatch(data, start, end) is not None


def is_host(text: str) -> bool:
    """Return whether it is a host, with or without a port (RFC 9110, section 7.2)."""
    match = _HOST.fullmatch(text)
    if match is None or int(match[2] or 0) >= 1 << 16:
        return False
    try:
        return not match[1] or bool(IPv6Address(match[1]))
    except ValueError:
        return False


def _joined(name: str, first: str, second: str) -> str:
    if name in _SINGLE_FIELDS:
        raise Refusal("field-repeated")
    return f"{first}; {second}" if name == "cookie" else f"{first}, {second}"
