"""A lock so that only one of up, down, deploy, backup and restore runs at a time; others wait for it, then fail.

The kernel releases the lock when the last process that has it open ends, in whatever way. Child processes have it open
as well.
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

POLL_INTERVAL = 0.2  # seconds


def hold(settings: Settings, wait: float, who: str) -> None:
    """Hold the lock until this process and its children end. `who` is the name that others see while they wait."""
    descriptor = os.open(prepare(settings), os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    take(descriptor, settings, wait, f"{who} (process {os.getpid()})")


def prepare(settings: Settings) -> Path:
    """Create the file if it is missing, writable for its owner only. Return its path.

    Root's nightly backup and another user's deploy share it. It belongs to the owner of the folder, and read permission
    is enough to lock it.
    """
    file = settings.note(".lock")
    file.parent.mkdir(exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
    except PermissionError:
        pass  # it belongs to another user, and needs only to be readable
    else:
        with contextlib.suppress(PermissionError):
            os.fchmod(descriptor, 0o644)  # whatever the umask was, or an earlier version set
        os.close(descriptor)
    if os.getuid() == 0:
        owner = settings.root.stat()
        for path in (file.parent, file):
            shutil.chown(path, owner.st_uid, owner.st_gid)
    if not os.access(file, os.R_OK):
        raise Failure(f"user {os.getuid()} cannot read the lock {file}; make it readable for that user")
    return file


def take(descriptor: int, settings: Settings, wait: float, who: str) -> None:
    """Lock the open file, and write into it who has it. Wait for at most `wait` seconds."""
    file = settings.note(".lock")
    if not _is_taken(descriptor):
        say(f"waiting for {_holder(file)}")
        deadline = time.monotonic() + wait
        while not _is_taken(descriptor):
            if time.monotonic() >= deadline:
                raise Failure(f"{_holder(file)} is working on this stack; wait until it ends")
            time.sleep(POLL_INTERVAL)
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
