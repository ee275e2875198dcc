"""`make deploy`: replaces the running version without losing a request to web. docs/operations.md.

    build  ->  check that nginx accepts its configuration and the application can be loaded  ->  migrate
           ->  start new containers of web next to the old ones  ->  wait until they are healthy and nginx knows them
           ->  stop the old ones, which finish their requests first  ->  the same for gunicorn  ->  other services

Only what changed is replaced. If it is interrupted, run it again: it continues. If the new containers do not become
healthy, they are removed; the old ones have never stopped.
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
# Services that are replaced container by container, and nginx's port for each.
ROLLED_SERVICES = {"web": 8080, "gunicorn": 8081}


def main(_: Sequence[str]) -> None:
    settings = settings_.here()
    _check(settings)
    _prepare(settings)
    is_changed = _replace(settings)
    say("deployed" if is_changed else "nothing has changed: the stack keeps running")


def _check(settings: Settings) -> None:
    """Check; change nothing."""
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
    """Build and check the new images. The running stack is not changed."""
    services.make_readable(settings.root)
    images.provide(settings)
    if not building.build(settings):
        raise Failure("the running stack was not changed")
    building.check_new_images(settings)


def _replace(settings: Settings) -> bool:
    """Change the stack. Return whether anything changed."""
    hashes = compose.hashes(settings)
    _start_database(settings)
    if not services.fix_role(settings):
        raise Failure("the database role of the application could not be fixed; the running stack was not changed")
    if not services.migrate(settings):
        raise Failure("the database could not be migrated; the running stack was not changed")
    counts = {"web": int(settings["WEB_REPLICAS"]), "gunicorn": 1}
    changes = [rolling.update(settings, hashes, name, counts[name], port) for name, port in ROLLED_SERVICES.items()]
    changes.append(_update_other_services(settings, hashes))
    changes.append(services.stop_disabled(settings, hashes) > 0)
    database.remember(settings)
    ownership.note_folder(settings)
    return any(changes)


def _start_database(settings: Settings) -> None:
    """A stack that used another database until now has no container of db yet."""
    if "postgres" not in settings.profiles or engine.is_running(settings.project, "db"):
        return
    if not compose.run(settings, "up", "-d", "--no-deps", "db"):
        raise Failure("the database could not be started; the running stack was not changed")


def _update_other_services(settings: Settings, hashes: dict[str, str]) -> bool:
    """Apply to all other services what `make up` would apply. Return whether anything changed.

    Only one container can publish a port: if nginx changed, the old one is stopped before the new one starts. In
    between, for a second or as long as its uploads take (at most stop_grace_period), connections are refused.
    """
    rest = [service for service in hashes if service not in {*ROLLED_SERVICES, "migrate"}]
    before = [container for service in rest for container in engine.containers(settings.project, service)]
    for container in before:
        if not services.is_current(container, hashes):
            say(f"{container.service}: replacing it, because it changed; it does not respond for a moment")
    if not compose.run(settings, "up", "-d", "--no-deps", "--remove-orphans", *rest):
        raise Failure("some services did not start: the reason is above; for their states: make ps")
    after = [container for service in rest for container in engine.ids(settings.project, service)]
    services.need_healthy(after, HEALTHY_WITHIN)
    return {container.id for container in before} != set(after)
