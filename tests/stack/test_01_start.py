"""The running services, and their hardening (hardening.py)."""

import re

import pytest

from tests.stack import hardening
from tests.stack.stack import Stack
from tests.stack.wire import Request, exchange

SERVICES = ["nginx", "web", "gunicorn", "runserver"]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, stack: Stack) -> str:
    name: str = request.param
    if name not in stack.containers():
        pytest.skip(f"{name} does not run in this stack")
    return name


def test_each_service_is_healthy(stack: Stack, service: str) -> None:
    stack.wait_until_healthy(service)  # on a busy machine, checks may be late


def test_the_database_was_migrated_once(stack: Stack) -> None:
    state = stack.container("migrate")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


@pytest.mark.parametrize("rule", hardening.RULES)
def test_a_container_keeps_the_hardening_rules(stack: Stack, service: str, rule: str) -> None:
    hardening.check(stack, service, rule)


def test_only_the_services_of_this_stack_run(stack: Stack) -> None:
    assert set(stack.containers()) <= {*SERVICES, "migrate", "db", "prometheus", "grafana"}


def test_metrics_of_web_are_not_reachable_through_nginx(stack: Stack) -> None:
    """Web serves its metrics on a port of its own, which is not published and which nginx does not use."""
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9000/metrics', timeout=10).read().decode())"
    metrics = stack.exec("web", "python", "-c", ask)
    assert 'wsgiserver_requests_total{status="2xx"}' in metrics
    assert re.search(r'(?m)^wsgiserver_workers\{phase="ready"\} [1-9]', metrics)
    with stack.nginx("web") as wire:
        assert exchange(wire, Request("GET", "/metrics", {}), token=None).status == 404


def test_the_status_page_of_nginx_is_not_published(stack: Stack) -> None:
    """The page can be read in the container of nginx and from one beside it, but not on the published ports."""
    own = stack.exec("nginx", "curl", "-fsS", "--noproxy", "*", "http://127.0.0.1:9000/nginx_status")
    with stack.relay("nginx", port=9000) as wire:
        answer = exchange(wire, Request("GET", "/nginx_status", {}), token=None)
    for page in (own, answer.body.decode()):
        assert re.match(r"Active connections: [1-9]\d* \nserver accepts handled requests\n", page), page
    for server in ("web", "gunicorn"):
        for path in ("/nginx_status", "/metrics"):
            with stack.nginx(server) as wire:
                assert exchange(wire, Request("GET", path, {}), token=None).status == 404
