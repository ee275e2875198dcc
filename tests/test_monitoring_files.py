"""The files of monitoring/: each metric in an expression exists, each alert has a case and a page, panels are complete.

No engine needed. These tests do not evaluate PromQL: promtool parses every expression in `make check`, and Prometheus
runs it in tests/stack/test_13_monitoring.py.
"""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.dashboard_rules import queries
from wsgiserver.telemetry.admin import application
from wsgiserver.telemetry.metrics import COUNTS, SUMS
from wsgiserver.telemetry.scoreboard import Scoreboard

ROOT = Path(__file__).resolve().parent.parent
MONITORING = ROOT / "monitoring"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
PROMETHEUS: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
CASES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]
SOURCES: list[dict[str, Any]] = yaml.safe_load(
    (MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text()
)["datasources"]
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in (MONITORING / "grafana/dashboards").glob("*.json")}
RUNBOOK = (ROOT / "docs" / "monitoring.md").read_text()

# Metrics of Prometheus itself: one for each scrape, one for each alert.
OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}
WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
OPERATORS = {"and", "or", "unless", "offset", "bool"}
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')


# --- the metrics that exist -----------------------------------------------------------------------------------------


def metrics_of_web() -> str:
    environ = {"PATH_INFO": "/metrics", "REQUEST_METHOD": "GET"}
    return b"".join(application(Scoreboard(COUNTS, SUMS))(environ, lambda *_: None)).decode()


def metrics_of_nginx() -> str:
    return re.search(r"return 200 '(# HELP [^']*)'", (ROOT / "nginx" / "status.conf.template").read_text())[1]  # type: ignore[index]  # a missing one fails


def samples(exposition: str) -> Iterator[tuple[str, dict[str, str]]]:
    for name, labels in re.findall(r"(?m)^([a-z_]+)(?:\{(.*)\})? \S+$", exposition):
        yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels))


# Name of a metric -> its labels -> their values.
KNOWN: dict[str, dict[str, set[str]]] = {name: {label: set() for label in labels} for name, labels in OWN.items()}
for known, its_labels in (*samples(metrics_of_web()), *samples(metrics_of_nginx())):
    values = KNOWN.setdefault(known, {})
    for key, one in its_labels.items():
        values.setdefault(key, set()).add(one)
KNOWN |= {rule["record"]: {} for rule in RULES if "record" in rule}

EXPRESSIONS = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES] + [
    query for dashboard in DASHBOARDS.values() for query in queries(dashboard)
]


def metrics_in(expression: str) -> set[str]:
    """Return every name that is not a function, an operator or a label."""
    rest = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"', " ", expression)
    rest = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", rest)
    rest = re.sub(r"\boffset\s+\w+", " ", rest)
    return {word[0] for word in WORD.finditer(rest) if not re.match(r"\s*\(", rest[word.end() :])} - OPERATORS


def test_metric_names_are_found_in_an_expression() -> None:
    expression = 'sum by (le) (rate(a_total{b="c"}[5m])) / (d:e > 0) or 0 * max_over_time(f[6h] offset 10m) and up'
    assert metrics_in(expression) == {"a_total", "d:e", "f", "up"}


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_every_metric_in_an_expression_exists(where: str, expression: str) -> None:
    names = metrics_in(expression)
    assert names, where
    assert names <= KNOWN.keys(), where
    for name, matchers in SELECTOR.findall(expression):
        for label, operator, value in MATCHER.findall(matchers):
            if name in OWN:
                assert label in OWN[name], where
            else:
                assert set(value.split("|") if operator == "=~" else [value]) <= KNOWN[name][label], where


def test_every_job_in_an_expression_exists_in_prometheus_yml() -> None:
    jobs = {job["job_name"] for job in PROMETHEUS["scrape_configs"]}
    used = {value for _, expression in EXPRESSIONS for value in re.findall(r'job="(\w+)"', expression)}
    assert used <= jobs
    assert {"web", "nginx"} <= jobs


