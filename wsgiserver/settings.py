"""Every setting, declared once: name, type, default and meaning. Flags, WSGISERVER_* variables, keys of the
configuration file and the table in the documentation all come from here. Nothing is opened, bound, imported or logged.

Durations are seconds, sizes bytes (written as `100m`: powers of 1024). To add a setting, add a line to `Settings`;
where it excludes another one, a line to `CONTRADICTIONS`.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Annotated, Any, Final

VARIABLE_PREFIX: Final = "WSGISERVER_"
_SIZE = re.compile(r"([0-9]+)([kmg]?)", re.IGNORECASE)
_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TRUTH: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
# What may stand in a configuration file, and how it is called there, beside a string: as for a flag.
_NATIVE: Final[dict[Any, set[type]]] = {int: {int}, float: {int, float}, bool: {bool}, tuple[str, ...]: {list}}


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
    socket_mode: Annotated[int, "0o660 in a file would come as 432"] = _setting(
        0o660, octal, "permissions of a unix socket, in octal", shown="660"
    )
    workers: int = _setting(
        1, count_or_auto, "processes; auto for as many as the CPUs, their quota and the memory allow", "-w"
    )
    threads: int = _setting(4, count, "threads in each process: how many requests it can run at once")
    max_body: int = _setting(100 << 20, size, "largest request body; a larger one gets 413", shown="100m")
    spool_memory: int = _setting(
        3 << 20, size, "how much of a body is kept in memory before it goes to a file: a photo", shown="3m"
    )
    spool_budget: int = _setting(
        32 << 20, size, "how much memory all bodies of a process take together; beyond, they go to files", shown="32m"
    )
    spool_dir: str | None = _setting(None, str, "folder for those files, with room for them", shown="the system's")
    head_budget: int = _setting(
        16 << 20,
        size,
        "how much memory heads take together while they wait in one process; beyond, the largest get 503",
        shown="16m",
    )
    send_budget: int = _setting(
        16 << 20,
        size,
        "the same for answers that clients have not taken yet; beyond, they go to files",
        shown="16m",
    )
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
        30.0, seconds_or_never, "in the application without progress until its client gets 504; 0 for never", "-t"
    )
    graceful_timeout: float = _setting(
        80.0, seconds, "for requests to finish when asked to stop; then they are cut off"
    )
    max_requests: int = _setting(0, whole, "after which a worker is replaced; 0 for never")
    max_requests_jitter: int = _setting(0, whole, "at most that many more, a different number for each worker")
    max_memory: int = _setting(0, size, "resident bytes after which a worker is replaced; 0 for never")
    handoff: float = _setting(0.005, seconds, "in one call until other requests go on without its thread")
    max_connections: int = _setting(
        8_000,
        count,
        "connections of one process at once, if descriptors suffice; beyond, those without a request make room",
    )
    max_connections_per_address: int = _setting(
        0, whole, "connections from one address to one process, trusted proxies excepted; 0 for any number"
    )
    preload: bool = _setting(
        default=False,
        parse=flag,
        meaning="load the application once, before the processes are made, which then share its memory",
        shown="no",
    )
    reload: bool = _setting(
        default=False, parse=flag, meaning="for development: replace a worker when its code changes", shown="no"
    )
    check_config: bool = _setting(
        default=False, parse=flag, meaning="only look at the settings, and import the application", shown="no"
    )
    forwarded_allow_ips: tuple[str, ...] = _setting(
        (), names, "proxies whose X-Forwarded-* are believed: addresses, networks, or * for any", shown="none"
    )
    proxy_protocol: bool = _setting(
        default=False,
        parse=flag,
        meaning="each connection comes from such a proxy, and begins with a PROXY protocol header, version 1 or 2",
        shown="no",
    )
    admin_bind: tuple[str, ...] = _setting(
        (), binds, "where /healthz, /readyz and /metrics are answered, as in --bind", shown="nowhere"
    )
    access_log: bool = _setting(default=True, parse=flag, meaning="a line of JSON for each request", shown="yes")
    access_logfile: str = _setting("-", str, "the file those lines go to; - is standard output")
    config: str | None = _setting(None, str, "TOML file with settings; a variable wins over it", "-c", "none")


# What makes no sense together, and the sentence that says so.
CONTRADICTIONS: Final[tuple[tuple[Callable[[Settings], bool], str], ...]] = (
    (lambda its: not its.access_log and its.access_logfile != "-", "--no-access-log excludes --access-logfile"),
    (
        lambda its: its.proxy_protocol and not its.forwarded_allow_ips,
        "--proxy-protocol needs --forwarded-allow-ips: the proxies that are believed",
    ),
    (lambda its: its.max_requests_jitter > 0 and not its.max_requests, "--max-requests-jitter needs --max-requests"),
    (lambda its: its.preload and its.reload, "--preload loads the application once, --reload again: only one of them"),
)


def declared() -> tuple[Field[Any], ...]:
    """Return the settings in the order of their declaration."""
    return fields(Settings)


def flag_name(name: str) -> str:
    """`max_body` -> `--max-body`."""
    return "--" + name.replace("_", "-")


def from_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Take flags, by their long names; where they can be repeated, a list of texts. Raises SettingError, as do all."""
    return _read(given, {flag_name(setting.name): setting for setting in declared()})


def from_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read WSGISERVER_* variables. One that is not a setting is refused: a typing error loses data."""
    given = {variable: text for variable, text in environment.items() if variable.startswith(VARIABLE_PREFIX)}
    return _read(given, {VARIABLE_PREFIX + setting.name.upper(): setting for setting in declared()})


def from_file(text: str, path: str) -> dict[str, Any]:
    """Read the text of a TOML file; `path` is what to call it."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path}: {error}") from error
    known = {setting.name: setting for setting in declared() if setting.name != "config"}
    return _read(given, known, f"{path}: ")


def settle(*sources: Mapping[str, Any]) -> Settings:
    """Put sources together, the strongest last."""
    settings = Settings(**{name: value for source in sources for name, value in source.items()})
    for applies, sentence in CONTRADICTIONS:
        if applies(settings):
            raise SettingError(sentence)
    return settings


def not_a_setting(name: str, known: Iterable[str]) -> SettingError:
    """Return what to raise where `name` is none of those that are known."""
    nearest = get_close_matches(name, known, 1)
    hint = f"the nearest is {nearest[0]}" if nearest else "wsgiserver --help shows all"
    return SettingError(f"{name} is not a setting; {hint}")


def _read(given: Mapping[str, Any], known: Mapping[str, Field[Any]], place: str = "") -> dict[str, Any]:
    values = {}
    for name, value in given.items():
        if name not in known:
            raise SettingError(f"{place}{not_a_setting(name, known)}")
        values[known[name].name] = _parse(known[name], value, place + name)
    return values


def _parse(setting: Field[Any], value: Any, source: str) -> Any:
    """Parse a text, or what a file or a flag has in its place; `source` is where it was found."""
    if type(value) not in {str, *_NATIVE.get(setting.type, ())}:  # and a boolean is no number
        raise SettingError(f"{source}: {value!r} will not do: it is of type {type(value).__name__}; a string would do")
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        return setting.metadata["parse"](text)
    except ValueError as error:
        raise SettingError(f"{source}: {text!r} will not do: {error}") from error
