"""Every setting, declared once: name, type, default and meaning. Flags, WSGISERVER_* variables, keys of the
configuration file and the table in the documentation all come from here. Nothing is opened, bound, imported or logged.

Durations are seconds, sizes bytes (written as `100m`: powers of 1024). To add a setting, add a line to `Settings`;
where it excludes another one, a line to `CONTRADICTIONS`.
"""

import tomllib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Annotated, Any, Final

from wsgiserver import binds
from wsgiserver.binds import Bind, Options
from wsgiserver.other_servers import instead_of
from wsgiserver.values import (
    SettingError,
    callable_name,
    count,
    count_or_auto,
    declare,
    flag,
    names,
    nearest,
    octal,
    positive_size,
    read,
    seconds,
    seconds_or_never,
    size,
    whole,
)

VARIABLE_PREFIX: Final = "WSGISERVER_"


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set. Only the command line and `process` see this; the rest gets plain values."""

    bind: tuple[Bind, ...] = declare(
        (Bind("127.0.0.1:8000"),),
        binds.binds,
        "where to listen: HOST:PORT or unix:PATH, several with commas; options follow one, as in :8000,scheme=https",
        "-b",
        "127.0.0.1:8000",
        binds.bind_of_table,
    )
    socket_mode: Annotated[int, "0o660 in a file would come as 432"] = declare(
        0o660, octal, "permissions of a unix socket, in octal", shown="660"
    )
    workers: int = declare(
        1, count_or_auto, "processes; auto for as many as the CPUs, their quota and the memory allow", "-w"
    )
    threads: int = declare(4, count, "threads in each process: how many requests it can run at once")
    max_body: int = declare(100 << 20, size, "largest request body; a larger one gets 413", shown="100m")
    spool_memory: int = declare(
        3 << 20, size, "how much of a body is kept in memory before it goes to a file: a photo", shown="3m"
    )
    spool_budget: int = declare(
        32 << 20, size, "how much memory all bodies of a process take together; beyond, they go to files", shown="32m"
    )
    spool_dir: str | None = declare(None, str, "folder for those files, with room for them", shown="the system's")
    head_budget: int = declare(
        16 << 20,
        size,
        "how much memory heads take together while they wait in one process; beyond, the largest get 503",
        shown="16m",
    )
    send_budget: int = declare(
        16 << 20,
        size,
        "the same for answers that clients have not taken yet; beyond, they go to files",
        shown="16m",
    )
    head_timeout: float = declare(15.0, seconds, "for a whole request head to arrive")
    body_idle_timeout: float = declare(30.0, seconds, "without a byte of a body until it is given up")
    body_timeout: float = declare(
        60.0, seconds, "for a whole body to arrive, and a second more for every body-rate bytes of it"
    )
    body_rate: int = declare(1 << 10, positive_size, "bytes a second a slow client has to send", shown="1k")
    keep_alive: float = declare(75.0, seconds, "an idle connection stays open: longer than the proxy in front keeps it")
    send_timeout: float = declare(30.0, seconds, "without a byte of an answer being taken until the client is given up")
    timeout: float = declare(
        30.0, seconds_or_never, "in the application without progress until its client gets 504; 0 for never", "-t"
    )
    graceful_timeout: float = declare(80.0, seconds, "for requests to finish when asked to stop; then they are cut off")
    drain_delay: float = declare(
        0.0,
        seconds_or_never,
        "seconds for which requests are still accepted after TERM, while /readyz says no: for load balancers that "
        "learn late; 0 for none",
        shown="0",
    )
    max_requests: int = declare(0, whole, "after which a worker is replaced; 0 for never")
    max_requests_jitter: int = declare(0, whole, "at most that many more, a different number for each worker")
    max_memory: int = declare(0, size, "resident bytes after which a worker is replaced; 0 for never")
    handoff: float = declare(0.005, seconds, "in one call until other requests go on without its thread")
    max_connections: int = declare(
        8_000,
        count,
        "connections of one process at once, if descriptors suffice; beyond, those without a request make room",
    )
    max_connections_per_address: int = declare(
        0, whole, "connections from one address to one process, trusted proxies excepted; 0 for any number"
    )
    preload: bool = declare(
        default=False,
        parse=flag,
        meaning="load the application once, before the processes are made, which then share its memory",
        shown="no",
    )
    worker_init: str | None = declare(
        None,
        callable_name,
        "MODULE:CALLABLE to call in each worker after the fork, before the worker loads the application",
        shown="none",
    )
    reload: bool = declare(
        default=False, parse=flag, meaning="for development: replace a worker when its code changes", shown="no"
    )
    check_config: bool = declare(
        default=False, parse=flag, meaning="only look at the settings, and import the application", shown="no"
    )
    forwarded_allow_ips: tuple[str, ...] = declare(
        (), names, "proxies whose X-Forwarded-* are believed: addresses, networks, or * for any", shown="none"
    )
    proxy_protocol: bool = declare(
        default=False,
        parse=flag,
        meaning="each connection comes from such a proxy, and begins with a PROXY protocol header, version 1 or 2",
        shown="no",
    )
    admin_bind: tuple[str, ...] = declare(
        (),
        binds.addresses,
        "where /healthz, /readyz and /metrics are answered: addresses as in --bind, without options",
        shown="nowhere",
    )
    access_log: bool = declare(default=True, parse=flag, meaning="a line of JSON for each request", shown="yes")
    access_logfile: str = declare("-", str, "the file those lines go to; - is standard output")
    config: str | None = declare(None, str, "TOML file with settings; a variable wins over it", "-c", "none")


# What makes no sense together, and the sentence that says so.
CONTRADICTIONS: Final[tuple[tuple[Callable[[Settings], bool], str], ...]] = (
    (lambda its: not its.access_log and its.access_logfile != "-", "--no-access-log excludes --access-logfile"),
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
    return read(given, {flag_name(setting.name): setting for setting in declared()}, "", not_a_setting)


def from_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read WSGISERVER_* variables. One that is not a setting is refused: a typing error loses data."""
    given = {variable: text for variable, text in environment.items() if variable.startswith(VARIABLE_PREFIX)}
    return read(given, {VARIABLE_PREFIX + setting.name.upper(): setting for setting in declared()}, "", not_a_setting)


