"""Every setting, declared once: name, type, default and meaning. Flags, WSGISERVER_* variables and the table in
the documentation all come from here. Nothing is opened, bound, imported or logged.

Durations are seconds, sizes bytes (written as `100m`: powers of 1024).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

VARIABLE_PREFIX: Final = "WSGISERVER_"
_SIZE = re.compile(r"([0-9]+)([kmg]?)", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TRUTH: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


class SettingError(ValueError):
    """A setting that cannot be used; the message names it and says what would do."""


def size(text: str) -> int:
    """Parse `512k`, `100m`, `1g` or plain bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a size is a number with k, m, g or nothing behind it, like 100m")
    return int(match[1]) * _FACTORS[match[2].lower()]


def positive_size(text: str) -> int:
    """Parse a size of at least a byte."""
    value = size(text)
    if not value:
        raise ValueError("at least 1")
    return value


def seconds(text: str) -> float:
    """Parse a positive number of seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError("a duration is a positive number of seconds")
    return value


def seconds_or_never(text: str) -> float:
    """Parse a number of seconds, 0 being never."""
    return 0.0 if text.strip() in {"0", "0.0"} else seconds(text)


def count(text: str) -> int:
    """Parse a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise ValueError("at least 1")
    return value


def whole(text: str) -> int:
    """Parse a whole number from 0 on."""
    value = int(text)
    if value < 0:
        raise ValueError("at least 0")
    return value


def flag(text: str) -> bool:
    """Parse a yes or a no."""
    try:
        return _TRUTH[text.strip().lower()]
    except KeyError:
        raise ValueError("yes or no") from None


def names(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def binds(text: str) -> tuple[str, ...]:
    """Parse a list of addresses: a server that listens nowhere is a mistake."""
    addresses = names(text)
    if not addresses:
        raise ValueError("at least one HOST:PORT or unix:PATH")
    return addresses


def _setting(default: Any, parse: Callable[[str], Any], meaning: str, short: str = "", shown: str = "") -> Any:
    return field(
        default=default,
        metadata={"parse": parse, "meaning": meaning, "short": short, "shown": shown or str(default)},
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set. Only the command line, the supervisor and the worker see this; the rest gets plain values."""

    bind: tuple[str, ...] = _setting(
        ("127.0.0.1:8000",),
        binds,
        "where to listen: HOST:PORT or unix:PATH, several with commas",
        "-b",
        "127.0.0.1:8000",
    )
    workers: int = _setting(1, count, "processes", "-w")
    threads: int = _setting(4, count, "threads in each process: how many requests it can run at once")
    max_body: int = _setting(100 << 20, size, "largest request body; a larger one gets 413", shown="100m")
    spool_memory: int = _setting(
        512 << 10, size, "how much of a body is kept in memory before it goes to a file", shown="512k"
    )
    spool_dir: str | None = _setting(None, str, "folder for those files, with room for them", shown="the system's")
    head_timeout: float = _setting(15.0, seconds, "for a whole request head to arrive")
    body_idle_timeout: float = _setting(30.0, seconds, "without a byte of a body until it is given up")
    body_timeout: float = _setting(
        60.0, seconds, "for a whole body to arrive, and a second more for every body-rate bytes of it"
    )
    body_rate: int = _setting(1 << 10, positive_size, "bytes a second a slow client has to send", shown="1k")
    keep_alive: float = _setting(
        75.0, seconds, "an idle connection stays open: longer than the proxy in front keeps it"
    )
    send_timeout: float = _setting(
        30.0, seconds, "without a byte of an answer being taken until the client is given up"
    )
    timeout: float = _setting(
        30.0, seconds_or_never, "in the application without progress until its client gets 504; 0 for never"
    )
    graceful_timeout: float = _setting(
        80.0, seconds, "for requests to finish when asked to stop; then they are cut off"
    )
    handoff: float = _setting(0.005, seconds, "in one call until other requests go on without its thread")
    max_connections: int = _setting(
        10_000, count, "connections of one process at once; beyond, idle ones are closed, then new ones wait"
    )
    max_connections_per_address: int = _setting(
        0, whole, "connections from one address to one process, trusted proxies excepted; 0 for any number"
    )
    forwarded_allow_ips: tuple[str, ...] = _setting(
        (), names, "proxies whose X-Forwarded-* are believed: addresses, networks, or * for any", shown="none"
    )
    admin_bind: tuple[str, ...] = _setting(
        (), binds, "where /healthz, /readyz and /metrics are answered, as in --bind", shown="nowhere"
    )
    access_log: bool = _setting(
        default=True, parse=flag, meaning="a line of JSON on standard output for each request", shown="yes"
    )


def declared() -> tuple[Field[Any], ...]:
    """Return the settings in the order of their declaration."""
    return fields(Settings)


def parse(name: str, text: str, source: str) -> Any:
    """Parse one value; raises SettingError naming `source`, the flag or variable it came from."""
    (setting,) = [setting for setting in declared() if setting.name == name]
    try:
        return setting.metadata["parse"](text)
    except ValueError as error:
        raise SettingError(f"{source}: {text!r} will not do: {error}") from error


def from_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read WSGISERVER_* variables. Raises SettingError for one that is not a setting: a typing error loses data."""
    known = {VARIABLE_PREFIX + setting.name.upper(): setting.name for setting in declared()}
    values = {}
    for variable, text in environment.items():
        if not variable.startswith(VARIABLE_PREFIX):
            continue
        if variable not in known:
            raise SettingError(f"{variable} is not a setting; there are: {', '.join(sorted(known))}")
        values[known[variable]] = parse(known[variable], text, variable)
    return values
