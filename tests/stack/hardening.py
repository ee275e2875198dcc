"""Restrictions of a running container, checked at the engine and the kernel, not in compose.yaml.

RULES apply to any service; the tables hold the differences.
"""

import re
from collections.abc import Callable
from typing import Any

from tests.stack.stack import COMPOSE, Stack, run

Container = dict[str, Any]

USERS = {"nginx": 10002, "web": 10001, "gunicorn": 10001, "runserver": 10001, "db": 999}
PUBLISHED = {"nginx": {"8080/tcp", "8081/tcp", "8443/tcp"}, "runserver": {"8000/tcp"}}
# Mounts on a disk (no tmpfs) -> whether the container may write there.
MOUNTS = {
    "nginx": {"/srv/media": False, "/var/spool/nginx": True, "/srv/certificates": True},
    "web": {"/srv/media": True, "/srv/data": True, "/var/spool/wsgiserver": True},
    "gunicorn": {"/srv/media": True, "/srv/data": True},
    "runserver": {"/srv/media": True, "/srv/data": True},
    "db": {"/var/lib/postgresql": True, "/docker-entrypoint-initdb.d/10-application-role.sh": False},
}
IN_MEMORY = {"db": {"/tmp", "/run/postgresql"}}


def check(stack: Stack, service: str, rule: str) -> None:
    """All containers of the service keep the rule."""
    containers = stack.replicas(service)
    assert containers, f"there is no {service}"
    for container in containers:
        RULES[rule](container)


def service_of(container: Container) -> str:
    return str(container["Config"]["Labels"][f"{COMPOSE}.service"])


def inside(container: Container, *command: str) -> str:
    return run("docker", "exec", container["Id"], *command)


def limits_are_set(container: Container) -> None:
    host = container["HostConfig"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert 0 < host["PidsLimit"] <= 512


def logs_are_rotated(container: Container) -> None:
    assert {"max-size", "max-file"} <= container["HostConfig"]["LogConfig"]["Config"].keys()


def comes_back_by_itself_and_has_time_to_finish(container: Container) -> None:
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert container["HostConfig"]["Init"] is True
    assert container["Config"]["StopTimeout"] == 90


def publishes_on_loopback_alone(container: Container) -> None:
    bindings = {port: bound for port, bound in container["NetworkSettings"]["Ports"].items() if bound}
    assert bindings.keys() == PUBLISHED.get(service_of(container), set())
    assert {binding["HostIp"] for bound in bindings.values() for binding in bound} <= {"127.0.0.1"}


def keeps_on_a_disk_what_has_to_last_or_may_be_large(container: Container) -> None:
    service = service_of(container)
    assert {mount["Destination"]: mount["RW"] for mount in container["Mounts"]} == MOUNTS[service]
    assert {mount["Type"] for mount in container["Mounts"]} <= {"volume", "bind"}
    assert set(container["HostConfig"]["Tmpfs"]) == IN_MEMORY.get(service, {"/tmp"})


def has_no_way_out_behind_nginx(container: Container) -> None:
    networks = {name.rpartition("_")[2] for name in container["NetworkSettings"]["Networks"]}
    assert networks == ({"public", "inside"} if service_of(container) in PUBLISHED else {"inside"})


def every_process_is_an_ordinary_user(container: Container) -> None:
    script = "for s in /proc/[0-9]*/status; do grep -hE '^(Uid|Gid|Groups):' $s; done"
    lines = [line.split() for line in inside(container, "sh", "-c", script).splitlines()]
    user = str(USERS[service_of(container)])
    assert {tuple(ids) for key, *ids in lines if key != "Groups:"} == {(user,) * 4}
    assert "0" not in {group for key, *ids in lines if key == "Groups:" for group in ids}


def no_process_has_a_privilege_or_can_get_one(container: Container) -> None:
    status = inside(container, "cat", "/proc/1/status")
    found = dict(re.findall(r"(?m)^(Cap\w+|NoNewPrivs|Seccomp):\s+(\w+)$", status))
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[kind], 16) == 0, kind
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")  # 2: the engine filters system calls


def the_root_cannot_be_written(container: Container) -> None:
    assert container["HostConfig"]["ReadonlyRootfs"]
    folders = "/ /app /etc /opt /opt/venv /srv /usr/bin /var /var/tmp"
    attempt = f'for d in {folders}; do touch "$d/x" 2>/dev/null && echo "$d"; done; true'
    assert inside(container, "sh", "-c", attempt).split() == []


RULES: dict[str, Callable[[Container], None]] = {
    rule.__name__: rule
    for rule in (
        limits_are_set,
        logs_are_rotated,
        comes_back_by_itself_and_has_time_to_finish,
        publishes_on_loopback_alone,
        keeps_on_a_disk_what_has_to_last_or_may_be_large,
        has_no_way_out_behind_nginx,
        every_process_is_an_ordinary_user,
        no_process_has_a_privilege_or_can_get_one,
        the_root_cannot_be_written,
    )
}
