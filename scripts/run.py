"""Runs a command of scripts/ops: `python3 -I -S -X utf8 scripts/run.py deploy ...`, which scripts/python.sh does.

This file is read by Pythons that are too old for the others, so that they can say so: it has nothing newer than
Python 3.3.
"""

import sys

OLDEST = (3, 9)


def main() -> int:
    if sys.version_info < OLDEST:
        found = "{}.{}".format(*sys.version_info[:2])
        sys.stderr.write("error: python3 is Python " + found + "; this command needs Python 3.9 or newer\n")
        return 1
    import importlib  # noqa: PLC0415  # older ones do not get here
    import os  # noqa: PLC0415
    import pathlib  # noqa: PLC0415
    import signal  # noqa: PLC0415

    root = pathlib.Path(__file__).resolve().parent.parent
    sys.path.append(str(root))
    # What root runs would leave bytecode that whoever has the folder cannot delete.
    sys.dont_write_bytecode = os.getuid() != root.stat().st_uid
    for number in (signal.SIGTERM, signal.SIGHUP):  # what has begun is tidied up
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    console = importlib.import_module("scripts.ops.console")
    command = importlib.import_module("scripts.ops." + sys.argv[1])
    status: int = console.outcome(command.main, sys.argv[2:])
    return status


if __name__ == "__main__":
    sys.exit(main())
