"""Where to listen, and what holds for whoever connects there: a text, as in `--bind`, or a table `[[bind]]` of a file.

    127.0.0.1:8000                              an address alone
    unix:/run/web.sock,scheme=https             an address with an option
    [::1]:8000,proxy-protocol=on,forwarded-allow-ips=10.0.0.0/8+fd00::/8,127.0.0.1:8001     one with two, and another

A comma stands before each option and each further address. NAME=VALUE is an option of the address before it; no address
is of that form: what has an equals sign (`unix:a=b`) has a colon before it. `+` stands between the elements of a list.

To add an option, add a line to `Options`. Where there is a setting of that name, it is the default. Whether an address
is one is found out in `process/listeners.py`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from wsgiserver.values import SettingError, declare, flag, names, nearest, one_of, read

PROTOCOLS: Final = ("http",)
_OPTION: Final = re.compile(r"([A-Za-z][\w-]*)=(.*)", re.DOTALL)
_ADDRESS: Final = "an address: HOST:PORT or unix:PATH"


def several(text: str) -> tuple[str, ...]:
    """Parse a list with `+`, or commas where there can be some, between its elements."""
    return names(text.replace("+", ","))


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for the connections of one listener."""

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


# What makes no sense together, and the sentence that says so.
CONTRADICTIONS: Final[tuple[tuple[Callable[[Options], bool], str], ...]] = (
    (
        lambda its: its.proxy_protocol and not its.forwarded_allow_ips,
        "--proxy-protocol needs --forwarded-allow-ips: the proxies that are believed",
    ),
)


@dataclass(frozen=True, slots=True)
class Bind:
    """An address, and those options that were given with it, by the names of `Options`."""

    address: str
    given: Mapping[str, Any] = field(default_factory=dict)


def option_name(name: str) -> str:
    """`proxy_protocol` -> `proxy-protocol`."""
    return name.replace("_", "-")


def options_in_text() -> dict[str, Field[Any]]:
    """Return the options by their names in a text."""
    return {option_name(option.name): option for option in fields(Options)}


def addresses(text: str) -> tuple[str, ...]:
    """Parse a list of addresses: a server that listens nowhere is a mistake."""
    parts = names(text)
    if not parts:
        raise ValueError("at least one HOST:PORT or unix:PATH")
    for part in parts:
        if _OPTION.fullmatch(part):
            raise ValueError(f"{part} is an option, which only --bind takes")
    return parts


def binds(text: str) -> tuple[Bind, ...]:
    """Parse addresses with their options. Raises ValueError, which names the option, for what is not one."""
    found: list[tuple[str, dict[str, str]]] = []
    for part in names(text):
        option = _OPTION.fullmatch(part)
        if option is None:
            _refuse_option_alone(part)
            found.append((part, {}))
            continue
        if not found:
            raise ValueError(f"before {part} comes {_ADDRESS}")
        if option[1] in found[-1][1]:
            raise ValueError(f"{option[1]} is given twice for {found[-1][0]}")
        found[-1][1][option[1]] = option[2]
    if not found:
        raise ValueError("at least one HOST:PORT or unix:PATH")
    return tuple(Bind(address, read(given, options_in_text(), "", _not_an_option)) for address, given in found)


def bind_of_table(table: dict[str, Any], source: str) -> tuple[Bind]:
    """Read an address, and its options beside it, as a file has them. Raises SettingError."""
    given = dict(table)
    address = given.pop("address", None)
    if not isinstance(address, str) or "," in address or not address.strip():
        raise SettingError(f"{source}: address = {address!r} will not do: it has to be {_ADDRESS}, in quotes")
    known = {option.name: option for option in fields(Options)}
    return (Bind(address.strip(), read(given, known, f"{source} {address}: ", _not_an_option)),)


def describe(address: str, options: Options) -> str:
    """Return the text for an address and those of its options that are not as they are by default."""
    values = [(option, getattr(options, option.name)) for option in fields(Options)]
    return ",".join(
        [address, *(f"{option_name(of.name)}={_text(value)}" for of, value in values if value != of.default)]
    )


def _text(value: str | bool | tuple[str, ...]) -> str:  # noqa: FBT001 - a value of any option
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else "+".join(value)


def _refuse_option_alone(part: str) -> None:
    if part in options_in_text():
        raise ValueError(f"{part} is an option, and wants a value: {part}=VALUE")


def _not_an_option(name: str, known: Iterable[str]) -> str:
    other = nearest(name, known)
    return f"{name} is not an option of a listener; " + (
        f"the nearest is {other}" if other else f"known are {', '.join(known)}"
    )
