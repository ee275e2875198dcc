"""The command line: arguments, variables and a file -> Settings -> supervisor -> exit code.

0   stopped when asked to      2   unusable settings
1   could not listen           3   the application cannot be imported

`wsgiserver healthcheck` is another command altogether: `__main__.py` sends it to `healthcheck.py`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wsgiserver import __version__
from wsgiserver import settings as given
from wsgiserver.settings import SettingError, Settings
from wsgiserver.supervisor import Supervisor, check
from wsgiserver.worker import loaded

_NOT_LOADED: Final = 3

# What people look for who come from gunicorn, where the nearest name would not help.
_GUNICORN: Final = {
    "-k --worker-class": "there is one kind of worker; --threads says how many requests each runs at once",
    "--worker-connections": "see --max-connections",
    "--worker-tmp-dir": "nothing of the kind is needed; large bodies go to --spool-dir",
    "--error-logfile --log-file --log-level --log-config --capture-output": "events are JSON on standard error",
    "--access-logformat": "a line of the access log is JSON",
    "--statsd-host": "/metrics of --admin-bind is for Prometheus",
    "--certfile --keyfile --ca-certs": "TLS is the business of a proxy in front",
    "-D --daemon -p --pid": "it stays in the foreground, under systemd or in a container",
    "-u --user -g --group -m --umask --chdir --pythonpath -e --env": "set that up before starting it",
    "--limit-request-line --limit-request-fields --limit-request-field_size": "the limits of a head are fixed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    _fill_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        application, settings = _understood(arguments)
        if settings.check_config:
            check(settings)
            return _checked(application)
        supervisor = Supervisor(application, settings)
    except (SettingError, OSError) as error:
        print(f"wsgiserver: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
        return 1 if isinstance(error, OSError) else 2
    return supervisor.run()


def _fill_standard_streams() -> None:
    """Where one was closed, a socket would get its number, and what is logged."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        pass
    os.close(fd)


def _checked(application: str) -> int:
    """Load it and say what is wrong with it, as a worker would; listen nowhere."""
    return _NOT_LOADED if isinstance(loaded(application), BaseException) else 0


def _understood(arguments: Sequence[str]) -> tuple[str, Settings]:
    """Return what to serve and how: a flag wins over a variable, a variable over the file, the file over a default."""
    known, unknown = _parser().parse_known_args(arguments)
    if unknown:
        raise _refused(unknown[0].partition("=")[0])
    flags = {name: value for name, value in vars(known).items() if value is not None}
    application: str = flags.pop("application")
    stronger = given.from_variables(os.environ) | given.from_flags(flags)
    return application, given.settle(_file(stronger.get("config")), stronger)


def _file(path: str | None) -> dict[str, object]:
    try:
        return given.from_file(Path(path).read_text(encoding="utf-8"), path) if path else {}
    except (OSError, UnicodeError) as error:
        raise SettingError(f"--config: {error}") from error


def _refused(name: str) -> SettingError:
    for flags, instead in _GUNICORN.items():
        if name in flags.split():
            return SettingError(f"{name} is gunicorn's; here, {instead}")
    return given.not_a_setting(name, [given.flag_name(setting.name) for setting in given.declared()])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsgiserver",
        usage="wsgiserver MODULE:APP [-b BIND] [-w WORKERS] [...]\n       wsgiserver healthcheck [--ready] [BIND]",
        description="Serve a WSGI application. Every setting can also be given as WSGISERVER_NAME, or in a file.",
        allow_abbrev=False,
    )
    parser.add_argument("application", metavar="MODULE:APP", help="what to serve, as in config.wsgi:application")
    parser.add_argument("--version", action="version", version=f"wsgiserver {__version__}")
    for setting in given.declared():
        meta, name = setting.metadata, given.flag_name(setting.name)
        text = f"{meta['meaning']} ({meta['shown']})".replace("%", "%%")
        if meta["parse"] is given.flag:
            parser.add_argument(name, dest=name, action=argparse.BooleanOptionalAction, help=text)
        else:
            action = "append" if isinstance(setting.default, tuple) else "store"
            names = filter(None, (meta["short"], name))
            parser.add_argument(*names, dest=name, action=action, metavar=setting.name.upper(), help=text)
    return parser
