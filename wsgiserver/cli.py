"""The command line: arguments and variables -> Settings -> supervisor -> exit code.

0   stopped when asked to      2   unusable settings
1   could not listen           3   the application cannot be imported
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from wsgiserver import __version__
from wsgiserver.settings import SettingError, Settings, declared, flag, from_variables, parse
from wsgiserver.supervisor import Supervisor


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    application = given.pop("application")
    try:
        settings = _settings(given)
        supervisor = Supervisor(application, settings)
    except (SettingError, OSError) as error:
        print(f"wsgiserver: {error}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
        return 1 if isinstance(error, OSError) else 2
    return supervisor.run()


def _settings(given: dict[str, Any]) -> Settings:
    """A flag wins over a variable, a variable over the default."""
    values = from_variables(os.environ)
    for name, text in given.items():
        if isinstance(text, bool):
            values[name] = text
        elif text is not None:
            values[name] = parse(name, text, "--" + name.replace("_", "-"))
    return Settings(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsgiserver",
        description="Serve a WSGI application. Every setting can also be given as WSGISERVER_NAME.",
        allow_abbrev=False,
    )
    parser.add_argument("application", metavar="MODULE:APP", help="what to serve, as in config.wsgi:application")
    parser.add_argument("--version", action="version", version=f"wsgiserver {__version__}")
    for setting in declared():
        meta = setting.metadata
        name = "--" + setting.name.replace("_", "-")
        text = f"{meta['meaning']} ({meta['shown']})"
        if meta["parse"] is flag:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(*filter(None, (meta["short"], name)), default=None, help=text.replace("%", "%%"))
    return parser
