"""Makes disks of a fixed size for bodies that are being received, so that they cannot fill the disk of photos and
database.

    sudo make spool SIZE=20g

nginx and web get one disk each: a file with a file system in it, which is mounted now and when this machine starts.
Sets NGINX_SPOOL and WEB_SPOOL in .env; make deploy applies them. SIZE=0 removes the disks. docs/operations.md

    SPOOLS    the folder of the disks; default /var/lib/uploadstack/PROJECT
    FSTAB     the list of file systems that this machine mounts when it starts; default /etc/fstab
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import programs
from . import settings as settings_
from .console import Failure, say
from .settings import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Settings

USERS = {"nginx": 10002, "web": 10001}
NAMES = {"nginx": "NGINX_SPOOL", "web": "WEB_SPOOL"}
TOOLS = ("mkfs.ext4", "fallocate", "losetup")
OPTIONS = "loop,noatime,nosuid,nodev,noexec"


def main(arguments: Sequence[str]) -> None:
    size = arguments[0] if arguments else ""
    disks = _Disks(settings_.here())
    disks.check(size)
    if size == "0":
        disks.remove()
    else:
        disks.check_room(size)
        disks.make(size)


class _Disks:
    """The folder of the disks, and the two files that refer to it."""

    def __init__(self, settings: Settings) -> None:
        default = f"/var/lib/uploadstack/{settings.project}"
        self._settings = settings
        self._folder = Path(settings.environment.get("SPOOLS") or default)
        self._fstab = Path(settings.environment.get("FSTAB") or "/etc/fstab")

    # --- checks, which change nothing -----------------------------------------------------------------------------

    def check(self, size: str) -> None:
        if not size:
            raise Failure(
                "SIZE is missing; set the size of each of the two disks: sudo make spool SIZE=20g"
                " (SIZE=0 removes the disks)"
            )
        if not self._settings.has_file:
            raise Failure(f"{self._settings.file} does not exist yet; write it first: make env")
        if re.search(r"\s", str(self._folder)):
            raise Failure(
                f"SPOOLS: '{self._folder}' has a blank, which ends a path in {self._fstab}; use another folder"
            )
        if platform.system() != "Linux" or os.getuid() != 0:
            raise Failure(f"only root on a Linux machine can make disks; run: sudo make spool SIZE={size}")

    def check_room(self, size: str) -> None:
        wanted, upload = settings_.size(size), settings_.size(self._settings["UPLOAD_MAX"])
        if wanted is None:
            raise Failure(f"SIZE: '{size}' is not a size; use digits followed by k, m or g, such as 20g")
        for tool in TOOLS:
            if not shutil.which(tool):
                raise Failure(f"{tool} is missing; install it (Debian has it in e2fsprogs, util-linux or mount)")
        if any((self._folder / name).exists() for name in USERS):
            raise Failure(f"{self._folder} already has disks; to remove them: sudo make spool SIZE=0")
        if wanted < 2 * (upload or 0):
            raise Failure(
                f"SIZE={size} has no room for two uploads of UPLOAD_MAX={self._settings['UPLOAD_MAX']}; use a larger"
                " size"
            )
        existing = next(folder for folder in [self._folder, *self._folder.parents] if folder.is_dir())
        free = shutil.disk_usage(existing).free
        if free <= 2 * wanted + GIB:
            raise Failure(
                f"two disks of {size} and 1 GiB to spare do not fit under {existing}, which has {free // GIB} GiB free;"
                " use a smaller size"
            )

    def _check_unused(self, folder: Path) -> None:
        """Refuse to remove a disk that a container uses, or if that is unknown."""
        if not shutil.which("docker"):
            return
        done = programs.attempt(["docker", "ps", "--all", "--quiet"])
        template = "{{range .Mounts}}{{println .Source}}{{end}}"
        containers = done.stdout.split()
        if done.returncode == 0 and containers:
            done = programs.attempt(["docker", "inspect", "--format", template, *containers])
        if done.returncode:
            raise Failure("Docker does not report which folders its containers use; start Docker. Nothing was removed")
        if str(folder) in done.stdout.splitlines():
            raise Failure(
                f"a container uses {folder}; first remove NGINX_SPOOL and WEB_SPOOL from {self._settings.file} and run:"
                " make deploy"
            )

    # --- changes --------------------------------------------------------------------------------------------------

    def make(self, size: str) -> None:
        os.umask(0o022)
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, user in USERS.items():
            self._make_disk(self._folder / name, size, user)
        for name, setting in NAMES.items():
            replace_line(self._settings.file, rf" *{setting} *=", f"{setting}={self._folder / name}")
        say("to use the disks: make deploy")

    def _make_disk(self, folder: Path, size: str, user: int) -> None:
        """Allocate all of its space now: a sparse file could fail to grow when the machine's disk is full."""
        say(f"making {folder} ({size})")
        image = f"{folder}.img"
        _run("fallocate", "-l", str(settings_.size(size)), image)
        Path(image).chmod(0o600)
        # -m 0 reserves nothing for root.
        _run("mkfs.ext4", "-q", "-m", "0", "-E", f"root_owner={user}:{user}", image)
        folder.mkdir(exist_ok=True)
        # nofail: a machine that cannot mount it starts nevertheless, and nginx reports that it cannot write there.
        replace_line(self._fstab, f"{re.escape(image)} ", f"{image} {folder} ext4 {OPTIONS},nofail 0 2")
        _run("mount", "-o", OPTIONS, image, str(folder))

    def remove(self) -> None:
        folders = [self._folder / name for name in USERS]
        for folder in folders:
            self._check_unused(folder)
        for folder in folders:
            if folder.is_mount():
                _run("umount", str(folder))
            drop_lines(self._fstab, f"{re.escape(str(folder))}\\.img ")
            Path(f"{folder}.img").unlink(missing_ok=True)
            if folder.is_dir():
                folder.rmdir()
            say(f"removed {folder}")
        drop_lines(self._settings.file, rf"(NGINX|WEB)_SPOOL={re.escape(str(self._folder))}/")


def _run(*command: str) -> None:
    if not programs.run_silently(command):
        raise Failure(f"{command[0]} failed: the reason is above")


def replace_line(file: Path, pattern: str, line: str) -> None:
    """Replace all lines that begin with the pattern by this line, at the end of the file."""
    _rewrite(file, [*_others(file, pattern), line])


def drop_lines(file: Path, pattern: str) -> None:
    _rewrite(file, _others(file, pattern))


def _others(file: Path, pattern: str) -> list[str]:
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    return [line for line in text.removesuffix("\n").split("\n") if not re.match(pattern, line)]


def _rewrite(file: Path, lines: list[str]) -> None:
    """Write it atomically, with the same owner and mode."""
    file = file.resolve()
    before = file.stat()
    descriptor, draft = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as output:
            output.write("".join(f"{line}\n" for line in lines))
        os.chown(draft, before.st_uid, before.st_gid)
        shutil.copymode(file, draft)
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
