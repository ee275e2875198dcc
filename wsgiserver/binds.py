"""Where to listen, with which options: as a text, such as that of `--bind`, or as a table `[[bind]]` in a file.

    127.0.0.1:8000                              an address alone
    unix:/run/web.sock,scheme=https             an address with an option
    [::1]:8000,proxy-protocol=on,forwarded-allow-ips=10.0.0.0/8+fd00::/8,127.0.0.1:8001     one with two, and another

A comma stands before each option and before each further address. NAME=VALUE is an option of the address before it. An
address never looks like that: one that contains an equals sign (`unix:a=b`) has a colon before it. `+` stands between
the elements of a list.

To add an option, add a line to `Options`. A setting of the same name is its default. Addresses themselves are checked
in `process/listeners.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from wsgiserver.values import SettingError, declare, flag, names, nearest, one_of, read

PROTOCOLS: Final = ("http",)
_OPTION: Final = re.compile(r"([A-Za-z][\w-]*)=(.*)", re.DOTALL)
_WRITE_ADDRESS: Final = "write HOST:PORT or unix:PATH, such as 127.0.0.1:8000"


def several(text: str) -> tuple[str, ...]:
    """Parse a list whose elements are separated by `+`, or by commas where the text may contain them."""
    return names(text.replace("+", ","))


@dataclass(frozen=True, slots=True)
class Options:
    """What applies to the connections of one listener."""

    protocol: str = declare("http", one_of(*PROTOCOLS), "protocol that clients speak")
    scheme: str = declare(
        "http", one_of("http", "https"), "`wsgi.url_scheme` where no trusted proxy sets it: http or https"
    )
    proxy_protocol: bool = declare(
        default=False,
        parse=flag,
        meaning="whether this listener requires a PROXY protocol header: on or off",
        shown="`--proxy-protocol`",
    )
    forwarded_allow_ips: tuple[str, ...] = declare(
        (),
        several,
        "proxies that this listener trusts, with + between them; empty for none",
        shown="`--forwarded-allow-ips`",
    )


# Options that exclude or need each other: when they do, which two they are, and the message about their names.
CONTRADICTIONS: Final[tuple[tuple[Callable[[Options], bool], str, str, str], ...]] = (
    (
        lambda its: its.proxy_protocol and not its.forwarded_allow_ips,
        "proxy_protocol",
        "forwarded_allow_ips",
        "{} needs {}, the proxies that are trusted; set both",
    ),
)


@dataclass(frozen=True, slots=True)
class Bind:
    """An address, and the options that were given with it, by the names of `Options`."""

    address: str
    given: Mapping[str, Any] = field(default_factory=dict)


def option_name(name: str) -> str:
    """`proxy_protocol` -> `proxy-protocol`."""
    return name.replace("_", "-")


def options_in_text() -> dict[str, Field[Any]]:
    """Return the options by their names in a text."""
    return {option_name(option.name): option for option in fields(Options)}


def addresses(text: str) -> tuple[str, ...]:
    """Parse a list of at least one address."""
    parts = names(text)
    if not parts:
        raise ValueError(f"{text!r} has no address; {_WRITE_ADDRESS}")
    for part in parts:
        if _OPTION.fullmatch(part):
            raise ValueError(f"{text!r} has the option {part}, which only --bind takes; leave it out")
    return parts


def binds(text: str) -> tuple[Bind, ...]:
    """Parse addresses with their options. Raises ValueError for a text that has no address, or a wrong option."""
    found: list[tuple[str, dict[str, str]]] = []
    for part in names(text):
        option = _OPTION.fullmatch(part)
        if option is None:
            if part in options_in_text():
                raise ValueError(f"{text!r} has {part} without a value; write {part}=VALUE")
            found.append((part, {}))
            continue
        if not found:
            raise ValueError(f"{text!r} has {part} before any address; {_WRITE_ADDRESS}")
        if option[1] in found[-1][1]:
            raise ValueError(f"{text!r} has {option[1]} twice for {found[-1][0]}; leave one out")
        found[-1][1][option[1]] = option[2]
    if not found:
        raise ValueError(f"{text!r} has no address; {_WRITE_ADDRESS}")
    known = options_in_text()
    return tuple(Bind(address, read(given, known, f"{address}: ", _not_an_option)) for address, given in found)


def bind_of_table(table: dict[str, Any], source: str) -> tuple[Bind]:
    """Read the table of a file: an address, and its options beside it. Raises SettingError."""
    given = dict(table)
    address = given.pop("address", None)
    if not isinstance(address, str) or "," in address or not address.strip():
        raise SettingError(f"{source}: address = {address!r} is not one address; {_WRITE_ADDRESS}, in quotes")
    known = {option.name: option for option in fields(Options)}
    return (Bind(address.strip(), read(given, known, f"{source} {address}: ", _not_an_option)),)


def describe(address: str, options: Options) -> str:
    """Return an address as a text, with those of its options that differ from the default."""
    values = [(option, getattr(options, option.name)) for option in fields(Options)]
    return ",".join(
        [address, *(f"{option_name(of.name)}={_text(value)}" for of, value in values if value != of.default)]
    )


def _text(value: str | bool | tuple[str, ...]) -> str:  # noqa: FBT001 - a value of any option
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else "+".join(value)


def _not_an_option(name: str, known: Iterable[str]) -> str:
    other = nearest(name, known)
    return f"{name} is not an option of a listener; " + (
        f"the nearest is {other}" if other else f"use one of {', '.join(known)}"
    )
