"""From nothing to a running stack: what `make up` runs. Running it again applies what changed and leaves the rest
alone.

Without an engine it starts what `make dev` does, in the background.
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
    welcome.tell(settings, "stack", is_first=is_first)


def _check(settings: Settings) -> None:
    """Changes nothing."""
    lock.hold(settings, 900, "up.sh")
    ownership.refuse_another_copy(settings)
    fit.refuse(settings)
    ports.refuse_taken(settings)
    ownership.take_over_volumes(settings)
    database.refuse_another(settings)


def _change(settings: Settings) -> None:
    services.let_containers_read(settings.root)
    images.provide(settings)
    if not building.build(settings):
        raise Failure("the stack was not changed")
    ownership.note_folder(settings)
    hashes = compose.hashes(settings)
    if _is_as_it_should_be(settings, hashes):
        say("nothing has changed: the stack keeps running")
        if not services.make_role_ordinary(settings):
            _give_up(settings, "the database role of the application could not be fixed")
    else:
        _start(settings, list(hashes))
    database.remember(settings)


def _is_as_it_should_be(settings: Settings, hashes: dict[str, str]) -> bool:
    """As many containers as there should be, each what Compose would make now, and well; and no others."""
    containers = engine.containers(settings.project)
    replicas = sum(container.service == "web" for container in containers)
    return (
        {container.service for container in containers} == set(hashes)
        and replicas == int(settings["WEB_REPLICAS"])
        and all(container.is_well and services.is_current(container, hashes) for container in containers)
    )


def _start(settings: Settings, wanted: list[str]) -> None:
    options = []
    # What only they themselves can know, when there is something that a wrong setting would take away.
    if engine.is_running(settings.project, "web", "nginx"):
        building.try_out_new(settings)
        _mend_database(settings)
        if not services.migrate(settings):
            raise Failure("the database could not be migrated; the running stack was not changed")
        options = ["--no-deps", *(service for service in wanted if service != "migrate")]
    else:
        _mend_database(settings)
    say("starting the stack")
    if not compose.run(settings, "up", "-d", "--remove-orphans", *options):
        _give_up(settings, "the stack did not start")
    services.stop_what_is_off(settings, wanted)
    _wait_until_healthy(settings)


def _mend_database(settings: Settings) -> None:
    """Before anything uses it: the database of an earlier version gave the application more than it needs."""
    if "postgres" not in settings.profiles:
        return
    if not compose.run(settings, "up", "-d", "--no-deps", "db"):
        _give_up(settings, "the database did not start")
    if not services.make_role_ordinary(settings):
        _give_up(settings, "the database role of the application could not be fixed")


def _wait_until_healthy(settings: Settings) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN
    before = ""
    while waiting := _not_well(settings):
        names = " ".join(sorted(f"{container.service} ({container.state})" for container in waiting))
        if names != before:
            say(f"waiting until healthy: {names}")
        before = names
        if any(container.state == "failed" or container.restarts >= engine.GIVEN_UP_AFTER for container in waiting):
            _give_up(settings, "a service keeps ending")
        if time.monotonic() >= deadline:
            _give_up(settings, f"the stack is not healthy after {HEALTHY_WITHIN} seconds")
        time.sleep(1)


def _not_well(settings: Settings) -> list[Container]:
    return [container for container in engine.containers(settings.project) if not container.is_well]


def _give_up(settings: Settings, complaint: str) -> NoReturn:
    """With what those said that are to blame."""
    explain("\n".join(ps.rows(settings)))
    engine.show_logs(container.id for container in _not_well(settings))
    raise Failure(f"{complaint}: the reason is above; to check for common problems: make doctor")
