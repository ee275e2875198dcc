"""How a value is declared, and how it is read: from a text, or from what a file or a program has in its place.

Settings (`settings.py`) and the options of a listener (`binds.py`) are fields of a dataclass, each declared with the
parser of its text, what it means, and how its default is shown. Nothing is opened, bound, imported or logged here.

A message names the setting as the user wrote it, then the value, then what to write instead:

    --keep-alive: 'abc' is not a number of seconds above 0; write one such as 30 or 0.5
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, field
from difflib import get_close_matches
from math import inf
from typing import Any, Final, TypeVar

from wsgiserver import appspec

_SIZE = re.compile(r"([0-9]+)([kmg]?)", re.IGNORECASE)
_SIZE_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SWITCH_VALUES: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)
# The types that a file or a program may use for a field, besides a string, and what a message asks for.
_NATIVE: Final[dict[Any, tuple[set[type], str]]] = {
    int: ({int}, "a whole number or a string"),
    float: ({int, float}, "a number or a string"),
    bool: ({bool}, "true or false, or a string"),
}

Number = TypeVar("Number", int, float)
Unknown = Callable[[str, Iterable[str]], str]  # an unknown name, and those that are known -> the message


class SettingError(ValueError):
    """A setting that cannot be used. The message names it, says what is wrong, and what to write."""


# --- Parsers: each raises ValueError, which begins with the text that it could not use ---------------------------


def size(text: str) -> int:
    """Parse `512k`, `100m`, `1g` or plain bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; use digits followed by k, m or g, such as 100m")
    return int(match[1]) * _SIZE_FACTORS[match[2].lower()]


def positive_size(text: str) -> int:
    """Parse a size of at least one byte."""
    value = size(text)
    if not value:
        raise ValueError(f"{text!r} is not above 0; use digits followed by k, m or g, such as 100m")
    return value


def seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    value = _number(text, float)
    if value is None or not 0 < value < inf:
        raise ValueError(f"{text!r} is not a number of seconds above 0; write one such as 30 or 0.5")
    return value


def seconds_or_never(text: str) -> float:
    """Parse a number of seconds, 0 being never."""
    value = _number(text, float)
    if value is None or not 0 <= value < inf:
        raise ValueError(f"{text!r} is not a number of seconds; write one such as 30 or 0.5, or 0 to disable it")
    return value


def count(text: str) -> int:
    """Parse a whole number from 1 on."""
    value = _number(text, int)
    if value is None or value < 1:
        raise ValueError(f"{text!r} is not a whole number above 0; write one such as 4")
    return value


def whole(text: str) -> int:
    """Parse a whole number from 0 on."""
    value = _number(text, int)
    if value is None or value < 0:
        raise ValueError(f"{text!r} is not a whole number; write 0, or one such as 1000")
    return value


def count_or_auto(text: str) -> int:
    """Parse a whole number from 1 on, or `auto`, which is 0."""
    value = _number(text, int) if text != "auto" else 0
    if value is None or (value < 1 and text != "auto"):
        raise ValueError(f"{text!r} is not a whole number above 0; write one such as 4, or auto")
    return value


def _number(text: str, convert: Callable[[str], Number]) -> Number | None:
    """Return None for what is not a number, in place of Python's own message."""
    try:
        return convert(text)
    except ValueError:
        return None


def octal(text: str) -> int:
    """Parse permissions as `chmod` takes them."""
    if not re.fullmatch("[0-7]{1,4}", text) or int(text, 8) > 0o777:  # noqa: PLR2004 - all permissions there are
        raise ValueError(f"{text!r} is not a set of permissions; write octal digits such as 660")
    return int(text, 8)


def flag(text: str) -> bool:
    """Parse a yes or a no."""
    try:
        return _SWITCH_VALUES[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither yes nor no; write yes or no, or on or off") from None


def names(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def callable_name(text: str) -> str:
    """Check `MODULE:CALLABLE`."""
    appspec.parse(text)
    return text


def one_of(*known: str) -> Callable[[str], str]:
    """Return a parser that takes these texts."""

    def parse_one(text: str) -> str:
        if text not in known:
            raise ValueError(f"{text!r} is not known here; write {' or '.join(known)}")
        return text

    return parse_one


def declare(
    default: Any,
    parse: Callable[[str], Any],
    meaning: str,
    short: str = "",
    shown: str = "",
    table: Callable[[dict[str, Any], str], tuple[Any, ...]] | None = None,
    *,
    group: str = "",
) -> Any:
    """Declare a field of a dataclass. `table` reads a table of a file as one element, given where it was found."""
    if not shown:  # a number with a fraction is a duration
        shown = f"{default:g} seconds" if isinstance(default, float) else str(default)
    metadata = {"parse": parse, "meaning": meaning, "short": short, "shown": shown, "table": table, "group": group}
    return field(default=default, metadata=metadata)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the name that was perhaps meant; "" for none."""
    return next(iter(get_close_matches(name, known, 1)), "")


def read(given: Mapping[str, Any], known: Mapping[str, Field[Any]], place: str, unknown: Unknown) -> dict[str, Any]:
    """Return the values of fields by their names. `known` maps the names that are used in this place to the fields.

    Raises SettingError, which begins with `place`, for an unknown name and for a value that cannot be used.
    """
    values = {}
    for name, value in given.items():
        if name not in known:
            raise SettingError(f"{place}{unknown(name, known)}")
        values[known[name].name] = _read_one(known[name], value, place + name)
    return values


def _read_one(declared: Field[Any], value: Any, source: str) -> Any:
    """Read a value, or a list of values where there can be several; `source` is where it was found."""
    if isinstance(value, list) and isinstance(declared.default, tuple):
        return tuple(element for item in value or [""] for element in _read_element(declared, item, source))
    return _read_element(declared, value, source)


def _read_element(declared: Field[Any], value: Any, source: str) -> Any:
    """Parse a text, or what a file or a program has in its place."""
    if isinstance(value, dict) and declared.metadata["table"] is not None:
        return declared.metadata["table"](value, source)
    native, instead = _NATIVE.get(declared.type, (set(), "a string"))
    if type(value) not in {str, *native}:  # and a boolean is not a number
        raise SettingError(f"{source}: {value!r} is of type {type(value).__name__}; write {instead}")
    try:
        return declared.metadata["parse"](str(value))
    except SettingError as error:  # it names a part of the text
        raise SettingError(f"{source} {error}") from error
    except ValueError as error:
        raise SettingError(f"{source}: {error}") from error
