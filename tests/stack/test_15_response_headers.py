"""The security headers of responses; nginx adds none of its own to those of the application."""

import re

import pytest

from tests.stack.boundary import HTML
from tests.stack.echo import Edge, ask, request
from tests.wire.answers import Answer

EVERYWHERE = {"X-Content-Type-Options", "X-Request-ID"}
SECURITY = {
    "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy",
    "Content-Security-Policy", "Permissions-Policy", "X-Request-ID",
}  # fmt: skip
ANSWERS = {
    "a static file": ("/static/photos/style.css", [], 200),
    "a static file's range that is not there": ("/static/photos/style.css", ["Range: bytes=999999-"], 416),
    "an original that is gone": ("/_original/originals/00/none.jpg", [], 404),
    "an original that is gone, as a page": ("/_original/none.jpg", [HTML], 404),
    "what is nobody's": ("/_original/.library-id", [], 404),
    "what is in quarantine": ("/_original/.quarantine/0/x", [HTML], 404),
    "an error in JSON": ("/api/", ["Content-Length: 9999999999"], 413),
    "an error as a page": ("/", ["Content-Length: 9999999999", HTML], 413),
    "nothing there": ("/_error/json", [], 404),
}


# To these, nginx adds only what every answer has. An original has the headers of the application.
PASSED_ON = {
    "of the application": ("/x", [], 200, set()),
    "streamed": ("/streamed/api/x", [], 200, set()),
    "a static file of the application's": ("/static/photos/none.css", [], 200, set()),
    "an original": ("/_original/photo.jpg", [], 200, {"Content-Security-Policy"}),
    "an original's part": ("/_original/photo.jpg", ["Range: bytes=0-1"], 206, {"Content-Security-Policy"}),
}


def check_security(answer: Answer | None, status: int, expected: set[str] = SECURITY, *, https: bool) -> None:
    assert answer
    assert answer.status == status
    counts = {name: len(answer.headers.get_all(name, [])) for name in SECURITY}
    assert counts == {name: int(name in expected) for name in SECURITY}
    assert answer.headers.get_all("Strict-Transport-Security", []) == (["max-age=63072000"] if https else [])
    assert answer.headers["Server"] == "nginx", "the version of nginx is shown"


@pytest.mark.parametrize("case", ANSWERS)
def test_each_response_has_the_security_headers_once(edge: Edge, edge_with_tls: Edge, case: str) -> None:
    target, fields, status = ANSWERS[case]
    for each in (edge, edge_with_tls):
        each.exec("sh", "-c", "echo picture > /srv/media/photo.jpg")
    check_security(ask(edge.wire("web"), request(target, *fields)), status, https=False)
    over_tls = ask(edge_with_tls.tls("web"), request(target, *fields))
    check_security(over_tls, status, https=True)


@pytest.mark.parametrize("case", PASSED_ON)
def test_nginx_keeps_the_security_headers_of_the_application(edge: Edge, edge_with_tls: Edge, case: str) -> None:
    """A policy by nginx would block styles and scripts of a project without one, such as the admin of Django."""
    target, fields, status, own = PASSED_ON[case]
    for each in (edge, edge_with_tls):
        each.exec("sh", "-c", "echo picture > /srv/media/photo.jpg")
    check_security(ask(edge.wire("web"), request(target, *fields)), status, EVERYWHERE | own, https=False)
    check_security(ask(edge_with_tls.tls("web"), request(target, *fields)), status, EVERYWHERE | own, https=True)


def test_a_static_script_can_be_a_worker_and_a_module(edge: Edge) -> None:
    """A worker has the policy of its script, and a module only needs the right type."""
    answer = ask(edge.wire("web"), request("/static/photos/upload.js"))
    assert answer
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert "javascript" in answer.headers["Content-Type"]
    assert re.search(r"(?m)^ +text/javascript +mjs;", edge.exec("cat", "/tmp/nginx/nginx.conf"))


def test_a_redirect_of_nginx_has_no_port_and_no_scheme(edge: Edge) -> None:
    """The client does not know those of the container. nginx redirects only for the missing slash of a folder."""
    edge.exec("mkdir", "-p", "/srv/media/folder")
    answer = ask(edge.wire("web"), request("/_original/folder", host="localhost:18080"))
    assert answer
    assert (answer.status, answer.headers["Location"]) == (301, "/_originals/folder/")


def test_a_redirect_to_https_has_the_security_headers(edge_with_tls: Edge) -> None:
    check_security(ask(edge_with_tls.wire("web"), request("/x")), 308, https=False)
