"""Errors that nginx itself answers: as JSON, as pages, and with a remedy for the operator in the log."""

import contextlib
import json
import re
import time

import pytest

from tests.stack.boundary import (
    FEW,
    HTML,
    LONG,
    SERVERS,
    check_both,
    check_error,
    check_page,
    echoed,
    send_both,
)
from tests.stack.echo import Edge, ask, request
from tests.stack.wire import Tcp
from tests.wire.answers import read_answer
from tests.wire.polling import poll

# A request -> status, name and a word of the detail; nginx refuses each with any server behind it.
ERRORS: dict[str, tuple[bytes, tuple[int, str, str]]] = {
    "two hosts": (request("/api/", "Host: localhost"), (400, "bad-request", "not valid HTTP")),
    "a path of nginx's own": (request("/_error/json"), (404, "not-found", "")),
    "an original": (request("/_originals/x"), (404, "not-found", "")),
    "TRACE": (request("/", method="TRACE"), (405, "method-not-allowed", "")),
    "CONNECT": (request("localhost:443", method="CONNECT"), (405, "method-not-allowed", "")),
    "a length too large": (request("/api/", "Content-Length: 1048577"), (413, "body-too-large", "UPLOAD_MAX")),
    "one too large, streamed": (
        request("/streamed/api/", "Content-Length: 1048577"),
        (413, "body-too-large", "UPLOAD_MAX"),
    ),
    "a chunk too large": (
        request("/api/", "Transfer-Encoding: chunked") + b"100001\r\n" + b"x" * 9,
        (413, "body-too-large", "UPLOAD_MAX"),
    ),
    "a chunk too large, streamed": (
        request("/streamed/api/", "Transfer-Encoding: chunked") + b"100001\r\n" + b"x" * 9,
        (413, "body-too-large", "UPLOAD_MAX"),
    ),
    "a long address of the API": (request(f"/api/{LONG}"), (414, "uri-too-long", "large_client_header_buffers")),
    "a range that is not there": (
        request("/static/photos/style.css", "Range: bytes=999999-"),
        (416, "range-not-satisfiable", "Content-Range"),
    ),
    "another file": (request("/static/photos/style.css", 'If-Match: "x"'), (412, "precondition-failed", "If-Match")),
    "an older file": (
        request("/static/photos/style.css", "If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT"),
        (412, "precondition-failed", "If-Unmodified-Since"),
    ),
    "a form for a file": (
        request("/static/photos/style.css", "Content-Length: 0", method="POST"),
        (405, "method-not-allowed", ""),
    ),
    "a long header": (request("/api/", f"X: {LONG}"), (431, "headers-too-large", "large_client_header_buffers")),
    "a long header before Host": (
        request("/api/").replace(b"Host", f"X: {LONG}\r\nHost".encode()),
        (431, "headers-too-large", "large_client_header_buffers"),
    ),
    "many headers": (request("/api/", *(["X: y"] * 150)), (431, "headers-too-large", "max_headers")),
    "an unknown coding": (request("/api/", "Transfer-Encoding: gzip"), (501, "transfer-encoding-unknown", "coding")),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_what_to_change(edge: Edge, case: str, server: str) -> None:
    data, expected = ERRORS[case]
    check_both(send_both(edge, server, data), *expected, has_page="streamed" not in case)  # the API has no pages


def test_an_address_that_is_too_long_gets_an_error_page(edge: Edge) -> None:
    check_page(ask(edge.wire("web"), request(f"/{LONG}")), 414, "uri-too-long")


def test_an_error_about_a_range_has_each_header_once(edge: Edge) -> None:
    answer = ask(edge.wire("web"), request("/static/photos/style.css", "Range: bytes=999999-"))
    assert answer
    assert re.fullmatch(r"bytes \*/\d+", answer.headers["Content-Range"])
    assert [name for name in set(answer.headers) if len(answer.headers.get_all(name, [])) > 1] == []


def test_a_405_names_the_allowed_methods(edge: Edge) -> None:
    for data, allowed in (
        (request("/static/photos/style.css", "Content-Length: 0", method="PUT"), "GET, HEAD"),
        (request("/", method="TRACE"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    ):
        answer = ask(edge.wire("web"), data)
        assert answer
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)


def test_the_remedy_for_an_error_of_nginx_is_logged(edge: Edge) -> None:
    """The log line of an nginx error has its name and the remedy; that of an answer by the application has neither."""
    logged = {}
    for data in (request("/api/", "Content-Length: 1048577"), request("/x")):
        answer = ask(edge.wire("web"), data)
        assert answer
        request_id = answer.headers["X-Request-ID"]
        poll(lambda it=request_id: it in edge.logs(), "nginx has logged it", 20)  # type: ignore[misc]  # a default binds the loop's value
        (line,) = [json.loads(line) for line in edge.logs().splitlines() if line.startswith("{") and request_id in line]
        logged[answer.status] = (line["error"], line["remedy"])
    assert logged[200] == ("", "")
    assert logged[413][0] == "body-too-large"
    assert "UPLOAD_MAX=1m: set it in .env" in logged[413][1]


@pytest.mark.parametrize(
    ("target", "is_page"), [("/x", True), ("/login/", True), ("/api/x", False), ("/streamed/api/x", False)]
)
def test_a_browser_gets_an_error_page_outside_the_api(edge: Edge, target: str, is_page: bool) -> None:
    answer = ask(edge.wire("web"), request(target, "Content-Length: 1048577", HTML))
    if is_page:
        check_page(answer, 413, "body-too-large")
    else:
        check_error(answer, 413, "body-too-large", "UPLOAD_MAX")


def test_a_body_that_does_not_fit_the_spool_is_a_507(edge_with_low_limits: Edge) -> None:
    """With or without a length; no part of it is left in the spool."""
    for field, body in (
        ("Content-Length: 1048576", b"x" * (1 << 20)),
        ("Transfer-Encoding: chunked", b"100000\r\n" + b"x" * (1 << 20)),
    ):
        data = request("/api/x", field, method="PUT") + body
        check_both(send_both(edge_with_low_limits, "web", data), 507, "spool-full", "NGINX_SPOOL")
    poll(lambda: not edge_with_low_limits.exec("find", "/var/spool/nginx", "-type", "f"), "the spool is empty", 10)


# Name -> server, path, and the error.
UNREACHABLE = {
    "not there": ("gunicorn", "x", (502, "application-unreachable", "may be starting")),
    "too slow": ("web", "_late/20", (504, "application-timeout", "proxy_read_timeout")),
}


@pytest.mark.parametrize("prefix", ["", "/streamed"])
@pytest.mark.parametrize("case", UNREACHABLE)
def test_an_application_that_does_not_respond_is_an_error_of_nginx(
    edge_that_waits_a_second: Edge, case: str, prefix: str
) -> None:
    server, path, error = UNREACHABLE[case]
    check_both(
        send_both(edge_that_waits_a_second, server, request(f"{prefix}/api/{path}")), *error, has_page=not prefix
    )


def test_too_many_connections_are_refused_with_429(edge_with_low_limits: Edge, edge_for_any_host: Edge) -> None:
    """The limits per address and in total; requests are accepted again as soon as there is room."""
    for edge, setting in ((edge_with_low_limits, "CLIENT_CONNECTIONS"), (edge_for_any_host, "TOTAL_CONNECTIONS")):
        with contextlib.ExitStack() as wires:
            held = [wires.enter_context(hold(edge)) for _ in range(FEW)]
            check_both(send_both(edge, "web", request("/api/y")), 429, "too-many-connections", setting)
            for wire in held:
                wire.send(b"ab")
                assert echoed(read_answer(wire.reader))["body"] == "ab"
        poll(lambda at=edge: status_of(at) == 200, "there is room", 30)  # type: ignore[misc]  # a default binds the loop's value


def hold(edge: Edge) -> Tcp:
    """A connection with an open request. (A connection that has just ended may still count.)"""
    deadline = time.monotonic() + 30
    while True:
        wire = edge.wire("web")
        wire.send(request("/streamed/api/x", "Content-Length: 2", "Expect: 100-continue", method="PUT"))
        if read_answer(wire.reader).status == 100:
            return wire
        wire.close()
        assert time.monotonic() < deadline


def status_of(edge: Edge) -> int:
    answer = ask(edge.wire("web"), request("/api/z"))
    return answer.status if answer else 0


def test_too_many_attempts_to_log_in_are_refused_with_429(edge_with_low_limits: Edge) -> None:
    """A burst of five and one more. GET of the form is no attempt, and other spellings are the same path."""
    spellings = ["/login/", "/%6cogin/", "//login/", "/x/../login/", "/login/?next=/", "/login/"]
    post = [
        ask(edge_with_low_limits.wire("web"), request(target, "Content-Length: 0", method="POST"))
        for target in spellings
    ]
    assert [answer and answer.status for answer in post] == [200] * 6
    for _ in range(3):  # a minute may have passed
        answers = send_both(edge_with_low_limits, "web", request("/login/", "Content-Length: 0", method="POST"))
        if {answer.status for answer in answers if answer} == {429}:
            break
    check_both(answers, 429, "too-many-requests", "LOGIN_RATE")
    for target in ("/admin/login/", "/accounts/google/login/"):  # login pages of other projects
        data = request(target, "Content-Length: 0", method="POST")
        check_both(send_both(edge_with_low_limits, "web", data), 429, "too-many-requests", "LOGIN_RATE")
    for target in ("/api/token", "/api/token/", "/streamed/api/token", "/streamed/api/%74oken/", "/api/x/../token"):
        data = request(target, "Content-Length: 0", "Authorization: Token x", method="POST")
        check_error(
            ask(edge_with_low_limits.wire("web"), data), 429, "too-many-requests", "LOGIN_RATE"
        )  # browsers do not use /api
    assert echoed(ask(edge_with_low_limits.wire("web"), request("/login/")))["method"] == "GET"
