"""`make clean`: deletes everything that running this project created. Lists it and asks first (YES=1: does not ask)."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from . import compose, database, dev, down, engine, ownership, programs
from . import settings as settings_
from .console import Failure, explain, is_confirmed, say, warn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .settings import Settings

CACHES = (".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".coverage", "build", "wsgiserver.egg-info")
SOURCES = ("app", "bench", "scripts", "tests", "uploadstack", "wsgiserver")


def main(_: Sequence[str]) -> None:
    settings = settings_.here()
    trouble = compose.trouble(settings)
    volumes = [] if trouble else ownership.volumes(settings)
    _refuse_shared(settings, volumes, has_engine=not trouble)
    explain(
        "This deletes permanently:\n"
        f'  - the containers and networks of "{settings.project}"\n'
        f"  - its volumes, with every photo, row and user ({' '.join(volumes)})\n"
        f"  - the images built here ({settings.image('*')})\n"
        "  - var/ (photos and rows of make dev) and the caches of the tools\n"
        "It keeps .env, .venv and the base images."
    )
    _confirm(settings)
    down.stop(settings)
    if trouble or not settings.has_file:
        warn(f"containers, volumes and images were not deleted: {trouble or f'there is no {settings.file}'}")
    else:
        _delete_stack(settings)
    _delete_files(settings)
    say("deleted")


def _confirm(settings: Settings) -> None:
    if not is_confirmed(settings.environment):
        raise Failure("nothing was deleted")


# --- checks, which change nothing -------------------------------------------------------------------------------------


def _refuse_shared(settings: Settings, volumes: list[str], *, has_engine: bool) -> None:
    if has_engine:
        ownership.refuse_another_copy(settings)
        _refuse_photos_of_another_copy(settings, volumes)
    for volume in volumes:
        if users := engine.other_users(volume, settings.project):
            raise Failure(f"containers of other stacks use {volume} ({' '.join(users)}); nothing was deleted")
    # All servers of make dev share var/, whatever their ports are.
    for file in dev.notes_of_others(settings):
        if process := dev.process_in(file):
            raise Failure(
                f"another server of make dev (process {process}) has its photos in var/; stop it first."
                " Nothing was deleted"
            )


def _refuse_photos_of_another_copy(settings: Settings, volumes: list[str]) -> None:
    owner = ownership.owner_of_volumes(settings)
    if owner == ownership.UNKNOWN:  # an earlier version did not record the folder
        explain(
            f'This folder did not make the volumes of the stack "{settings.project}": they may hold the photos of'
            f" another copy of it,\nor of this one before it was moved here ({' '.join(volumes)})."
        )
        _confirm(settings)
    elif owner:
        raise Failure(
            f"the photos of {settings.project} belong to the folder {owner}, another copy of this one; to delete"
            " them, run make clean there. Nothing was deleted"
        )


# --- changes ----------------------------------------------------------------------------------------------------------


def _delete_stack(settings: Settings) -> None:
    ownership.forget_folder(settings)
    # Silent: the containers are already removed, and Compose would print a warning for each.
    if not compose.run(settings, "down", "--volumes", "--remove-orphans", profiles=settings_.ALL_PROFILES):
        raise Failure("some volumes or networks were not deleted: the reason is above")
    for kind in ("runtime", "nginx", "test", "edge"):  # edge: of earlier versions
        programs.succeeds(["docker", "image", "rm", settings.image(kind)])


def _delete_files(settings: Settings) -> None:
    for name in CACHES:
        _delete(settings.root / name)
    # Keep the locks of other stacks: a lock that is deleted while a command holds it keeps nobody out. Keep notes, too.
    for path in (settings.root / "var").glob("*"):
        if path.suffix not in {".lock", ".database"}:
            _delete(path)
    _delete(database.note(settings))
    for name in SOURCES:
        for path in list((settings.root / name).rglob("__pycache__")):
            _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists() or path.is_symlink():
        path.unlink()
