"""The command line: arguments, variables and a file -> Settings -> supervisor -> exit code.

0   stopped when asked to      2   unusable settings
1   could not listen           3   the application cannot be imported

`wsgiserver healthcheck` is another command altogether: `__main__.py` sends it to `healthcheck.py`.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from wsgiserver import appspec
from wsgiserver import settings as given
from wsgiserver.process.importing import CANNOT_IMPORT, can_be_loaded
from wsgiserver.process.preflight import check, places
from wsgiserver.process.supervisor import Supervisor
from wsgiserver.settings import Settings
from wsgiserver.values import SettingError, flag
from wsgiserver.version import VERSION

_EPILOG: Final = """\
Each option is also a variable, and a key in the file of --config: --max-body is
WSGISERVER_MAX_BODY and max_body. A size is a number of bytes, or digits
followed by k, m or g (powers of 1024), such as 100m.

examples:
  wsgiserver config.wsgi:application -b 0.0.0.0:8000 -w 2 --max-body 200m
  wsgiserver "shop:create_app('live')" -b unix:/run/web.sock --timeout 60
"""


def main(arguments: Sequence[str] | None = None) -> int:
    _fill_standard_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        application, settings = _understood(arguments)
        if settings.check_config:
            check(settings)
            places(settings)
            return 0 if can_be_loaded(application, settings.worker_init) else CANNOT_IMPORT
        supervisor = Supervisor(application, settings)
    except (SettingError, OSError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else error
        print(f"wsgiserver: {text}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
        return 1 if isinstance(error, OSError) else 2
    return supervisor.run()


def _fill_standard_streams() -> None:
    """A socket would get the number of a stream that is closed, and with it what is logged."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - standard error
        pass
    os.close(fd)


def _understood(arguments: Sequence[str]) -> tuple[str, Settings]:
    """Return what to serve and how. A flag overrides a variable, a variable the file, and the file a default."""
    known, unknown = _parser().parse_known_args(arguments)
    if unknown:
        raise _refused(unknown[0])
    flags = {name: value for name, value in vars(known).items() if value is not None}
    application: str = flags.pop("application")
    try:
        appspec.parse(application)
    except ValueError as error:
        raise SettingError(f"MODULE:APP: {error}") from error
    sources = given.from_variables(os.environ), given.from_flags(flags)
    return application, given.settle(_file(*sources), *sources)


def _file(*sources: given.SettingsSource) -> Mapping[str, Any]:
    """Read the file that the last of the sources names, if one does."""
    source = next((source for source in reversed(sources) if source.get("config")), None)
    if source is None:
        return {}
    path: str = source["config"]
    try:
        return given.from_file(Path(path).read_bytes(), path)
    except OSError as error:
        name = source.spell("config")
        raise SettingError(f"{name}: {path} cannot be read ({error.strerror}); name a TOML file") from error


def _refused(text: str) -> SettingError:
    """Return the message about an argument that is neither the application nor a setting."""
    name = text.partition("=")[0]
    if not name.startswith("-"):
        is_address = re.fullmatch(r".*:[0-9]+|[0-9]+", text)
        instead = f"to listen there, write --bind {text}" if is_address else "write only one MODULE:APP"
        return SettingError(f"{text} is one argument too many; {instead}")
    return SettingError(given.not_a_setting(name, [given.flag_name(setting.name) for setting in given.declared()]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsgiserver",
        usage="wsgiserver MODULE:APP [-b ADDRESSES] [-w NUMBER] [...]\n       wsgiserver healthcheck [--ready] [BIND]",
        description="Serve a WSGI application.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wsgiserver {VERSION}")
    groups = {title: parser.add_argument_group(title) for title in given.GROUPS}
    groups[given.GROUPS[0]].add_argument(
        "application",
        metavar="MODULE:APP",
        help="application to serve: config.wsgi:application, or shop:create_app(debug=False) for what that returns",
    )
    for setting in given.declared():
        meta, name = setting.metadata, given.flag_name(setting.name)
        text = f"{meta['meaning']} (default: {meta['shown']})".replace("%", "%%")
        group = groups[meta["group"]]
        if meta["parse"] is flag:
            group.add_argument(name, dest=name, action=argparse.BooleanOptionalAction, help=text)
        else:
            action = "append" if isinstance(setting.default, tuple) else "store"
            names = filter(None, (meta["short"], name))
            metavar = given.METAVARS[meta["parse"]]
            group.add_argument(*names, dest=name, action=action, metavar=metavar, help=text)
    return parser
