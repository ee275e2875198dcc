"""The profile monitoring on the running stack: Prometheus finds nginx and web, and every query of the repository runs.

Grafana is not started, because its image would have to be downloaded; the tests run its queries on Prometheus.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

from scripts.dashboard_rules import queries
from tests.stack.stack import ROOT, Stack, free_ports, run
from tests.wire.polling import poll

IMAGES = ROOT / ".images"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "monitoring" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = dict(queries(json.loads((ROOT / "monitoring/grafana/dashboards/uploads.json").read_text())))
QUERIES = DASHBOARD | {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES}
# Queries that have a value after the first request.
SHOWN = {
    'up{job="web"} == 1',
    'up{job="nginx"} == 1',
    'wsgiserver_workers{phase="ready"} > 0',
    "wsgiserver_resident_memory_bytes > 0",
    "wsgiserver_memory_limit_bytes > 0",
    'wsgiserver_requests_total{status="2xx"} > 0',
    "wsgiserver_application_seconds_count > 0",
    'wsgiserver_refused_total{error="spool-full"} >= 0',
    "nginx_connections_active > 0",
    "nginx_connections_limit > 0",
}
# Alerts that do not fire in a healthy stack.
SILENT = {"WebDown", "WebReplicaDown", "NginxDown", "NoWorkerServes", "ConnectionsNearLimit", "MemoryNearLimit"}


class Prometheus:
    """Its API on the published port."""

    def __init__(self, stack: Stack) -> None:
        self.container = stack.container("prometheus")
        (self.binding,) = self.container["NetworkSettings"]["Ports"]["9090/tcp"]
        self._url = f"http://{self.binding['HostIp']}:{self.binding['HostPort']}/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self._session.get(f"{self._url}/{path}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", (path, parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def targets(self) -> dict[str, set[str]]:
        """Job -> health of its targets: "up", "down", or "unknown" before the first scrape."""
        found: dict[str, set[str]] = {}
        with contextlib.suppress(requests.ConnectionError, ValueError):  # while it starts, it closes or sends no JSON
            for target in self.ask("targets", state="active")["activeTargets"]:
                found.setdefault(target["labels"]["job"], set()).add(target["health"])
        return found

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def prometheus(stack: Stack, anonymous: requests.Session) -> Iterator[Prometheus]:
    """The running one, or one for these tests, which is deleted with its data afterwards."""
    is_started_here = "prometheus" not in stack.containers()
    if is_started_here:
        (port,) = free_ports(1)
        settings = {"COMPOSE_PROFILES": "demo,prometheus", "PROMETHEUS_PORT": str(port)}
        run(str(ROOT / "scripts" / "images.sh"), env={**stack.environment, **settings}, timeout=1200)
        stack.compose("up", "-d", "--no-deps", "prometheus", **settings)
    running = Prometheus(stack)
    try:
        healthy = {"web": {"up"}, "nginx": {"up"}, "prometheus": {"up"}}
        assert anonymous.get(stack.url, timeout=60).status_code == 200  # a request to count
        poll(lambda: running.targets() == healthy, f"targets are {healthy}", 120)
        yield running
    finally:
        running.close()
        if is_started_here:
            run("docker", "rm", "--force", running.container["Id"])
            run("docker", "volume", "rm", f"{stack.project}_prometheus")


@pytest.mark.timeout(1500)  # its image may have to be pulled or built
def test_prometheus_is_published_on_loopback_only(prometheus: Prometheus) -> None:
    assert prometheus.binding["HostIp"] == "127.0.0.1"
    bound = {port for port, bindings in prometheus.container["NetworkSettings"]["Ports"].items() if bindings}
    assert bound == {"9090/tcp"}


def test_the_prometheus_container_is_hardened(prometheus: Prometheus, stack: Stack) -> None:
    host = prometheus.container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] > 0
    assert prometheus.container["Config"]["User"] == "65534:65534"
    assert {mount["Destination"] for mount in prometheus.container["Mounts"] if mount["RW"]} == {"/prometheus"}
    status = stack.exec("prometheus", "cat", "/proc/1/status")
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status


def test_prometheus_is_healthy(prometheus: Prometheus, stack: Stack) -> None:
    stack.wait_until_healthy("prometheus")


@pytest.mark.parametrize("expression", sorted(SHOWN))
def test_the_basic_metrics_are_collected(prometheus: Prometheus, expression: str) -> None:
    # Polled: an idle worker reports its numbers, and the first scrape may have come earlier.
    poll(lambda: prometheus.query(expression), f"a series for {expression}", 60)


def test_each_container_of_web_is_a_target(prometheus: Prometheus, stack: Stack) -> None:
    networks = stack.container("web")["NetworkSettings"]["Networks"]
    (address,) = [network["IPAddress"] for name, network in networks.items() if name.endswith("_inside")]
    assert f"{address}:9000" in {series["metric"]["instance"] for series in prometheus.query('up{job="web"}')}


@pytest.mark.parametrize("where", QUERIES)
def test_every_query_of_the_repository_runs(prometheus: Prometheus, where: str) -> None:
    prometheus.query(QUERIES[where])


def test_every_rule_is_evaluated_and_a_healthy_stack_fires_no_alert(prometheus: Prometheus) -> None:
    def evaluated() -> bool:
        return {rule["health"] for rule in prometheus.rules()} == {"ok"}

    def firing() -> set[str]:
        return {rule["name"] for rule in prometheus.rules() if rule.get("state") == "firing"}

    poll(evaluated, f"all rules are evaluated: {[(rule['name'], rule['health']) for rule in prometheus.rules()]}", 60)
    rules = prometheus.rules()
    assert len(rules) == len(RULES)
    assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []
    # Polled: after a late first scrape, some fire until they are evaluated again.
    poll(lambda: not firing() & SILENT, f"none of {SILENT} fires", 120)
    poll(lambda: prometheus.query("instance:wsgiserver_workers_serving:sum > 0"), "a sum is recorded", 60)


def test_a_missing_grafana_image_is_reported_in_one_line(prometheus: Prometheus, stack: Stack) -> None:
    """The registry refuses connections: port 9 of this machine. The services that start then are tested in
    tests/test_stack_files.py, because Compose 1.29 cannot list the services of a profile.
    """
    nowhere = "127.0.0.1:9/grafana/grafana:12.4.10"
    settings = {"COMPOSE_PROFILES": "monitoring", "GRAFANA_IMAGE": nowhere}
    before = IMAGES.read_text()
    try:
        command = f"exec {ROOT / 'scripts' / 'images.sh'} 2>&1"
        output = run("bash", "-c", command, env={**stack.environment, **settings})
        assert len([line for line in output.splitlines() if "runs without Grafana" in line]) == 1
        again = run("bash", "-c", command, env={**stack.environment, **settings})
    finally:
        IMAGES.write_text(before)
    assert "as before" in again
