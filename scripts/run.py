"""Runs a command of scripts/ops: `python3 -I -S -X utf8 scripts/run.py deploy ...`, as scripts/python.sh does.

A Python that is too old for the other files must be able to read this one and report that: it uses nothing newer than
Python 3.3.
"""

import sys

OLDEST = (3, 9)


def main() -> int:
    if sys.version_info < OLDEST:
        found = "{}.{}".format(*sys.version_info[:2])
        sys.stderr.write("error: python3 is Python " + found + "; this command needs Python 3.9 or newer\n")
        return 1
    import importlib  # noqa: PLC0415  # an old Python does not get here
    import os  # noqa: PLC0415
    import pathlib  # noqa: PLC0415
    import signal  # noqa: PLC0415

    root = pathlib.Path(__file__).resolve().parent.parent
    sys.path.append(str(root))
    # As root this would write bytecode that the owner of the folder cannot delete.
    sys.dont_write_bytecode = os.getuid() != root.stat().st_uid
    for number in (signal.SIGTERM, signal.SIGHUP):  # exit normally, so that the command cleans up
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    console = importlib.import_module("scripts.ops.console")
    command = importlib.import_module("scripts.ops." + sys.argv[1])
    status: int = console.outcome(command.main, sys.argv[2:])
    return status


if __name__ == "__main__":
    sys.exit(main())