def from_file(data: bytes, path: str) -> dict[str, Any]:
    """Read what is in a TOML file; `path` is what to call it. Editors may have put a byte order mark in front."""
    try:
        given = tomllib.loads(data.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}: this is not UTF-8, which TOML has to be; save it anew as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path}: {error}; it has to be TOML, as in: workers = 2") from error
    known = {setting.name: setting for setting in declared() if setting.name != "config"}
    return read(given, known, f"{path}: ", not_a_setting)


def from_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Take arguments of a program: as in a file, with tuples for lists as well."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return read(values, {setting.name: setting for setting in declared()}, "", not_a_setting)


def settle(*sources: Mapping[str, Any]) -> Settings:
    """Put sources together, the strongest last."""
    settings = Settings(**{name: value for source in sources for name, value in source.items()})
    _refuse_contradictions(settings)
    return settings


def options(settings: Settings, bind: Bind | None = None) -> Options:
    """Return what holds for the listeners of `bind`, or for one that nothing was said of."""
    general = {
        option.name: getattr(settings, option.name) for option in fields(Options) if hasattr(settings, option.name)
    }
    return Options(**general | dict(bind.given if bind is not None else {}))


def not_a_setting(name: str, known: Iterable[str]) -> str:
    """Say what to write where `name` is none of those that are known."""
    if instead := instead_of(name.removeprefix(VARIABLE_PREFIX)):
        return f"{name} is not a setting here: {instead}"
    other = nearest(name, known)
    return f"{name} is not a setting; " + (f"the nearest is {other}" if other else "wsgiserver --help shows all")


def _refuse_contradictions(settings: Settings) -> None:
    for applies, sentence in CONTRADICTIONS:
        if applies(settings):
            raise SettingError(sentence)
    for bind in settings.bind:
        for is_wrong, sentence in binds.CONTRADICTIONS:
            if is_wrong(options(settings, bind)):
                about = f"--bind {bind.address}: {sentence.replace('--', '')}"
                raise SettingError(about if bind.given else sentence)
