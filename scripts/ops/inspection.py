"""Inspects a volume, or a folder of this machine, in a temporary container of one of the stack's images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import engine, images, programs

if TYPE_CHECKING:
    import subprocess

    from .settings import Settings

ENGINE_FAILED = 125  # this exit code and higher ones mean that the engine failed, not the program


@dataclass(frozen=True)
class Inspection:
    volume: str
    place: str  # its path in containers
    image: str

    def run(self, user: int, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a shell program; $1 is the place, and $2 the first of `arguments`."""
        options = [
            "--rm",
            "--network=none",
            f"--user={user}:{user}",
            "--entrypoint=sh",
            f"--volume={self.volume}:{self.place}",
        ]
        return programs.attempt(["docker", "run", *options, self.image, "-c", program, "sh", self.place, *arguments])

    def permits(self, user: int, test: str) -> bool:
        """Whether the test succeeds. An engine that fails counts as success: other checks report that."""
        return self.run(user, test).returncode in {0, *range(ENGINE_FAILED, 256)}

    def free_bytes(self) -> int | None:
        done = self.run(0, 'df -Pk "$1"')
        rows = [line.split() for line in done.stdout.splitlines()]
        return int(rows[-1][3]) * 1024 if done.returncode == 0 and rows else None


def of(settings: Settings, volume: str, place: str, kind: str) -> Inspection | None:
    """Return None if there is no such volume, folder or image yet. `kind` is an image: runtime, nginx or postgres."""
    name, image = _existing(settings, volume), settings.image(kind)
    if kind == "postgres":
        image = images.name_of(settings, "POSTGRES_IMAGE")
    return Inspection(name, place, image) if name and engine.image_id(image) else None


def _existing(settings: Settings, volume: str) -> str:
    """Return the name of the volume, or the path of the folder, that the engine knows; nothing if there is none."""
    if volume.startswith(("/", "./", "../")):
        folder = Path(volume) if volume.startswith("/") else Path(f"{settings.root}/{volume}")
        return str(folder) if folder.is_dir() else ""
    name = f"{settings.project}_{volume}"
    return name if engine.has_volume(name) else ""
