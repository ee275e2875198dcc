"""Quarantine for published files that no row names. They are deleted much later, or put back if a row names them again.

    .quarantine/<reading>/<key>     `reading` is the reading of the clock below when the file was put here
    .quarantine/clock               that clock: its reading in seconds, and the system time of that reading

A database can be wrong for a while (restored, failed over, replaced), and a rename can be undone. Nothing is served
from here: the storage keys in rows never begin with a dot.

The age of a file is measured by a clock that adds the time between two sweeps, but at most a day. So if the system
clock jumps ahead by a year, files age by at most a day; if it jumps back, they do not age at all.
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
    """Move a published file here, durably: after a power failure it is here or there. Raises OSError."""
    storage.make_folder(_top())
    _moved(storage.root() / key, _top() / f"{_tick():012}" / key)


def restore(key: str) -> bool:
    """Put the file back where a row expects it; return whether it is there now. Raises OSError."""
    final = storage.root() / key
    for folder in _folders():
        if final.exists():
            break
        with contextlib.suppress(FileNotFoundError):  # not in this folder, or another process has put it back
            _moved(folder / key, final)
    return final.exists()


def held() -> Iterator[tuple[str, Path]]:
    """Yield the storage key and the path of each file in quarantine."""
    for folder in _folders():
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                yield path.relative_to(folder).as_posix(), path


def expired(age: int) -> Iterator[tuple[str, Path]]:
    """Yield the files of `held` that have been here for `age` seconds."""
    if not _folders():
        return
    now = _tick()
    for key, path in held():
        if now - _reading(path.relative_to(_top()).parts[0]) >= age:
            yield key, path


def tidy() -> None:
    """Remove empty folders."""
    for folder in _folders():
        for parent, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(parent)  # noqa: PTH106 - os.walk's strings
            except OSError:
                continue  # not empty, or already removed


def _folders() -> list[Path]:
    return sorted(_top().glob("[0-9]*"))


def _moved(source: Path, target: Path) -> None:
    source.stat()  # raises before a folder is created for nothing
    storage.make_folder(target.parent)
    os.rename(source, target)  # noqa: PTH104 - as in storage.py
    storage.sync_folder(target.parent)
    storage.sync_folder(source.parent)


def _tick() -> int:
    """Advance the clock and return its reading."""
    now = int(time.time())
    reading, then = _last(now)
    reading += min(max(0, now - then), _STEP_MAX)
    with contextlib.suppress(OSError, Problem):  # on a full disk expired files must still be deleted
        storage.write_whole(f"{FOLDER}/clock", f"{reading} {now}\n", replace=True)
    return reading


def _last(now: int) -> tuple[int, int]:
    """Return the last reading and its time. If lost, continue from the newest file, so that no file becomes older."""
    try:
        reading, then = (_top() / "clock").read_text("ascii").split()
        return int(reading), int(then)
    except (OSError, ValueError):
        return max((_reading(folder.name) for folder in _folders()), default=0), now


def _reading(name: str) -> int:
    return int(name) if name.isdecimal() else 0