def test_every_metric_of_web_is_used_in_a_panel_or_alert() -> None:
    shown = {name for _, expression in EXPRESSIONS for name in metrics_in(expression)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    of_web = set(re.findall(r"(?m)^# TYPE (\w+)", metrics_of_web()))
    assert of_web - families == {"wsgiserver_build_info"}


# --- the targets ----------------------------------------------------------------------------------------------------


def test_prometheus_scrapes_the_ports_of_the_stack() -> None:
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    port = int(COMPOSE["services"]["web"]["environment"]["WSGISERVER_ADMIN_BIND"].rpartition(":")[2])
    # By the addresses of the name: every replica is scraped, not a random one.
    assert jobs["web"]["dns_sd_configs"] == [{"names": ["web"], "type": "A", "port": port, "refresh_interval": "10s"}]
    listening = re.search(r"listen (\d+);", (ROOT / "nginx" / "status.conf.template").read_text())
    assert jobs["nginx"]["static_configs"] == [{"targets": [f"nginx:{listening[1] if listening else None}"]}]


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    assert [(source["type"], source["url"]) for source in SOURCES] == [("prometheus", "http://prometheus:9090")]
    assert SOURCES[0]["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
    grafana, prometheus = COMPOSE["services"]["grafana"], COMPOSE["services"]["prometheus"]
    assert set(grafana["networks"]) & set(prometheus["networks"]) == {"public"}
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    provider = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/files.yml").read_text())["providers"][0]
    assert mounted["./monitoring/grafana/dashboards"] == provider["options"]["path"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert home.name in DASHBOARDS


# --- alerts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_and_a_documented_remedy(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
    section = re.search(rf"(?ms)^### {name}\n\n(.*?)(?=^##|\Z)", RUNBOOK)
    assert section, f"docs/monitoring.md has no section {name}"
    assert f"*{alert['labels']['severity'].title()}.*" in section[1]
    assert "*Do*" in section[1]


def test_the_documentation_has_exactly_the_existing_alerts() -> None:
    assert re.findall(r"(?m)^### (\w+)$", RUNBOOK) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_firing_and_a_quiet_test_case(name: str) -> None:
    expected = [
        bool(case["exp_alerts"])
        for part in CASES
        for case in part.get("alert_rule_test", [])
        if case["alertname"] == name
    ]
    assert True in expected
    assert False in expected


# --- the dashboard: mistakes that Grafana does not report but shows as an empty or a hidden panel ---------------------


@pytest.fixture(params=DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(DASHBOARDS[request.param])


def test_a_dashboard_can_be_loaded_by_grafana(dashboard: dict[str, Any]) -> None:
    assert isinstance(dashboard["uid"], str)
    assert "id" not in dashboard  # Grafana assigns the id: one in a file belongs to another Grafana
    assert dashboard["schemaVersion"] >= 39
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(titles) > 1


def test_a_panel_uses_the_configured_data_source(dashboard: dict[str, Any]) -> None:
    source = {"type": "prometheus", "uid": SOURCES[0]["uid"]}
    assert all(annotation["datasource"] == source for annotation in dashboard["annotations"]["list"])
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == source
            assert panel["targets"]
            assert all(target["datasource"] == source for target in panel["targets"]), panel["title"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_a_panel_has_a_description_and_a_unit(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    cells: dict[str, set[tuple[int, int]]] = {}
    for panel in dashboard["panels"]:
        position = panel["gridPos"]
        assert 0 <= position["x"] < position["x"] + position["w"] <= 24, panel["title"]
        columns, rows = (
            range(position["x"], position["x"] + position["w"]),
            range(position["y"], position["y"] + position["h"]),
        )
        cells[f"{panel['id']} {panel['title']}"] = {(column, row) for column in columns for row in rows}
    for (one, cells_of_one), (other, cells_of_other) in combinations(cells.items(), 2):
        assert not cells_of_one & cells_of_other, f"{one} and {other}"
