"""Replaces the containers of one service, without a lost request: new ones beside the old ones, then the old ones go.

Two times are waited for and cannot be asked for: until nginx has looked a name up once more, and until it tries no
address that it knew before (nginx/upstreams.conf.template, nginx/proxy.conf).
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

LOOKED_UP_AFTER = 4  # seconds until nginx has looked each name up once more: twice `valid` of upstreams.conf.template
FORGOTTEN_AFTER = 7  # and until it tries no address that it knew before: `proxy_connect_timeout` (proxy.conf) more
HEALTHY_WITHIN = 180  # seconds
FOUND_WITHIN = 60
STOPPED_WITHIN = 120
APPLICATION_PORT = 8000
# Run in nginx's container, by whose own settings it goes: the new ones may have another TLS, or other names. Several
# requests, because they go to one container after the other, and others have some of them.
ASK_NGINX = """
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


def roll(settings: Settings, hashes: Mapping[str, str], service: str, count: int, port: int) -> bool:
    """Make it `count` containers of what was built, and none of what was before. Return whether anything changed.

    `port` is nginx's for it.
    """
    _remove_ended(settings, service)
    before = engine.containers(settings.project, service)
    # Those above the count go as well.
    current = [container.id for container in before if services.is_current(container, hashes)][:count]
    old = [container for container in before if container.id not in current]
    if len(current) == count and not old:
        say(f"{service}: nothing changed")
        return False
    new = list(current)
    if len(new) < count:
        say(f"{service}: starting {count - len(new)} new next to {len(before)} that run")
    is_well = True
    while is_well and len(new) < count:
        started = _start_one_more(settings, service)
        new += started
        is_well = bool(started) and _await_healthy(service, started)
    if not is_well or not _take_over(settings, service, port, new):
        _abandon(service, before, new, has_old=bool(old))
    for container in old:
        _stop(f"{service}: stopping the old one, which finishes its requests first", container)
        _let_nginx_forget(settings)
    return True


def _start_one_more(settings: Settings, service: str) -> list[str]:
    """Return it, or nothing.

    One after the other: its name leads to a container from the moment it is made, before anything listens there, and a
    streamed upload is tried on two.
    """
    before = engine.ids(settings.project, service)
    scale = f"{service}={len(before) + 1}"
    if not compose.run(settings, "up", "-d", "--no-deps", "--no-recreate", "--scale", scale, service):
        warn(f"{service}: Compose could not start another container")
    return [container for container in engine.ids(settings.project, service) if container not in before][:1]


def _remove_ended(settings: Settings, service: str) -> None:
    """Compose would count them, and start them again."""
    for container in engine.ids(settings.project, service, states=["exited", "created", "dead"]):
        programs.succeeds(["docker", "rm", container])


def _await_healthy(service: str, containers: Sequence[str]) -> bool:
    return wait_until(f"{service} to become healthy", HEALTHY_WITHIN, lambda: engine.health(containers))


def _take_over(settings: Settings, service: str, port: int, containers: Sequence[str]) -> bool:
    if not _await_healthy(service, containers):
        return False
    nginx = engine.first(settings.project, "nginx")
    if not nginx:
        return True
    if not wait_until(f"nginx to find the new {service}", FOUND_WITHIN, lambda: _are_found(nginx, port, containers)):
        return False
    # It has a second list, for what is asked again, and looks its names up at another time.
    time.sleep(LOOKED_UP_AFTER)
    return True


def _let_nginx_forget(settings: Settings) -> None:
    """Wait until nginx does not turn to the address of a container that has gone.

    It does so for two more seconds (upstreams.conf.template), and waits there for up to three (proxy.conf) before it
    turns to the next one that it knew then. Until that is over the next must not go: a streamed upload is tried on
    two addresses, of which one has to be there. And that address, which is free, must not become the one of a new
    container of another service: it would get uploads of this one.
    """
    if engine.is_running(settings.project, "nginx"):
        time.sleep(FORGOTTEN_AFTER)


# --- whether nginx knows them -----------------------------------------------------------------------------------------


def _are_found(nginx: str, port: int, containers: Sequence[str]) -> Progress:
    """Whether nginx has a connection to each: it keeps those it has used. A request of our own makes it use one."""
    sockets = programs.output(["docker", "exec", nginx, "sh", "-c", ASK_NGINX, "sh", str(port)])
    known = peers(sockets, APPLICATION_PORT)
    addresses = [container.address_in("inside") for container in engine.inspect(containers)]
    is_found = len(addresses) == len(containers) and known.issuperset(addresses)
    return Progress.DONE if is_found else Progress.WAITING


def peers(sockets: str, port: int) -> set[str]:
    """Return the IPv4 addresses that there is a connection to, on this port of theirs: of /proc/net/tcp.

    Its third column is the peer: the address as the kernel has it in memory, and the port, in hexadecimal
    (proc_pid_net(5)).
    """
    found = set()
    for line in sockets.splitlines()[1:]:
        address, _, number = line.split()[2].partition(":")
        if int(number, 16) == port:
            found.add(".".join(str(byte) for byte in struct.pack("=I", int(address, 16))))
    return found


# --- those that go ----------------------------------------------------------------------------------------------------


def _abandon(service: str, before: Sequence[Container], new: Sequence[str], *, has_old: bool) -> NoReturn:
    """Those that were there before go on.

    But where old ones serve, one that an earlier deploy, cut short, has left need not, if it is not well either.
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
    """It takes no more connections, finishes what it has, for up to stop_grace_period, and is gone."""
    say(f"{why} ({container.name})")
    # It keeps the lock of the stack, should this process be killed.
    with subprocess.Popen(["docker", "stop", container.id], stdout=subprocess.DEVNULL, close_fds=False) as stopping:
        wait_until("its last requests to finish", STOPPED_WITHIN, lambda: _has_ended(stopping))
        stopping.kill()
    programs.succeeds(["docker", "rm", "--force", container.id])


def _has_ended(process: subprocess.Popen[bytes]) -> Progress:
    return Progress.WAITING if process.poll() is None else Progress.DONE
