"""What runs of the stack, what should by the settings, and the steps between the two that `up` and `deploy` share."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from . import compose, engine, programs, role
from .console import Failure, Progress, say, wait_until, warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .engine import Container
    from .settings import Settings

MIGRATION = 600  # seconds


def is_current(container: Container, hashes: Mapping[str, str]) -> bool:
    """Whether it is what Compose would make now: with these settings, and of the image that has the name now."""
    return (container.config_hash, container.image_id) == (
        hashes.get(container.service),
        engine.image_id(container.image),
    )


def stop_what_is_off(settings: Settings, services: Iterable[str]) -> int:
    """Stop what was started by a profile that is not in the settings any more. Return how many containers that were.

    To Compose that is no orphan, and it would go on for ever.
    """
    off = [container for container in engine.containers(settings.project) if container.service not in set(services)]
    for container in off:
        say(f"{container.service}: stopping it, because COMPOSE_PROFILES no longer includes it (its volumes are kept)")
        programs.succeeds(["docker", "stop", container.id])
        programs.succeeds(["docker", "rm", "--force", container.id])
    return len(off)


def make_role_ordinary(settings: Settings) -> bool:
    """An earlier version gave the application the database's superuser. Return whether that could be mended."""
    try:
        role.make_ordinary(settings)
    except Failure as failure:
        warn(str(failure))
        return False
    return True


def migrate(settings: Settings) -> bool:
    """Run the one-shot service to its end. What it said is shown if it fails."""
    say("migrating the database")
    if not compose.run(settings, "up", "-d", "--no-deps", "migrate"):
        return False
    containers = engine.ids(settings.project, "migrate")
    if wait_until("the migration to end", MIGRATION, lambda: _ended(containers)):
        return True
    engine.show_logs(containers)
    return False


def _ended(containers: list[str]) -> Progress:
    found = engine.inspect(containers)
    if not found or any(container.status == "exited" and container.exit_code for container in found):
        return Progress.HOPELESS
    return Progress.DONE if all(container.status == "exited" for container in found) else Progress.WAITING


def let_containers_read(root: Path) -> None:
    """They are other users, and a checkout made with a strict umask is its owner's alone.

    Nothing in there is secret.
    """
    for top in (root / "postgres", root / "monitoring"):
        for path in [top, *top.rglob("*")]:
            mode = path.stat().st_mode
            is_executable = path.is_dir() or mode & 0o111
            wanted = stat.S_IMODE(mode) | (0o555 if is_executable else 0o444)
            if wanted != stat.S_IMODE(mode):
                path.chmod(wanted)


def need_healthy(containers: list[str], seconds: float) -> None:
    if not wait_until("all services to become healthy", seconds, lambda: engine.health(containers)):
        engine.show_logs(containers)
        raise Failure(f"some services are not healthy after {seconds:.0f} seconds; for their states: make ps")
