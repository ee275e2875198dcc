"""A new version in the place of the one that runs, and no request lost: what `make deploy` runs. docs/operations.md.

    build  ->  nginx takes its configuration, the application can be loaded  ->  migrate
           ->  new containers of web beside the old ones  ->  healthy, and found by nginx
           ->  the old ones are told to stop, finish what they have, and go  ->  gunicorn likewise  ->  the rest

Only what changed is replaced. Cut short at any point, it goes on from there when it is run again. Should the new
containers not become well, they go, and the old ones have never stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import building, compose, database, engine, fit, images, lock, ownership, ports, rolling, services
from . import settings as settings_
from .console import Failure, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Settings

HEALTHY_WITHIN = 180  # seconds
# Replaced container by container, each with nginx's port for it.
ROLLED = {"web": 8080, "gunicorn": 8081}


def main(_: Sequence[str]) -> None:
    settings = settings_.here()
    _check(settings)
    _prepare(settings)
    is_changed = _replace(settings)
    say("deployed" if is_changed else "nothing has changed: the stack keeps running")


def _check(settings: Settings) -> None:
    """Changes nothing."""
    compose.need_engine(settings)
    version = compose.version(settings)
    if compose.is_too_old(version):
        raise Failure(f"Compose {version} is too old; install 2.22 or newer, or 1.29")
    if not (settings.has_file and engine.is_running(settings.project, "web", "nginx")):
        raise Failure("the stack does not run; start it first: make up")
    lock.hold(settings, 0, "deploy.sh")
    fit.refuse(settings)
    ports.refuse_taken(settings)
    database.refuse_another(settings)


def _prepare(settings: Settings) -> None:
    """Build, and try out. What runs is not touched."""
    services.let_containers_read(settings.root)
    images.provide(settings)
    if not building.build(settings):
        raise Failure("the running stack was not changed")
    building.try_out_new(settings)


def _replace(settings: Settings) -> bool:
    """Return whether anything changed."""
    hashes = compose.hashes(settings)
    _start_database(settings)
    if not services.make_role_ordinary(settings):
        raise Failure("the database role of the application could not be fixed; the running stack was not changed")
    if not services.migrate(settings):
        raise Failure("the database could not be migrated; the running stack was not changed")
    counts = {"web": int(settings["WEB_REPLICAS"]), "gunicorn": 1}
    changes = [rolling.roll(settings, hashes, name, counts[name], port) for name, port in ROLLED.items()]
    changes.append(_update_the_rest(settings, hashes))
    changes.append(services.stop_what_is_off(settings, hashes) > 0)
    database.remember(settings)
    ownership.note_folder(settings)
    return any(changes)


def _start_database(settings: Settings) -> None:
    """A stack that had another one until now has none of its own yet."""
    if "postgres" not in settings.profiles or engine.is_running(settings.project, "db"):
        return
    if not compose.run(settings, "up", "-d", "--no-deps", "db"):
        raise Failure("the database could not be started; the running stack was not changed")


def _update_the_rest(settings: Settings, hashes: dict[str, str]) -> bool:
    """Do what `make up` would do, so that it finds nothing left to do. Return whether anything changed.

    A port can only be published by one container: a nginx that changed is stopped, and the new one started. In
    between, for a second or as long as the uploads in it take (at most stop_grace_period), clients are refused.
    """
    rest = [service for service in hashes if service not in {*ROLLED, "migrate"}]
    before = [container for service in rest for container in engine.containers(settings.project, service)]
    for container in before:
        if not services.is_current(container, hashes):
            say(f"{container.service}: replacing it, because it changed; it does not respond for a moment")
    if not compose.run(settings, "up", "-d", "--no-deps", "--remove-orphans", *rest):
        raise Failure("some services did not start: the reason is above; for their states: make ps")
    after = [container for service in rest for container in engine.ids(settings.project, service)]
    services.need_healthy(after, HEALTHY_WITHIN)
    return {container.id for container in before} != set(after)
