"""Rolling update of one service, without losing a request: start new containers, then stop the old ones.

Two waits are fixed times, because nginx does not report either event: until it has resolved a name again, and until it
no longer tries an address that it knew before (nginx/upstreams.conf.template, nginx/proxy.conf).
"""

from __future__ import annotations

import struct
import subprocess
import time
from typing import TYPE_CHECKING, NoReturn

from . import compose, engine, programs, services
from .console import Failure, Progress, say, wait_until, warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .engine import Container
    from .settings import Settings

RESOLVED_AFTER = 4  # seconds until nginx has resolved each name again: twice `valid` of upstreams.conf.template
FORGOTTEN_AFTER = 7  # seconds until it no longer tries an old address: `proxy_connect_timeout` (proxy.conf) more
HEALTHY_WITHIN = 180  # seconds
FOUND_WITHIN = 60  # seconds
STOPPED_WITHIN = 120  # seconds
APPLICATION_PORT = 8000
# Run in nginx's container, with the settings of that container: in .env, TLS or the names may have changed since.
# Several requests, because the containers get requests in turn, and other clients send some as well.
SEND_REQUESTS = """
    host=${ALLOWED_HOSTS%%,*}
    [ "$host" != "*" ] || host=localhost
    case $TLS:$1 in
        on:8080) url=https://127.0.0.1:8443 ;;
        on:*) url=https://127.0.0.1:$1 ;;
        *) url=http://127.0.0.1:$1 ;;
    esac
    for try in 1 2 3 4 5 6 7 8; do
        curl -sk -o /dev/null --noproxy "*" -m 5 -H "Host: ${host#.}" "$url/healthz"
    done
    cat /proc/net/tcp
"""


def update(settings: Settings, hashes: Mapping[str, str], service: str, count: int, port: int) -> bool:
    """Replace the containers of a service with `count` new ones. Return whether anything changed.

    `port` is nginx's port for the service.
    """
    _remove_ended(settings, service)
    before = engine.containers(settings.project, service)
    # Containers above the count are stopped as well.
    current = [container.id for container in before if services.is_current(container, hashes)][:count]
    old = [container for container in before if container.id not in current]
    if len(current) == count and not old:
        say(f"{service}: nothing changed")
        return False
    new = list(current)
    if len(new) < count:
        say(f"{service}: starting {count - len(new)} new next to {len(before)} that run")
    is_healthy = True
    while is_healthy and len(new) < count:
        started = _start_one_more(settings, service)
        new += started
        is_healthy = bool(started) and _await_healthy(service, started)
    if not is_healthy or not _await_nginx(settings, service, port, new):
        _roll_back(service, before, new, has_old=bool(old))
    for container in old:
        _stop(f"{service}: stopping the old one, which finishes its requests first", container)
        _let_nginx_forget(settings)
    return True


def _start_one_more(settings: Settings, service: str) -> list[str]:
    """Return its id, or nothing.

    One at a time: the service's name resolves to a container as soon as it is created, before anything listens there,
    and nginx tries a streamed upload on two addresses only.
    """
    before = engine.ids(settings.project, service)
    scale = f"{service}={len(before) + 1}"
    if not compose.run(settings, "up", "-d", "--no-deps", "--no-recreate", "--scale", scale, service):
        warn(f"{service}: Compose could not start another container")
    return [container for container in engine.ids(settings.project, service) if container not in before][:1]


def _remove_ended(settings: Settings, service: str) -> None:
    """Remove containers that have ended: Compose would count them, and start them again."""
    for container in engine.ids(settings.project, service, states=["exited", "created", "dead"]):
        programs.succeeds(["docker", "rm", container])


def _await_healthy(service: str, containers: Sequence[str]) -> bool:
    return wait_until(f"{service} to become healthy", HEALTHY_WITHIN, lambda: engine.health(containers))


def _await_nginx(settings: Settings, service: str, port: int, containers: Sequence[str]) -> bool:
    if not _await_healthy(service, containers):
        return False
    nginx = engine.first(settings.project, "nginx")
    if not nginx:
        return True
    if not wait_until(f"nginx to find the new {service}", FOUND_WITHIN, lambda: _are_found(nginx, port, containers)):
        return False
    # nginx has a second group of servers for retries, and resolves its names at another time.
    time.sleep(RESOLVED_AFTER)
    return True


def _let_nginx_forget(settings: Settings) -> None:
    """Wait until nginx no longer tries the address of a container that was removed.

    nginx keeps that address for two seconds (upstreams.conf.template), and a request waits there for up to three
    (proxy.conf) before it goes to the next address. Until then no other container may stop: a streamed upload is tried
    on two addresses, and one of them has to work. Nor may a new container of another service get the free address:
    uploads for this service would reach it.
    """
    if engine.is_running(settings.project, "nginx"):
        time.sleep(FORGOTTEN_AFTER)


# --- whether nginx knows them -----------------------------------------------------------------------------------------


def _are_found(nginx: str, port: int, containers: Sequence[str]) -> Progress:
    """Whether nginx has a connection to each. It keeps connections that it used; these requests make it use them."""
    sockets = programs.output(["docker", "exec", nginx, "sh", "-c", SEND_REQUESTS, "sh", str(port)])
    known = peers(sockets, APPLICATION_PORT)
    addresses = [container.address_in("inside") for container in engine.inspect(containers)]
    is_found = len(addresses) == len(containers) and known.issuperset(addresses)
    return Progress.DONE if is_found else Progress.WAITING


def peers(sockets: str, port: int) -> set[str]:
    """Return the IPv4 addresses of the peers on this port, from the content of /proc/net/tcp.

    Its third column is the peer: the address as it is in the kernel's memory, and the port, both in hexadecimal
    (proc_pid_net(5)).
    """
    found = set()
    for line in sockets.splitlines()[1:]:
        address, _, number = line.split()[2].partition(":")
        if int(number, 16) == port:
            found.add(".".join(str(byte) for byte in struct.pack("=I", int(address, 16))))
    return found


# --- stopping containers ----------------------------------------------------------------------------------------------


def _roll_back(service: str, before: Sequence[Container], new: Sequence[str], *, has_old: bool) -> NoReturn:
    """Remove the new containers; those from before this deploy keep running.

    The exception: if old ones run, a container that an interrupted deploy left is removed as well if it is not healthy.
    """
    engine.show_logs(new)
    were_there = {container.id for container in before}
    for container in engine.inspect(new):
        if container.id not in were_there or (has_old and container.progress is not Progress.DONE):
            _stop(f"{service}: stopping the new one", container)  # some may be healthy, and have requests
    raise Failure(
        f"the new {service} did not become healthy: its log is above. It was removed, and the old one still runs."
        " Fix it and deploy again; make up would start the broken one"
    )


def _stop(why: str, container: Container) -> None:
    """Stop and remove it. It accepts no more connections, and has stop_grace_period to finish its requests."""
    say(f"{why} ({container.name})")
    # The child inherits the lock of the stack, and keeps it if this process is killed.
    with subprocess.Popen(["docker", "stop", container.id], stdout=subprocess.DEVNULL, close_fds=False) as stopping:
        wait_until("its last requests to finish", STOPPED_WITHIN, lambda: _has_ended(stopping))
        stopping.kill()
    programs.succeeds(["docker", "rm", "--force", container.id])


def _has_ended(process: subprocess.Popen[bytes]) -> Progress:
    return Progress.WAITING if process.poll() is None else Progress.DONE
