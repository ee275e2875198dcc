"""Steps that `up` and `deploy` share to bring the stack to the state that the settings describe."""

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

MIGRATED_WITHIN = 600  # seconds


def is_current(container: Container, hashes: Mapping[str, str]) -> bool:
    """Whether Compose would make the same container now: with the same settings, from the current image."""
    return (container.config_hash, container.image_id) == (
        hashes.get(container.service),
        engine.image_id(container.image),
    )


def stop_disabled(settings: Settings, services: Iterable[str]) -> int:
    """Stop the services of profiles that are no longer in the settings. Return the number of containers.

    Compose does not consider them orphans, and would let them run forever.
    """
    off = [container for container in engine.containers(settings.project) if container.service not in set(services)]
    for container in off:
        say(f"{container.service}: stopping it, because COMPOSE_PROFILES no longer includes it (its volumes are kept)")
        programs.succeeds(["docker", "stop", container.id])
        programs.succeeds(["docker", "rm", "--force", container.id])
    return len(off)


def fix_role(settings: Settings) -> bool:
    """Return whether the application has an ordinary role now; an earlier version made it the superuser."""
    try:
        role.fix_role(settings)
    except Failure as failure:
        warn(str(failure))
        return False
    return True


def migrate(settings: Settings) -> bool:
    """Run the one-shot service migrate to its end. Show its log if it fails."""
    say("migrating the database")
    if not compose.run(settings, "up", "-d", "--no-deps", "migrate"):
        return False
    containers = engine.ids(settings.project, "migrate")
    if wait_until("the migration to end", MIGRATED_WITHIN, lambda: _ended(containers)):
        return True
    engine.show_logs(containers)
    return False


def _ended(containers: list[str]) -> Progress:
    found = engine.inspect(containers)
    if not found or any(container.status == "exited" and container.exit_code for container in found):
        return Progress.HOPELESS
    return Progress.DONE if all(container.status == "exited" for container in found) else Progress.WAITING


def make_readable(root: Path) -> None:
    """Let the users of containers read these folders: after a strict umask only the owner of the checkout can.

    They hold no secrets.
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
