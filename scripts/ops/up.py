"""`make up`: starts the stack. Run again, it applies changes only.

Without an engine it starts the server of `make dev` in the background.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from . import building, compose, database, dev, engine, env, fit, images, lock, ownership, ports, ps, services, welcome
from . import settings as settings_
from .console import Failure, explain, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .engine import Container
    from .settings import Settings

HEALTHY_WITHIN = 180  # seconds


def main(_: Sequence[str]) -> None:
    settings = settings_.here()
    if trouble := compose.trouble(settings):
        say(f"{trouble}. Starting the same application without containers: on our server, with SQLite, without nginx.")
        dev.main(["--detach"])
        return
    if dev.process(settings):
        raise Failure("the server of make dev uses these ports; stop it first: make down")
    is_first = not engine.has_volume(f"{settings.project}_media")
    env.write_if_missing(settings)
    settings = settings.reread()
    _check(settings)
    _change(settings)
    welcome.show(settings, "stack", is_first=is_first)


def _check(settings: Settings) -> None:
    """Check; change nothing."""
    lock.hold(settings, 900, "up.sh")
    ownership.refuse_another_copy(settings)
    fit.refuse(settings)
    ports.refuse_taken(settings)
    ownership.take_over_volumes(settings)
    database.refuse_another(settings)


def _change(settings: Settings) -> None:
    services.make_readable(settings.root)
    images.provide(settings)
    if not building.build(settings):
        raise Failure("the stack was not changed")
    ownership.note_folder(settings)
    hashes = compose.hashes(settings)
    if _is_up_to_date(settings, hashes):
        say("nothing has changed: the stack keeps running")
        if not services.fix_role(settings):
            _fail(settings, "the database role of the application could not be fixed")
    else:
        _start(settings, list(hashes))
    database.remember(settings)


def _is_up_to_date(settings: Settings, hashes: dict[str, str]) -> bool:
    """Whether exactly the wanted containers run, each healthy and as Compose would make it now."""
    containers = engine.containers(settings.project)
    replicas = sum(container.service == "web" for container in containers)
    return (
        {container.service for container in containers} == set(hashes)
        and replicas == int(settings["WEB_REPLICAS"])
        and all(container.is_healthy and services.is_current(container, hashes) for container in containers)
    )


def _start(settings: Settings, wanted: list[str]) -> None:
    options = []
    # If something runs that a wrong setting would break, let nginx and the application check the settings first.
    if engine.is_running(settings.project, "web", "nginx"):
        building.check_new_images(settings)
        _fix_database_role(settings)
        if not services.migrate(settings):
            raise Failure("the database could not be migrated; the running stack was not changed")
        options = ["--no-deps", *(service for service in wanted if service != "migrate")]
    else:
        _fix_database_role(settings)
    say("starting the stack")
    if not compose.run(settings, "up", "-d", "--remove-orphans", *options):
        _fail(settings, "the stack did not start")
    services.stop_disabled(settings, wanted)
    _wait_until_healthy(settings)


def _fix_database_role(settings: Settings) -> None:
    """Before anything uses the database: an earlier version made the application its superuser."""
    if "postgres" not in settings.profiles:
        return
    if not compose.run(settings, "up", "-d", "--no-deps", "db"):
        _fail(settings, "the database did not start")
    if not services.fix_role(settings):
        _fail(settings, "the database role of the application could not be fixed")


def _wait_until_healthy(settings: Settings) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN
    before = ""
    while waiting := _unhealthy(settings):
        names = " ".join(sorted(f"{container.service} ({container.state})" for container in waiting))
        if names != before:
            say(f"waiting until healthy: {names}")
        before = names
        if any(container.state == "failed" or container.restarts >= engine.MAX_RESTARTS for container in waiting):
            _fail(settings, "a service keeps ending")
        if time.monotonic() >= deadline:
            _fail(settings, f"the stack is not healthy after {HEALTHY_WITHIN} seconds")
        time.sleep(1)


def _unhealthy(settings: Settings) -> list[Container]:
    return [container for container in engine.containers(settings.project) if not container.is_healthy]


def _fail(settings: Settings, complaint: str) -> NoReturn:
    """Show the states of all containers, and the logs of those that are not healthy."""
    explain("\n".join(ps.rows(settings)))
    engine.show_logs(container.id for container in _unhealthy(settings))
    raise Failure(f"{complaint}: the reason is above; to check for common problems: make doctor")
