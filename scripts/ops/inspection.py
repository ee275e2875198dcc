"""A look into a volume, or a folder of this machine, with a throw-away container of an image that the stack has
anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import engine, images, programs

if TYPE_CHECKING:
    import subprocess

    from .settings import Settings

ENGINE_FAILED = 125  # from this exit code on it is the engine that could not


@dataclass(frozen=True)
class Inspection:
    volume: str
    place: str  # where containers have it
    image: str

    def run(self, user: int, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a shell program, whose $1 is the place and $2 the first of `arguments`."""
        options = [
            "--rm",
            "--network=none",
            f"--user={user}:{user}",
            "--entrypoint=sh",
            f"--volume={self.volume}:{self.place}",
        ]
        return programs.attempt(["docker", "run", *options, self.image, "-c", program, "sh", self.place, *arguments])

    def permits(self, user: int, test: str) -> bool:
        """Whether the test succeeds, or the engine fails: what it could not do is for others to find."""
        return self.run(user, test).returncode in {0, *range(ENGINE_FAILED, 256)}

    def free_bytes(self) -> int | None:
        done = self.run(0, 'df -Pk "$1"')
        rows = [line.split() for line in done.stdout.splitlines()]
        return int(rows[-1][3]) * 1024 if done.returncode == 0 and rows else None


def of(settings: Settings, volume: str, place: str, kind: str) -> Inspection | None:
    """Return None where there is no such volume, folder or image yet. `kind` is of an image: runtime, edge or
    postgres.
    """
    name, image = _existing(settings, volume), settings.image(kind)
    if kind == "postgres":
        image = images.name_of(settings, "POSTGRES_IMAGE")
    return Inspection(name, place, image) if name and engine.image_id(image) else None


def _existing(settings: Settings, volume: str) -> str:
    """Return it as the engine knows it."""
    if volume.startswith(("/", "./", "../")):
        folder = Path(volume) if volume.startswith("/") else Path(f"{settings.root}/{volume}")
        return str(folder) if folder.is_dir() else ""
    name = f"{settings.project}_{volume}"
    return name if engine.has_volume(name) else ""
