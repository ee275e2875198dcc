"""Which headers of a client reach the application, and that forged proxy headers do not.

Behind the nginx of these tests is the echo application (echo.py), which returns the request that it got.
"""

import json
import re
import uuid
from typing import Any

import pytest

from tests.stack.boundary import FORGED, ROUTES, SERVERS, curl, echoed
from tests.stack.echo import Edge, ask, request
from tests.stack.stack import Stack
from tests.stack.wire import Request, exchange
from tests.wire.polling import poll

# Fields that some framework, server or proxy accepts as those of a proxy.
NAMES = re.findall(
    r"\S+",
    """
    X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Server
    X-Forwarded-User X-Forwarded-Ssl X-Forwarded-Protocol X-Forwarded-Scheme X-Forwarded-Uri X-Forwarded-Path
    X-Forwarded-Method X-Forwarded-By X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Roles
    X-Forwarded-Preferred-Username X-Forwarded-Access-Token X-Forwarded-Client-Cert Forwarded X-Real-IP X-Client-IP
    X-Cluster-Client-IP True-Client-IP CF-Connecting-IP X-Scheme X-Host X-Remote-User Remote-User Remote-Groups
    Remote-Email Remote-Name X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups
    X-Auth-Request-Preferred-Username X-Auth-Request-Access-Token
    X-Request-ID X-Original-URL X-Rewrite-URL X-Accel-Redirect X-Accel-Buffering X-Accel-Charset X-Accel-Expires
    X-Accel-Limit-Rate X-Accel-Mapping X-Body-File X-Sendfile-Type Proxy TE Upgrade Keep-Alive
    """,
)
FEW_NAMES = (NAMES[::2], NAMES[1::2])  # nginx accepts 100 fields
# Spellings of the names that a server might accept.
SPELLINGS = {
    "as they are": lambda name: [f"{name}: {FORGED}"],
    "lower case, twice": lambda name: [f"{name.lower()}: {FORGED}", f"{name.upper()}:{FORGED}2"],
    "underscores": lambda name: [f"{name.replace('-', '_')}: {FORGED}"],
    "dots": lambda name: [f"{name.replace('-', '.')}: {FORGED}"],
}
# Only these arrive, whatever a client sends.
ARRIVE = {
    "HOST",
    "X_FORWARDED_FOR",
    "X_FORWARDED_PROTO",
    "X_FORWARDED_HOST",
    "X_FORWARDED_PORT",
    "X_REQUEST_ID",
    "X_OWN",
}


def check_boundary(received: dict[str, Any], peer: str, port: int, scheme: str, server: str) -> None:
    """No forged field is there, and those of nginx are."""
    environ = received["environ"]
    assert FORGED not in json.dumps(environ)
    assert {name.removeprefix("HTTP_") for name in environ if name.startswith("HTTP_")} == ARRIVE
    assert environ["HTTP_X_OWN"] == "arrives", "a field that is no proxy header is missing"
    assert environ["HTTP_HOST"] == environ["HTTP_X_FORWARDED_HOST"] == f"localhost:{port}"
    assert environ["HTTP_X_FORWARDED_FOR"] == peer
    assert (environ["HTTP_X_FORWARDED_PROTO"], environ["wsgi.url_scheme"]) == (scheme, scheme)
    assert environ["HTTP_X_FORWARDED_PORT"] == str(port)
    if server == "web":  # gunicorn takes these from no proxy
        assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == (peer, str(port))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_forged_proxy_headers_are_dropped_over_http1(
    edge: Edge, gateway: str, spelling: str, route: str, server: str, version: str
) -> None:
    port = edge.ports[server]
    for names in FEW_NAMES:
        fields = [field for name in names for field in SPELLINGS[spelling](name)]
        data = request(f"{ROUTES[route]}x", *fields, "X-Own: arrives", version=version, host=f"localhost:{port}")
        answer = ask(edge.wire(server), data)
        received = echoed(answer)
        check_boundary(received, gateway, port, "http", server)
        assert answer
        assert [received["environ"]["HTTP_X_REQUEST_ID"]] == answer.headers.get_all("X-Request-ID")


@pytest.mark.parametrize("route", ROUTES)
def test_forged_proxy_headers_are_dropped_over_http2(edge_with_tls: Edge, gateway: str, route: str) -> None:
    fields = [f"-H{name}: {FORGED}" for name in NAMES if name not in {"TE", "Upgrade", "Keep-Alive"}]  # not in HTTP/2
    done = curl(edge_with_tls, f"{ROUTES[route]}x", "--http2", "-A", "", "-HAccept:", *fields, "-HX-Own: arrives")
    check_boundary(json.loads(done.stdout), gateway, edge_with_tls.ports["tls"], "https", "web")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("route", ROUTES)
def test_headers_with_a_proxy_prefix_are_dropped_whatever_their_name(
    edge_before_the_guard: Edge, route: str, server: str
) -> None:
    port = edge_before_the_guard.ports[server]
    names = [f"{start}-{uuid.uuid4().hex}" for start in ("X-Forwarded", "X-Accel", "x-forwarded-for", "X-ACCEL-X")]
    fields = [f"{name}: {FORGED}" for name in names]
    data = request(f"{ROUTES[route]}x", *fields, "X-Own: arrives", host=f"localhost:{port}")
    received = echoed(ask(edge_before_the_guard.wire(server), data))
    check_boundary(received, received["environ"]["HTTP_X_FORWARDED_FOR"], port, "http", server)


@pytest.mark.parametrize("server", SERVERS)
def test_django_uses_the_scheme_and_address_that_nginx_sets(stack: Stack, server: str) -> None:
    """The scheme decides whether cookies are secure; the address is logged as that of the client."""
    forged = {name: "https" if "Proto" in name else "192.0.2.7" for name in NAMES if name.startswith("X-Forwarded")}
    clients = []
    for fields in ({}, forged):
        with stack.nginx(server) as wire:
            answer = exchange(wire, Request("GET", "/login/", fields), token=None)
        assert answer.status == 200
        assert ("Secure" in answer.headers["Set-Cookie"]) is stack.has_tls
        request_id = answer.headers["X-Request-ID"]
        poll(lambda it=request_id: it in stack.logs(server), "the server has logged it", 30)  # type: ignore[misc]  # a default binds the loop's value
        clients += [line["client"] for line in stack.lines(server) if line.get("request_id") == request_id]
    assert clients == [clients[0]] * 2


def test_a_connection_header_cannot_remove_proxy_headers(edge: Edge, gateway: str) -> None:
    """Headers named in Connection go one hop only; those of nginx are not affected."""
    data = request("/x", "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Request-ID, Host")
    environ = echoed(ask(edge.wire("web"), data))["environ"]
    assert environ["HTTP_X_FORWARDED_FOR"] == gateway
    assert {"HTTP_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REQUEST_ID"} <= environ.keys()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("target", ["/api/a%2Fb%20%3f%0a%25?q=%2f&x", "/api//a/./b/../c", "/api/%e2%82%ac"])
def test_the_request_target_arrives_unchanged_on_both_routes(edge: Edge, target: str, server: str) -> None:
    for prefix in ("", "/streamed"):
        assert echoed(ask(edge.wire(server), request(prefix + target)))["target"] == target


def test_a_static_file_that_nginx_lacks_comes_from_the_application(edge: Edge) -> None:
    """During a deploy, pages of the new version come before its nginx."""
    target = "/static/photos/new.0123456789ab.css"
    assert echoed(ask(edge.wire("web"), request(target)))["target"] == target
