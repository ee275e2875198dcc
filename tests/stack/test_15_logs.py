"""The log of nginx: JSON for any request, one request id in all logs, no health checks."""

import json
import re
import uuid

import pytest

from tests.stack.boundary import SERVERS, echoed
from tests.stack.echo import Backends, Edge, ask, request
from tests.stack.stack import ROOT
from tests.wire.polling import poll

NASTY = {
    "quotes": ('/x"y\\z?secret="', 'a "quoted" \\ agent'),
    "control bytes": ("/x", "bell \x07 escape \x1b[31m tab \t"),
    "bytes that are no UTF-8": ("/\xff\xfe", "\xe9\xa0 latin \xff"),
    "UTF-8": ("/\xc3\xa9", "\xe2\x82\xac"),
    "JSON": ('/","status":200,"x":"', '","status":200,"x":"'),
    "a line of log": ("/x%0a%7b%22time%22%3a1%7d", '{"time":1}'),
    "a token": ("/x?token=geheim#geheim", "agent"),
}


@pytest.mark.parametrize("case", NASTY)
def test_a_log_line_is_json_whatever_was_sent(edge: Edge, case: str) -> None:
    """One line per request, with the keys of log.conf, and only the path of the target."""
    host = f"{uuid.uuid4().hex}.example.com"
    target, agent = NASTY[case]
    ask(edge.wire("web"), request(target, f"User-Agent: {agent}", host=host))
    poll(lambda: host in edge.logs(), "nginx has logged it", 20)
    (line,) = [line for line in edge.logs().splitlines() if host in line]
    logged = json.loads(line)
    assert "\N{REPLACEMENT CHARACTER}" not in line, "the engine replaced invalid bytes"
    assert logged["path"] == (target.partition("?")[0] if target.isascii() else "(not ASCII)")
    assert logged["user_agent"] == (agent if agent.isascii() else "(not ASCII)")
    assert (logged["method"], logged["protocol"]) == ("GET", "HTTP/1.1")
    assert list(logged) == re.findall(r'"(\w+)":', (ROOT / "nginx" / "log.conf").read_text())
    assert "secret" not in line
    assert "geheim" not in line


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_has_the_same_id_in_all_logs(edge: Edge, backends: Backends, server: str) -> None:
    answer = ask(edge.wire(server), request("/x", "X-Request-ID: 0123456789abcdef"))
    assert answer
    request_id = answer.headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert echoed(answer)["environ"]["HTTP_X_REQUEST_ID"] == request_id
    poll(lambda: request_id in edge.logs(), "nginx has logged it", 20)
    poll(lambda: request_id in backends.logs(server), "the server has logged it", 20)


def test_health_checks_are_not_logged(edge: Edge) -> None:
    for target in ("/healthz", "/readyz", "/healthz?x", "/healthz/not"):
        ask(edge.wire("web"), request(target, "User-Agent: probe"))
    poll(lambda: "/healthz/not" in edge.logs(), "nginx has logged the other request", 20)
    paths = {json.loads(line)["path"] for line in edge.logs().splitlines() if line.startswith("{")}
    assert not {"/healthz", "/readyz", "/health"} & paths
