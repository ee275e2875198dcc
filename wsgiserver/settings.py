"""Every setting, declared once: name, type, default and meaning. Flags, WSGISERVER_* variables, keys of the
configuration file, `--help` and the table in the documentation all come from here. Nothing is opened, bound, imported
or logged.

Durations are seconds, sizes bytes (written as `100m`: powers of 1024). To add a setting, add a line to `Settings`;
where it excludes another one, add a line to `CONTRADICTIONS`.

The meaning of a setting is read alone, one line among many. It begins with a noun that says what the value is, with
its unit ("seconds ...", "bytes ..."); that of a switch begins with a verb.
"""

import re
import tomllib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
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

# The groups in which --help shows the settings, in this order.
_WHERE: Final = "what to serve, and where"
_PROCESSES: Final = "processes and threads"
_BODIES: Final = "bodies and memory"
_TIME: Final = "time limits"
_CONNECTIONS: Final = "connections"
_PROXIES: Final = "proxies"
_LOGS: Final = "logs and health"
_DEVELOPMENT: Final = "development and deployment"
GROUPS: Final = (_WHERE, _PROCESSES, _BODIES, _TIME, _CONNECTIONS, _PROXIES, _LOGS, _DEVELOPMENT)
# What stands behind a flag there, by the parser of its value; a switch has none.
METAVARS: Final[dict[Callable[[str], Any], str]] = {
    binds.binds: "ADDRESSES",
    binds.addresses: "ADDRESSES",
    callable_name: "MODULE:CALLABLE",
    count: "NUMBER",
    count_or_auto: "NUMBER",
    names: "LIST",
    octal: "DIGITS",
    positive_size: "SIZE",
    seconds: "SECONDS",
    seconds_or_never: "SECONDS",
    size: "SIZE",
    whole: "NUMBER",
    str: "PATH",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set. Only the command line and `process` see this; the rest gets plain values."""

    bind: tuple[Bind, ...] = declare(
        (Bind("127.0.0.1:8000"),),
        binds.binds,
        "addresses to listen on: HOST:PORT or unix:PATH, with commas between; options follow one: :8000,scheme=https",
        "-b",
        "127.0.0.1:8000",
        binds.bind_of_table,
        group=_WHERE,
    )
    socket_mode: Annotated[int, "0o660 in a file would come as 432"] = declare(
        0o660, octal, "permissions of the file of a unix socket, as octal digits", shown="660", group=_WHERE
    )
    config: str | None = declare(
        None, str, "TOML file with settings; a variable or a flag overrides it", "-c", "none", group=_WHERE
    )

    workers: int = declare(
        1,
        count_or_auto,
        "worker processes; auto for as many as the CPUs, the CPU quota and the memory allow",
        "-w",
        group=_PROCESSES,
    )
    threads: int = declare(
        4, count, "threads in each worker, each of which runs one request at a time", group=_PROCESSES
    )
    handoff: float = declare(
        0.005,
        seconds,
        "seconds that an application call may run before another thread takes over the event loop",
        group=_PROCESSES,
    )
    max_requests: int = declare(0, whole, "requests after which a worker is replaced; 0 disables it", group=_PROCESSES)
    max_requests_jitter: int = declare(
        0,
        whole,
        "requests that are added to --max-requests at most, at random for each worker",
        group=_PROCESSES,
    )
    max_memory: int = declare(
        0, size, "bytes of resident memory after which a worker is replaced; 0 disables it", group=_PROCESSES
    )
    preload: bool = declare(
        default=False,
        parse=flag,
        meaning="load the application once, before the workers are forked, which then share its memory",
        shown="no",
        group=_PROCESSES,
    )
    worker_init: str | None = declare(
        None,
        callable_name,
        "callable, as MODULE:CALLABLE, that each worker calls after the fork and before it loads the application",
        shown="none",
        group=_PROCESSES,
    )

    max_body: int = declare(
        100 << 20, size, "bytes of the largest request body; a larger one gets a 413", shown="100m", group=_BODIES
    )
    spool_memory: int = declare(  # a photo
        3 << 20,
        size,
        "bytes up to which a request body stays in memory; a larger one goes to a file",
        shown="3m",
        group=_BODIES,
    )
    spool_budget: int = declare(
        32 << 20,
        size,
        "bytes of memory for all request bodies of a worker; beyond it, they go to files",
        shown="32m",
        group=_BODIES,
    )
    head_budget: int = declare(
        16 << 20,
        size,
        "bytes of memory for all requests of a worker that wait, bodies excluded; beyond it, the largest get a 503",
        shown="16m",
        group=_BODIES,
    )
    send_budget: int = declare(
        16 << 20,
        size,
        "bytes of memory for what clients have not yet read of their responses, in each worker; beyond it, "
        "that goes to files",
        shown="16m",
        group=_BODIES,
    )
    spool_dir: str | None = declare(
        None,
        str,
        "directory for the files of request bodies and responses, with enough room for them",
        shown="the system's temporary directory",
        group=_BODIES,
    )

    head_timeout: float = declare(15.0, seconds, "seconds to receive the complete request head", group=_TIME)
    body_idle_timeout: float = declare(
        30.0, seconds, "seconds without any data of a request body before the client gets a 408", group=_TIME
    )
    body_timeout: float = declare(
        60.0,
        seconds,
        "seconds to receive the complete request body, and one more for every --body-rate bytes received",
        group=_TIME,
    )
    body_rate: int = declare(
        1 << 10,
        positive_size,
        "bytes per second that a request body needs; a slower one gets a 408 once the body timeout is over",
        shown="1k",
        group=_TIME,
    )
    timeout: float = declare(
        30.0,
        seconds_or_never,
        "seconds without progress in the application before the client gets a 504; 0 disables it",
        "-t",
        group=_TIME,
    )
    send_timeout: float = declare(
        30.0,
        seconds,
        "seconds without the client taking any data of the response before the connection is cut off",
        group=_TIME,
    )
    keep_alive: float = declare(
        75.0,
        seconds,
        "seconds for which an idle connection stays open; more than the proxy in front keeps it",
        group=_TIME,
    )
    graceful_timeout: float = declare(
        80.0, seconds, "seconds for requests to finish when a worker has to stop; then they are cut off", group=_TIME
    )
    drain_delay: float = declare(
        0.0,
        seconds_or_never,
        "seconds after TERM in which requests are still accepted while /readyz answers 503, for load balancers that "
        "notice late; 0 disables it",
        group=_TIME,
    )

    max_connections: int = declare(
        8_000,
        count,
        "connections that a worker has open at once, if it may have the descriptors; beyond it, connections without a "
        "request are closed",
        group=_CONNECTIONS,
    )
    max_connections_per_address: int = declare(
        0,
        whole,
        "connections from one address to one worker, trusted proxies excepted; 0 disables the limit",
        group=_CONNECTIONS,
    )

    forwarded_allow_ips: tuple[str, ...] = declare(
        (),
        names,
        "proxies whose X-Forwarded-* headers are trusted: addresses, networks, or * for all",
        shown="none",
        group=_PROXIES,
    )
    proxy_protocol: bool = declare(
        default=False,
        parse=flag,
        meaning="require a PROXY protocol header, version 1 or 2, at the start of each connection, from a proxy in "
        "--forwarded-allow-ips",
        shown="no",
        group=_PROXIES,
    )

    access_log: bool = declare(
        default=True, parse=flag, meaning="write a line of JSON for each request", shown="yes", group=_LOGS
    )
    access_logfile: str = declare("-", str, "file for the access log; - is standard output", group=_LOGS)
    admin_bind: tuple[str, ...] = declare(
        (),
        binds.addresses,
        "addresses that answer /healthz, /readyz and /metrics, as in --bind, without options",
        shown="none",
        group=_LOGS,
    )

    reload: bool = declare(
        default=False,
        parse=flag,
        meaning="replace a worker when the code of the application changes",
        shown="no",
        group=_DEVELOPMENT,
    )
    check_config: bool = declare(
        default=False,
        parse=flag,
        meaning="check the settings, import the application, and exit without listening",
        shown="no",
        group=_DEVELOPMENT,
    )

    # Of each setting that was given, what spells its name as it was written there: for error messages.
    spelling: Mapping[str, Callable[[str], str]] = field(default_factory=dict, compare=False, repr=False)

    def spelled(self, name: str, beside: str = "") -> str:
        """Return the name of a setting as the user wrote it, or would have written it beside another one."""
        return (self.spelling.get(name) or self.spelling.get(beside) or flag_name)(name)


# Settings that exclude or need each other: when they do, which two they are, and the message about their names.
CONTRADICTIONS: Final[tuple[tuple[Callable[[Settings], bool], str, str, str], ...]] = (
    (
        lambda its: not its.access_log and its.access_logfile != "-",
        "access_log",
        "access_logfile",
        "{} turns off the log that {} names a file for; leave one of them out",
    ),
    (
        lambda its: its.max_requests_jitter > 0 and not its.max_requests,
        "max_requests_jitter",
        "max_requests",
        "{} has no effect without {}; set both or neither",
    ),
    (
        lambda its: its.preload and its.reload,
        "preload",
        "reload",
        "{} loads the application once, but {} loads it again after each change; leave one of them out",
    ),
)


class SettingsSource(dict[str, Any]):
    """The values of settings from one place, and how that place spells the name of a setting."""

    def __init__(self, values: Mapping[str, Any], spell: Callable[[str], str]) -> None:
        super().__init__(values)
        self.spell = spell


def declared() -> tuple[Field[Any], ...]:
    """Return the settings in the order of their declaration."""
    return tuple(each for each in fields(Settings) if each.metadata)


def flag_name(name: str) -> str:
    """`max_body` -> `--max-body`."""
    return "--" + name.replace("_", "-")


def variable_name(name: str) -> str:
    """`max_body` -> `WSGISERVER_MAX_BODY`."""
    return VARIABLE_PREFIX + name.upper()


def from_flags(given: Mapping[str, Any]) -> SettingsSource:
    """Read flags, by their long names; a repeated one is a list of texts. Raises SettingError, as all of these do."""
    values = read(given, {flag_name(setting.name): setting for setting in declared()}, "", not_a_setting)
    return SettingsSource(values, lambda name: flag_name(f"no_{name}" if values.get(name) is False else name))


def from_variables(environment: Mapping[str, str]) -> SettingsSource:
    """Read WSGISERVER_* variables. One that is not a setting is refused: a typing error could lose data."""
    given = {variable: text for variable, text in environment.items() if variable.startswith(VARIABLE_PREFIX)}
    known = {variable_name(setting.name): setting for setting in declared()}
    return SettingsSource(read(given, known, "", not_a_setting), variable_name)


def from_file(data: bytes, path: str) -> SettingsSource:
    """Read a TOML file; messages name it by `path`. Editors may have put a byte order mark in front."""
    try:
        given = tomllib.loads(data.removeprefix(BOM_UTF8).decode())
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}: this file is not UTF-8, as TOML has to be; save it again as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path}: {_toml_mistake(str(error))}") from error
    known = {setting.name: setting for setting in declared() if setting.name != "config"}
    return SettingsSource(read(given, known, f"{path}: ", not_a_setting), lambda name: f"{path}: {name}")


def _toml_mistake(text: str) -> str:
    """Return our own message for that of tomllib, which ends with the place."""
    place = re.search(r"line [0-9]+", text)
    line = place[0] if place is not None else "the last line"
    if "overwrite" in text:
        return f"{line} sets a name that has a value already; leave one of them out"
    return f"{line} is not TOML; write NAME = VALUE, such as workers = 2"


def from_arguments(given: Mapping[str, Any]) -> SettingsSource:
    """Read the arguments of a program: as in a file, and tuples are lists too."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return SettingsSource(read(values, {setting.name: setting for setting in declared()}, "", not_a_setting), str)


def settle(*sources: Mapping[str, Any]) -> Settings:
    """Put sources together; a later one overrides those before it."""
    values = {name: value for source in sources for name, value in source.items()}
    spelling = {name: source.spell for source in sources if isinstance(source, SettingsSource) for name in source}
    settings = Settings(**values, spelling=spelling)
    _refuse_contradictions(settings)
    return settings


def options(settings: Settings, bind: Bind | None = None) -> Options:
    """Return the options of the listeners of `bind`, or of one without options of its own."""
    general = {
        option.name: getattr(settings, option.name) for option in fields(Options) if hasattr(settings, option.name)
    }
    return Options(**general | dict(bind.given if bind is not None else {}))


def not_a_setting(name: str, known: Iterable[str]) -> str:
    """Return the message about a name that is not among those that are known."""
    if instead := instead_of(name.removeprefix(VARIABLE_PREFIX)):
        return f"{name} is not a setting here: {instead}"
    other = nearest(name, known)
    return f"{name} is not a setting; " + (f"the nearest is {other}" if other else "wsgiserver --help shows all")


def _refuse_contradictions(settings: Settings) -> None:
    for applies, name, other, message in CONTRADICTIONS:
        if applies(settings):
            raise SettingError(message.format(settings.spelled(name), settings.spelled(other, name)))
    for bind in settings.bind:
        for is_wrong, name, other, message in binds.CONTRADICTIONS:
            if not is_wrong(options(settings, bind)):
                continue
            if bind.given:
                names = map(binds.option_name, (name, other))
                raise SettingError(f"{settings.spelled('bind')} {bind.address}: {message.format(*names)}")
            raise SettingError(message.format(settings.spelled(name), settings.spelled(other, name)))
