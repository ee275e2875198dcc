"""How a value is declared, and how it is read: from a text, or from what a file or a program has in its place.

Settings (`settings.py`) and the options of a listener (`binds.py`) are fields of a dataclass, each declared with the
parser of its text, what it means, and how its default is shown. Nothing is opened, bound, imported or logged here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, field
from difflib import get_close_matches
from typing import Any, Final

from wsgiserver import appspec

_SIZE = re.compile(r"([0-9]+)([kmg]?)", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TRUTH: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
# What may stand in a file, or be an argument, beside a string: as for a flag.
_NATIVE: Final[dict[Any, set[type]]] = {int: {int}, float: {int, float}, bool: {bool}}

Unknown = Callable[[str, Iterable[str]], str]  # what to say of a name, given those that are known


class SettingError(ValueError):
    """A setting that cannot be used; the message names it and says what would do."""


def size(text: str) -> int:
    """Parse `512k`, `100m`, `1g` or plain bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a size is a number with k, m, g or nothing behind it, like 100m")
    return int(match[1]) * _FACTORS[match[2].lower()]


def seconds(text: str) -> float:
    """Parse a positive number of seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("a duration is a positive number of seconds")
    return value


def seconds_or_never(text: str) -> float:
    """Parse a number of seconds, 0 being never."""
    return 0.0 if text.strip() in {"0", "0.0"} else seconds(text)


def at_least(least: int, parse: Callable[[str], int] = int) -> Callable[[str], int]:
    """Return a parser of whole numbers, or sizes, from `least` on."""

    def parse_whole(text: str) -> int:
        value = parse(text)
        if value < least:
            raise ValueError(f"at least {least}")
        return value

    return parse_whole


count: Final = at_least(1)
whole: Final = at_least(0)
positive_size: Final = at_least(1, size)


def count_or_auto(text: str) -> int:
    """Parse a whole number from 1 on, or `auto`, which is 0."""
    return 0 if text == "auto" else count(text)


def octal(text: str) -> int:
    """Parse permissions as `chmod` takes them."""
    if not re.fullmatch("[0-7]{1,4}", text) or int(text, 8) > 0o777:  # noqa: PLR2004 - all permissions there are
        raise ValueError("permissions are octal digits, like 660")
    return int(text, 8)


def flag(text: str) -> bool:
    """Parse a yes or a no."""
    try:
        return _TRUTH[text.strip().lower()]
    except KeyError:
        raise ValueError("yes or no") from None


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
            raise ValueError(f"what is known is {', '.join(known)}")
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
    """Return the values of fields by their names. `known` has the fields by what they are called here.

    Raises SettingError, which begins with `place`, for a name that is not known, and for what cannot be used.
    """
    values = {}
    for name, value in given.items():
        if name not in known:
            raise SettingError(f"{place}{unknown(name, known)}")
        values[known[name].name] = _read_one(known[name], value, place + name)
    return values


def _read_one(declared: Field[Any], value: Any, source: str) -> Any:
    """Read a value, or a list of them where there can be several; `source` is where it was found."""
    if isinstance(value, list) and isinstance(declared.default, tuple):
        return tuple(element for item in value or [""] for element in _read_element(declared, item, source))
    return _read_element(declared, value, source)


def _read_element(declared: Field[Any], value: Any, source: str) -> Any:
    """Parse a text, or what a file or a flag has in its place."""
    if isinstance(value, dict) and declared.metadata["table"] is not None:
        return declared.metadata["table"](value, source)
    if type(value) not in {str, *_NATIVE.get(declared.type, ())}:  # and a boolean is no number
        raise SettingError(f"{source}: {value!r} will not do: it is of type {type(value).__name__}; a string would do")
    try:
        return declared.metadata["parse"](str(value))
    except ValueError as error:
        raise SettingError(f"{source}: {str(value)!r} will not do: {error}") from error
