"""What runs, and what it is not allowed to do: asked of the engine and of the kernel, not of compose.yaml."""

import re
from typing import Any

import pytest

from tests.stack.stack import Stack
from tests.stack.wire import Request, exchange

SERVICES = ["nginx", "web", "gunicorn", "runserver"]
USERS = {"nginx": 10002, "web": 10001, "gunicorn": 10001, "runserver": 10001}
PUBLISHED = {"nginx": {"8080/tcp", "8081/tcp", "8443/tcp"}, "web": set(), "gunicorn": set(), "runserver": {"8000/tcp"}}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, stack: Stack) -> str:
    name: str = request.param
    if name not in stack.containers():
        pytest.skip(f"{name} does not run in this stack")
    return name


@pytest.fixture
def container(stack: Stack, service: str) -> dict[str, Any]:
    return stack.container(service)


def test_it_is_healthy(stack: Stack, service: str) -> None:
    stack.wait_until_healthy(service)  # a busy machine may make a check or two late


def test_the_database_was_migrated_once(stack: Stack) -> None:
    state = stack.container("migrate")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def test_limits_are_set(container: dict[str, Any]) -> None:
    host = container["HostConfig"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert 0 < host["PidsLimit"] <= 256


def test_logs_are_rotated(container: dict[str, Any]) -> None:
    assert {"max-size", "max-file"} <= container["HostConfig"]["LogConfig"]["Config"].keys()


def test_it_comes_back_by_itself_and_has_time_to_finish(container: dict[str, Any]) -> None:
    assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert container["HostConfig"]["Init"] is True
    assert container["Config"]["StopTimeout"] == 90


def test_ports_are_published_on_loopback_alone(container: dict[str, Any], service: str) -> None:
    bindings = {port: bound for port, bound in container["NetworkSettings"]["Ports"].items() if bound}
    assert bindings.keys() == PUBLISHED[service]
    assert {place["HostIp"] for bound in bindings.values() for place in bound} <= {"127.0.0.1"}


# Where -> may it be written? Room on a disk, that is: neither memory, as a tmpfs is, nor the container's own layer.
KEPT = {
    "nginx": {"/srv/media": False, "/var/spool/nginx": True, "/srv/certificates": True},
    "web": {"/srv/media": True, "/srv/data": True, "/var/spool/wsgiserver": True},
    "gunicorn": {"/srv/media": True, "/srv/data": True},
    "runserver": {"/srv/media": True, "/srv/data": True},
}


def test_what_has_to_last_or_may_be_large_is_on_a_disk(container: dict[str, Any], service: str) -> None:
    assert {mount["Destination"]: mount["RW"] for mount in container["Mounts"]} == KEPT[service]
    assert {mount["Type"] for mount in container["Mounts"]} <= {"volume", "bind"}
    assert set(container["HostConfig"]["Tmpfs"]) == {"/tmp"}


def test_what_runs_behind_nginx_has_no_way_out(container: dict[str, Any], service: str) -> None:
    networks = {name.rpartition("_")[2] for name in container["NetworkSettings"]["Networks"]}
    assert networks == ({"inside"} if not PUBLISHED[service] else {"edge", "inside"})


def test_every_process_is_an_ordinary_user(stack: Stack, service: str) -> None:
    script = "for s in /proc/[0-9]*/status; do grep -hE '^(Uid|Gid|Groups):' $s; done"
    lines = [line.split() for line in stack.exec(service, "sh", "-c", script).splitlines()]
    user = str(USERS[service])
    assert {tuple(ids) for key, *ids in lines if key != "Groups:"} == {(user,) * 4}
    assert "0" not in {group for key, *ids in lines if key == "Groups:" for group in ids}


def test_no_process_has_a_privilege_or_can_get_one(stack: Stack, service: str) -> None:
    status = stack.exec(service, "cat", "/proc/1/status")
    found = dict(re.findall(r"(?m)^(Cap\w+|NoNewPrivs|Seccomp):\s+(\w+)$", status))
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[kind], 16) == 0, kind
    assert found["NoNewPrivs"] == "1"


def test_the_root_cannot_be_written(stack: Stack, service: str, container: dict[str, Any]) -> None:
    assert container["HostConfig"]["ReadonlyRootfs"]
    folders = "/ /app /etc /opt /opt/venv /srv /usr/bin /var /var/tmp"
    attempt = f'for d in {folders}; do touch "$d/x" 2>/dev/null && echo "$d"; done; true'
    assert stack.exec(service, "sh", "-c", attempt).split() == []


def test_nginx_cannot_change_a_photo(stack: Stack) -> None:
    assert stack.exec("nginx", "sh", "-c", "touch /srv/media/x 2>/dev/null || echo refused").strip() == "refused"


def test_only_the_services_of_this_stack_run(stack: Stack) -> None:
    assert set(stack.containers()) <= {*SERVICES, "migrate", "db", "prometheus", "grafana"}


def test_metrics_are_for_the_inside(stack: Stack) -> None:
    """Web counts what it does, on a port of its own that is not published, and that nginx knows nothing of."""
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9000/metrics', timeout=10).read().decode())"
    metrics = stack.exec("web", "python", "-c", ask)
    assert 'wsgiserver_requests_total{status="2xx"}' in metrics
    assert re.search(r'(?m)^wsgiserver_workers\{phase="ready"\} [1-9]', metrics)
    with stack.nginx("web") as wire:
        assert exchange(wire, Request("GET", "/metrics", {}), token=None).status == 404
