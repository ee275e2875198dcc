"""Only one of up, down, deploy, backup and restore at a time; the other ones wait for it, then give up.

The kernel drops the lock with the last process that has it open, however that ends: also what was started meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from typing import TYPE_CHECKING

from .console import Failure, say

if TYPE_CHECKING:
    from pathlib import Path

    from .settings import Settings

POLL = 0.2  # seconds


def hold(settings: Settings, wait: float, who: str) -> None:
    """Until this process ends, and those that it starts. `who` is what others are told."""
    descriptor = os.open(prepare(settings), os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    take(descriptor, settings, wait, f"{who} (process {os.getpid()})")


def prepare(settings: Settings) -> Path:
    """Return the file, which is there, and which only its owner may write to.

    Root's nightly backup and a person's deploy share it: it belongs to whom the folder does, and to lock it one only
    has to read it.
    """
    file = settings.note(".lock")
    file.parent.mkdir(exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    except PermissionError:
        pass  # another's, to be read
    else:
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o644)  # whatever the umask is, or an older version has made
        os.close(descriptor)
    if os.getuid() == 0:
        owner = settings.root.stat()
        for path in (file.parent, file):
            shutil.chown(path, owner.st_uid, owner.st_gid)
    if not os.access(file, os.R_OK):
        raise Failure(f"user {os.getuid()} cannot read the lock {file}; make it readable for that user")
    return file


def take(descriptor: int, settings: Settings, wait: float, who: str) -> None:
    """Lock what is open there, and note who has it. Wait for so many seconds at most."""
    file = settings.note(".lock")
    if not _is_taken(descriptor):
        say(f"waiting for {_holder(file)}")
        deadline = time.monotonic() + wait
        while not _is_taken(descriptor):
            if time.monotonic() >= deadline:
                raise Failure(f"{_holder(file)} is working on this stack; wait until it ends")
            time.sleep(POLL)
    if os.access(file, os.W_OK):
        file.write_text(f"{who}\n", encoding="utf-8")


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip() or "another command"
