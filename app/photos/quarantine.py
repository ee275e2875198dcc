"""Published files that no row knows: put aside, long before they are deleted, and put back when a row knows them again.

    .quarantine/<reading>/<key>   where `reading` is what the clock below said when the file came
    .quarantine/clock               that clock: seconds, and the wall clock's time when it said so

A database can be wrong for a while (restored, failed over, exchanged), and a rename can be undone. Nothing is served
from here: a name that a row has never begins with a dot.

The age of a file is told by a clock that counts the time from sweep to sweep, a day at most for each: a wall clock that
jumps ahead by a year ages nothing by more than a day, and one that jumps back ages nothing at all.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from photos import storage
from photos.errors import Problem

FOLDER = ".quarantine"
_STEP_MAX = 24 * 3600  # seconds


def _top() -> Path:
    return storage.root() / FOLDER


def put(key: str) -> None:
    """Move a published file here, durably: after a power cut it is in one of the two places. Raises OSError."""
    storage.make_folder(_top())
    _moved(storage.root() / key, _top() / f"{_tick():012}" / key)


def restore(key: str) -> bool:
    """Put the file back where a row says it is; whether it is there now. Raises OSError."""
    final = storage.root() / key
    for folder in _folders():
        if final.exists():
            break
        with contextlib.suppress(FileNotFoundError):  # not in this one, or somebody else has put it back
            _moved(folder / key, final)
    return final.exists()


def held() -> Iterator[tuple[str, Path]]:
    """All that is here: where it was, and where it is."""
    for folder in _folders():
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                yield path.relative_to(folder).as_posix(), path


def expired(age: int) -> Iterator[tuple[str, Path]]:
    """Those of `held` that have been here for `age` seconds."""
    if not _folders():
        return
    now = _tick()
    for key, path in held():
        if now - _reading(path.relative_to(_top()).parts[0]) >= age:
            yield key, path


def tidy() -> None:
    """Remove folders that are empty."""
    for folder in _folders():
        for parent, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(parent)  # noqa: PTH106 - os.walk's strings
            except OSError:
                continue  # not empty, or gone


def _folders() -> list[Path]:
    return sorted(_top().glob("[0-9]*"))


def _moved(source: Path, target: Path) -> None:
    source.stat()  # no folder is made for what is not there
    storage.make_folder(target.parent)
    os.rename(source, target)  # noqa: PTH104 - as in storage.py
    storage.sync_folder(target.parent)
    storage.sync_folder(source.parent)


def _tick() -> int:
    """Read the clock, after it has gone on."""
    now = int(time.time())
    reading, then = _last(now)
    reading += min(max(0, now - then), _STEP_MAX)
    with contextlib.suppress(OSError, Problem):  # on a full disk what is expired has to go all the same
        storage.write_whole(f"{FOLDER}/clock", f"{reading} {now}\n", replace=True)
    return reading


def _last(now: int) -> tuple[int, int]:
    """What it said last, and when. Without that it goes on from the youngest file, so that none is older."""
    try:
        reading, then = (_top() / "clock").read_text("ascii").split()
        return int(reading), int(then)
    except (OSError, ValueError):
        return max((_reading(folder.name) for folder in _folders()), default=0), now


def _reading(name: str) -> int:
    return int(name) if name.isdecimal() else 0
