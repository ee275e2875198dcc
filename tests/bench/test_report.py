"""The arithmetic of the report: medians, ratios, targets, and how they are written."""

import json
import os
from xml.etree import ElementTree as ET

import pytest

from bench import plots, report, servers, workloads
from bench.report import Results, Row, Target
from bench.workloads import Outcome


def results(*rows: Row) -> Results:
    return Results({"processor": "one"}, {"wsgiserver": "this tree"}, {"bjoern": "get it"}, list(rows))


def row(server: str, cpu: float, workload: str = "hello", trouble: str = "") -> Row:
    return Row(workload, server, {} if trouble else {"rate": 1 / cpu, "cpu": cpu, "load": 0.5}, trouble)


HELLO = results(row("wsgiserver", 20e-6), row("gunicorn sync", 200e-6), row("granian", 15e-6))
LOST = results(row("wsgiserver", 2e-3, "upload-3-8k"), row("granian", 0, "upload-3-8k", "lost"))


def test_the_result_is_the_median_of_the_rounds() -> None:
    rounds = [Outcome({"cpu": value, "rate": value * 2}) for value in (3.0, 1.0, 100.0)]
    assert report.median(rounds) == ({"cpu": 3.0, "rate": 6.0}, "")


def test_a_server_that_failed_in_one_round_has_failed() -> None:
    assert report.median([Outcome({"cpu": 1.0}), Outcome({}, "lost")]) == ({}, "lost")


def test_a_ratio_is_the_other_server_divided_by_wsgiserver() -> None:
    assert HELLO.ratio("hello", "gunicorn sync", "cpu") == pytest.approx(10)
    assert HELLO.ratio("hello", "gunicorn sync", "rate") == pytest.approx(0.1)
    assert HELLO.ratio("hello", "wsgiserver", "cpu") == 1


@pytest.mark.parametrize("ask", [("hello", "bjoern", "cpu"), ("page", "granian", "cpu"), ("hello", "granian", "p99")])
def test_a_missing_measurement_has_no_ratio(ask: tuple[str, str, str]) -> None:
    assert HELLO.ratio(*ask) is None


def test_a_server_that_loses_the_body_is_reported_as_lost() -> None:
    assert LOST.ratio("upload-3-8k", "granian", "cpu") is None
    assert LOST.others("upload-3-8k", "cpu") == []
    line = next(line for line in report.text(LOST).splitlines() if "granian" in line)
    assert line.replace(" ", "") == "||granian|lost||||"


@pytest.mark.parametrize(
    ("limit", "at_least", "value", "met"),
    [(8, True, 8.0, True), (8, True, 7.99, False), (1.3, False, 1.3, True), (1.3, False, 1.31, False)],
)
def test_a_target_is_met_at_its_limit(limit: float, at_least: bool, value: float, met: bool) -> None:
    assert Target("", lambda _: value, limit, at_least).is_met(value) is met


def test_targets_name_existing_workloads_and_servers() -> None:
    figures = {"rate": 1.0, "cpu": 1.0, "load": 0.1, "share": 1.0, "p99": 1.0, "p99_alone": 1.0, "memory": 1.0}
    every = results(
        *[
            Row(workload.name, server.name, figures, "")
            for workload in workloads.WORKLOADS
            for server in servers.SERVERS
        ]
    )
    assert [target.text for target in report.TARGETS if target.measure(every) is None] == []


def test_targets_are_ratios_to_the_right_server() -> None:
    measured = {target.text: target.measure(HELLO) for target in report.TARGETS}
    assert measured["hello, ahead of gunicorn sync"] == pytest.approx(10)
    assert measured["hello, ahead of granian"] == pytest.approx(0.75)
    assert measured["hello, beside bjoern"] is None


def test_the_best_other_server_is_the_one_with_the_least_cpu_time() -> None:
    page = results(row("wsgiserver", 4.0, "page"), row("granian", 6.0, "page"), row("bjoern", 2.0, "page"))
    assert report.best_server("page", "page")(page) == 0.5


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(9.91e-6, "9.91 us"), (0.000132, "132 us"), (0.00418, "4.18 ms"), (1.57, "1.57 s"), (float("inf"), "never")],
)
def test_durations_are_written_in_a_fitting_unit(seconds: float, written: str) -> None:
    assert report.duration(seconds) == written


@pytest.mark.parametrize(
    ("figures", "written"),
    [
        ({"rate": 87_000.4, "cpu": 1e-5, "load": 0.5}, "87,000/s"),
        ({"rate": 87_000.4, "cpu": 1e-5, "load": 0.99}, "~87,000/s"),
        ({"rate": 9.27, "cpu": 0.08, "load": 0.5}, "9.3/s"),
        ({"share": 0.97, "p50": 0.001, "p99": 0.004}, "97%, fast p99 4 ms"),
        ({"p99": 0.004, "p99_alone": 0.002}, "p99 4 ms, 2 ms without"),
        ({"kept": 10_000.0, "memory": 2048.0}, "2.0 KB each"),
        ({"memory": 1.5 * (1 << 20)}, "+1.5 MB"),
    ],
)
def test_results_are_written_in_one_cell(figures: dict[str, float], written: str) -> None:
    assert report.result(figures) == written


def test_the_text_is_markdown_whose_columns_are_aligned() -> None:
    text = report.text(HELLO)
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(line) for line in table.splitlines()}) == 1
    assert "Without bjoern: get it" in text
    assert "| hello, ahead of gunicorn sync | >= 8x    |   10.00x |     met |" in text


def test_the_json_has_all_results_and_targets() -> None:
    loaded = json.loads(report.as_json(HELLO))
    assert loaded["rows"][1]["server"] == "gunicorn sync"
    assert loaded["rows"][1]["figures"]["cpu"] == pytest.approx(200e-6)
    assert loaded["targets"][0]["measured"] == pytest.approx(10)


def test_a_chart_is_svg_with_the_best_bar_first_and_lost_ones_last() -> None:
    assert [bar.name for bar in plots.bars(HELLO, "hello")] == ["granian", "wsgiserver", "gunicorn sync"]
    assert plots.bars(LOST, "upload-3-8k")[-1] == ("granian", None, "lost")
    document = plots.chart(
        "Requests & more", {"Hello": plots.bars(HELLO, "hello"), "8 KB": plots.bars(LOST, "upload-3-8k")}
    )
    root = ET.fromstring(document)  # noqa: S314 - our own
    assert len(root.findall("{*}rect")) == 4
    assert len(root.findall("{*}rect[@class='ours']")) == 2
    assert [text.text for text in root.findall("{*}text[@class='trouble']")] == ["lost"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="measuring needs Linux")
@pytest.mark.parametrize("server", servers.SERVERS, ids=lambda server: server.name)
def test_every_command_names_the_application_the_port_and_the_threads(server: servers.Server) -> None:
    command = servers.command(server, "bench.apps:application", 16, 8123)
    whole = " ".join(command)
    assert command[0] == "taskset"
    assert "8123" in whole
    assert "bench.apps" in whole
    assert "{" not in whole
    assert "16" in command or server.name in {"gunicorn sync", "bjoern"}


def test_the_names_of_workloads_are_distinct_and_include_the_charts() -> None:
    names = [workload.name for workload in workloads.WORKLOADS]
    assert len(set(names)) == len(names)
    charted = {name for _, shown in plots.CHARTS.values() for name in shown}
    assert charted <= set(names)
