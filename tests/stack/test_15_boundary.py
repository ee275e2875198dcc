"""What crosses from a client to the application, what does not, and what nginx says instead.

Behind the nginx of these tests is an application that says what it got (echo.py), so that nothing has to be guessed.
"""

import contextlib
import json
import re
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.stack.echo import ECHO, SERVICES, Backends, Edge, ask, request, settled
from tests.stack.stack import ROOT, Stack, eventually, run
from tests.stack.wire import Answer, Request, Tcp, Tls, exchange, read_answer

SERVERS = ["web", "gunicorn"]
ROUTES = {"buffered": "/api/", "streamed": "/streamed/api/"}
FEW = 5  # of requests at a time, where that is limited: more than those that a test before has left for a moment
FORGED = "forged"  # in each value that must not arrive


@pytest.fixture(scope="module")
def secure(backends: Backends) -> Iterator[Edge]:
    """With TLS, and a certificate that it makes itself."""
    settings = {"TLS": "on", "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],.example.com"}
    volume = run("docker", "volume", "create", *backends.labels).strip()
    try:
        with Edge(backends, settings, mounts=[f"--volume={volume}:/srv/certificates"]) as running:
            yield running
    finally:
        run("docker", "volume", "rm", volume)


@pytest.fixture(scope="module")
def trusting(backends: Backends, gateway: str) -> Iterator[Edge]:
    """Takes the word of whoever connects to it, and of a network that a proxy before might be in."""
    with Edge(backends, {"TRUSTED_PROXIES": f"{gateway},10.9.0.0/16,2001:db8::/32"}) as running:
        yield running


@pytest.fixture(scope="module")
def open_to_all(backends: Backends) -> Iterator[Edge]:
    """Any name will do. It trusts a proxy that is not there, and few requests may be under way."""
    settings = {"ALLOWED_HOSTS": "*", "TRUSTED_PROXIES": "192.0.2.0/24", "TOTAL_CONNECTIONS": str(FEW)}
    with Edge(backends, settings) as running:
        yield running


@pytest.fixture(scope="module")
def tight(backends: Backends) -> Iterator[Edge]:
    """Its limits are within reach."""
    settings = {"CLIENT_CONNECTIONS": str(FEW), "LOGIN_RATE": "1r/m", "UPLOAD_MAX": "2m"}
    with Edge(backends, settings, spool="size=256k") as running:
        yield running


@pytest.fixture(scope="module")
def impatient(backends: Backends) -> Iterator[Edge]:
    """Waits for a second until the application is too slow, and knows nothing where gunicorn should be."""
    proxy = (ROOT / "nginx" / "proxy.conf").read_text()
    upstreams = (ROOT / "nginx" / "upstreams.conf.template").read_text()
    files = {
        "/opt/edge/proxy.conf": proxy.replace("proxy_read_timeout 70s", "proxy_read_timeout 1s"),
        "/opt/edge/upstreams.conf.template": upstreams.replace("gunicorn:8000", "gunicorn:8999"),
    }
    with Edge(backends, {}, files=files) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(stack: Stack) -> Iterator[Edge]:
    """Behind what Django is behind, too: app/config/boundary.py."""
    application = f"{ECHO}\nfrom config.boundary import guarded\napplication = guarded(application)\n"
    with Backends(stack, application=application) as backends, Edge(backends, {}) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(edge: Edge) -> str:
    """The peer that nginx sees when this machine connects to it."""
    address: str = echoed(ask(edge.wire("web"), request("/gateway/")))["environ"]["REMOTE_ADDR"]
    return address


def echoed(answer: Answer | None) -> dict[str, Any]:
    assert answer is not None, "closed without an answer"
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json()
    return told


def curl(
    edge: Edge, path: str, *arguments: str, host: str = "localhost", stdin: IO[bytes] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Over TLS, to a name of the site; believes any certificate."""
    port = edge.ports["tls"]
    command = ["curl", "-sSk", "--noproxy", "*", "--max-time", "60", "--resolve", f"{host}:{port}:127.0.0.1"]
    return subprocess.run(
        [*command, *arguments, f"https://{host}:{port}{path}"],
        capture_output=True,
        check=False,
        timeout=90,
        stdin=stdin,
    )


# --- headers ----------------------------------------------------------------------------------------------------------

# What some framework, server or proxy takes for the word of a proxy.
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
FEW_NAMES = (NAMES[::2], NAMES[1::2])  # nginx takes 100 fields
# The same names as a server might read them, or not.
SPELLINGS = {
    "as they are": lambda name: [f"{name}: {FORGED}"],
    "lower case, twice": lambda name: [f"{name.lower()}: {FORGED}", f"{name.upper()}:{FORGED}2"],
    "underscores": lambda name: [f"{name.replace('-', '_')}: {FORGED}"],
    "dots": lambda name: [f"{name.replace('-', '.')}: {FORGED}"],
}
# These and no others, however many a client sends.
ARRIVE = {
    "HOST",
    "X_FORWARDED_FOR",
    "X_FORWARDED_PROTO",
    "X_FORWARDED_HOST",
    "X_FORWARDED_PORT",
    "X_REQUEST_ID",
    "X_OWN",
}


def check_boundary(told: dict[str, Any], peer: str, port: int, scheme: str, server: str) -> None:
    """None of the client's words about itself is there; nginx's are."""
    environ = told["environ"]
    assert FORGED not in json.dumps(environ)
    assert {name.removeprefix("HTTP_") for name in environ if name.startswith("HTTP_")} == ARRIVE
    assert environ["HTTP_X_OWN"] == "arrives", "what is no word about itself does"
    assert environ["HTTP_HOST"] == environ["HTTP_X_FORWARDED_HOST"] == f"localhost:{port}"
    assert environ["HTTP_X_FORWARDED_FOR"] == peer
    assert (environ["HTTP_X_FORWARDED_PROTO"], environ["wsgi.url_scheme"]) == (scheme, scheme)
    assert environ["HTTP_X_FORWARDED_PORT"] == str(port)
    if server == "web":  # gunicorn believes no proxy about these
        assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == (peer, str(port))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_nothing_that_a_client_says_of_itself_arrives(
    edge: Edge, gateway: str, spelling: str, route: str, server: str, version: str
) -> None:
    port = edge.ports[server]
    for names in FEW_NAMES:
        fields = [field for name in names for field in SPELLINGS[spelling](name)]
        data = request(f"{ROUTES[route]}x", *fields, "X-Own: arrives", version=version, host=f"localhost:{port}")
        answer = ask(edge.wire(server), data)
        told = echoed(answer)
        check_boundary(told, gateway, port, "http", server)
        assert answer
        assert [told["environ"]["HTTP_X_REQUEST_ID"]] == answer.headers.get_all("X-Request-ID")


@pytest.mark.parametrize("route", ROUTES)
def test_nor_over_http_2(secure: Edge, gateway: str, route: str) -> None:
    fields = [f"-H{name}: {FORGED}" for name in NAMES if name not in {"TE", "Upgrade", "Keep-Alive"}]  # not in HTTP/2
    done = curl(secure, f"{ROUTES[route]}x", "--http2", "-A", "", "-HAccept:", *fields, "-HX-Own: arrives")
    check_boundary(json.loads(done.stdout), gateway, secure.ports["tls"], "https", "web")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("route", ROUTES)
def test_nor_what_begins_as_a_proxy_s_words_do_whatever_its_name(guarded: Edge, route: str, server: str) -> None:
    port = guarded.ports[server]
    names = [f"{start}-{uuid.uuid4().hex}" for start in ("X-Forwarded", "X-Accel", "x-forwarded-for", "X-ACCEL-X")]
    fields = [f"{name}: {FORGED}" for name in names]
    data = request(f"{ROUTES[route]}x", *fields, "X-Own: arrives", host=f"localhost:{port}")
    told = echoed(ask(guarded.wire(server), data))
    check_boundary(told, told["environ"]["HTTP_X_FORWARDED_FOR"], port, "http", server)


@pytest.mark.parametrize("server", SERVERS)
def test_django_goes_by_what_nginx_says(stack: Stack, server: str) -> None:
    """By its scheme, for cookies; and the logs by its address of the client."""
    forged = {name: "https" if "Proto" in name else "192.0.2.7" for name in NAMES if name.startswith("X-Forwarded")}
    clients = []
    for fields in ({}, forged):
        with stack.nginx(server) as wire:
            answer = exchange(wire, Request("GET", "/login/", fields), token=None)
        assert answer.status == 200
        assert ("Secure" in answer.headers["Set-Cookie"]) is stack.has_tls
        request_id = answer.headers["X-Request-ID"]
        eventually(lambda it=request_id: it in stack.logs(server), 30, "the server has logged it")  # type: ignore[misc]  # a default binds the loop's value
        clients += [line["client"] for line in stack.lines(server) if line.get("request_id") == request_id]
    assert clients == [clients[0]] * 2


def test_a_client_cannot_have_headers_taken_away(edge: Edge, gateway: str) -> None:
    """Connection names headers that go one hop; ours are not among them."""
    data = request("/x", "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Request-ID, Host")
    environ = echoed(ask(edge.wire("web"), data))["environ"]
    assert environ["HTTP_X_FORWARDED_FOR"] == gateway
    assert {"HTTP_HOST", "HTTP_X_FORWARDED_PROTO", "HTTP_X_REQUEST_ID"} <= environ.keys()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("target", ["/api/a%2Fb%20%3f%0a%25?q=%2f&x", "/api//a/./b/../c", "/api/%e2%82%ac"])
def test_a_target_arrives_as_it_was_written_on_either_route(edge: Edge, target: str, server: str) -> None:
    for prefix in ("", "/streamed"):
        assert echoed(ask(edge.wire(server), request(prefix + target)))["target"] == target


def test_a_static_file_that_only_the_application_has_comes_from_there(edge: Edge) -> None:
    """As while a new version takes over: its pages are there before its nginx is."""
    target = "/static/photos/new.0123456789ab.css"
    assert echoed(ask(edge.wire("web"), request(target)))["target"] == target


# --- behind a proxy ---------------------------------------------------------------------------------------------------

# Fields -> the client's address, its scheme, its port; None: the peer's, http, the one in Host.
PROXIED: dict[str, tuple[list[str], tuple[str | None, str, str]]] = {
    "an address": (["X-Forwarded-For: 203.0.113.9"], ("203.0.113.9", "http", "80")),
    "https": (["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https"], ("203.0.113.9", "https", "443")),
    "the last one counts": (["X-Forwarded-For: 198.51.100.1, 203.0.113.9"], ("203.0.113.9", "http", "80")),
    "past trusted ones": (["X-Forwarded-For: 203.0.113.9, 10.9.1.2"], ("203.0.113.9", "http", "80")),
    "two lines": (["X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9"], ("203.0.113.9", "http", "80")),
    "IPv6, past a trusted one": (["X-Forwarded-For: 2001:db9::1, 2001:db8::2"], ("2001:db9::1", "http", "80")),
    "with a port": (["X-Forwarded-For: 203.0.113.9:4711"], ("203.0.113.9", "http", "80")),
    "no address": (["X-Forwarded-For: unknown"], (None, "http", "80")),
    "nothing": ([], (None, "http", "80")),
    "another scheme": (["X-Forwarded-Proto: gopher"], (None, "http", "80")),
    "other headers": (["X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9;proto=https"], (None, "http", "80")),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", PROXIED)
def test_a_trusted_proxy_is_believed(trusting: Edge, gateway: str, case: str, server: str) -> None:
    fields, (address, scheme, port) = PROXIED[case]
    environ = echoed(ask(trusting.wire(server), request("/x", *fields)))["environ"]
    assert environ["HTTP_X_FORWARDED_FOR"] == (address or gateway)
    assert (environ["wsgi.url_scheme"], environ["HTTP_X_FORWARDED_PORT"]) == (scheme, port)
    if server == "web":
        assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == (address or gateway, port)


@pytest.mark.parametrize("case", PROXIED)
def test_any_other_is_not(open_to_all: Edge, gateway: str, case: str) -> None:
    environ = echoed(ask(open_to_all.wire("web"), request("/x", *PROXIED[case][0])))["environ"]
    assert (environ["REMOTE_ADDR"], environ["HTTP_X_FORWARDED_FOR"]) == (gateway, gateway)
    assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == ("http", "80")


# --- names ------------------------------------------------------------------------------------------------------------

# The line(s) of a request -> the Host that the application sees, or "closed", or the status of nginx's refusal.
HOSTS: dict[str, str] = {
    "GET / HTTP/1.1|Host: localhost": "localhost",
    "GET / HTTP/1.1|Host: localhost:8080": "localhost:8080",
    "GET / HTTP/1.1|Host: LocalHost:81": "localhost:81",
    "GET / HTTP/1.1|Host: localhost.": "localhost",
    "GET / HTTP/1.1|Host: 127.0.0.1:1": "127.0.0.1:1",
    "GET / HTTP/1.1|Host: [::1]:8080": "[::1]:8080",
    "GET / HTTP/1.1|Host: example.com": "example.com",
    "GET / HTTP/1.1|Host: a.b.example.com": "a.b.example.com",
    "GET / HTTP/1.0|Host: localhost": "localhost",
    # The authority of the target is the Host, whatever Host says.
    "GET http://localhost:77/ HTTP/1.1|Host: evil.example": "localhost:77",
    "GET http://localhost HTTP/1.1|Host: evil.example": "localhost",
    "GET http://localhost?x=y HTTP/1.1|Host: evil.example": "localhost",
    "GET http://evil.example/ HTTP/1.1|Host: localhost": "closed",
    "GET http://localhost/ HTTP/1.1": "400",
    # Unknown.
    "GET / HTTP/1.1|Host: evil.example": "closed",
    "GET / HTTP/1.1|Host: 127.0.0.2": "closed",
    "GET / HTTP/1.1|Host: [::2]": "closed",
    "GET / HTTP/1.1|Host: localhost.evil.example": "closed",
    "GET / HTTP/1.1|Host: notexample.com": "closed",
    "GET / HTTP/1.1|Host: example.com.evil.example": "closed",
    "GET /_error/json HTTP/1.1|Host: evil.example": "closed",
    "GET /_nobody HTTP/1.1|Host: evil.example": "closed",
    "TRACE / HTTP/1.1|Host: evil.example": "closed",
    # None.
    "GET / HTTP/1.0": "closed",
    "GET / HTTP/1.1": "400",
    "GET / HTTP/1.1|Host:": "400",
    "GET /": "closed",
    # Malformed: it cannot be told whose site is meant.
    "GET / HTTP/1.1|Host: localhost:99999": "400",
    "GET / HTTP/1.1|Host: localhost:80:80": "400",
    "GET / HTTP/1.1|Host: localhost:http": "400",
    "GET / HTTP/1.1|Host: user@localhost": "400",
    "GET / HTTP/1.1|Host: localhost/path": "400",
    "GET / HTTP/1.1|Host: localhost evil.example": "400",
    "GET / HTTP/1.1|Host: localhost, evil.example": "400",
    "GET / HTTP/1.1|Host: local\x00host": "400",
    "GET / HTTP/1.1|Host: local\x01host": "400",
    "GET / HTTP/2.0|Host: localhost": "505",
    "PRI * HTTP/2.0": "400",
    "\x16\x03\x01\x02\x00": "400",
    # Malformed when the site is known.
    "GET / HTTP/1.1|Host: localhost|Host: localhost": "400",
    "GET / HTTP/1.1|Host: localhost|Host: evil.example": "400",
}
REFUSALS = {"400": "bad-request", "505": "version-unsupported"}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("lines", HOSTS, ids=repr)
def test_only_the_names_of_the_site_are_answered(edge: Edge, lines: str, server: str) -> None:
    data = "\r\n".join([*lines.split("|"), "", ""]).encode("latin-1")
    answer = ask(edge.wire(server), data)
    if HOSTS[lines] == "closed":
        assert answer is None
    elif HOSTS[lines] in REFUSALS:
        check_error(answer, int(HOSTS[lines]), REFUSALS[HOSTS[lines]])
    else:
        told = echoed(answer)
        assert told["environ"]["HTTP_HOST"] == HOSTS[lines]
        assert told["target"].startswith("/")


def test_with_an_asterisk_all_names_are(open_to_all: Edge) -> None:
    for host in ("evil.example", "192.0.2.7:8080", "[2001:db8::1]", "a.b.c.d.e", "x"):
        assert echoed(ask(open_to_all.wire("web"), request("/", host=host)))["environ"]["HTTP_HOST"] == host
    assert ask(open_to_all.wire("web"), b"GET / HTTP/1.0\r\n\r\n") is None


# --- settings that cannot be ------------------------------------------------------------------------------------------

REFUSED = re.findall(
    r"\S+",
    """
    TLS= TLS=yes TLS=ON TLS=on;off ANONYMOUS_UPLOADS= ANONYMOUS_UPLOADS=yes
    UPLOAD_MAX= UPLOAD_MAX=0 UPLOAD_MAX=100mb UPLOAD_MAX=1t UPLOAD_MAX=-1 UPLOAD_MAX=1m;
    LOGIN_RATE= LOGIN_RATE=x LOGIN_RATE=10 LOGIN_RATE=10r/h LOGIN_RATE=0r/s
    HTTPS_PORT=x HTTPS_PORT=0 HTTPS_PORT=65536 NGINX_WORKERS=0 NGINX_WORKERS=auto;
    CLIENT_CONNECTIONS=0 CLIENT_CONNECTIONS=-1 CLIENT_CONNECTIONS=many TOTAL_CONNECTIONS=0 TOTAL_CONNECTIONS=65536
    ALLOWED_HOSTS= ALLOWED_HOSTS=, ALLOWED_HOSTS=https://example.com ALLOWED_HOSTS=example.com:8080
    ALLOWED_HOSTS=*.example.com ALLOWED_HOSTS=~. ALLOWED_HOSTS=example.com;return ALLOWED_HOSTS=a{b ALLOWED_HOSTS=$host
    TRUSTED_PROXIES=0.0.0.0/0 TRUSTED_PROXIES=::/0 TRUSTED_PROXIES=10.0.0.0/8,0.0.0.0/0 TRUSTED_PROXIES=proxy
    TRUSTED_PROXIES=* TRUSTED_PROXIES=10.0.0.1;return TRUSTED_PROXIES=10.0.0.0/33 TRUSTED_PROXIES=10.0.0.256
    TRUSTED_PROXIES=2001:db8::/129 TRUSTED_PROXIES=1:2
    """,
)
TAKEN = [
    "TLS=off UPLOAD_MAX=1048576 LOGIN_RATE=1r/s HTTPS_PORT=443 NGINX_WORKERS=16 CLIENT_CONNECTIONS=1 ALLOWED_HOSTS=*",
    "UPLOAD_MAX=2G HTTPS_PORT=65535 TOTAL_CONNECTIONS=200 ALLOWED_HOSTS=.example.com,10.0.0.1,[::1] TRUSTED_PROXIES=",
    "TRUSTED_PROXIES=10.0.0.1,10.1.0.0/16,2001:db8::/32,::1,1:2:3:4:5:6:7:8",
]
# Starts nginx far enough to know, with the variables in each line of stdin.
TRY_EACH = """set -f
while IFS= read -r line; do
    echo "--- $line"
    env $line /opt/edge/entrypoint.sh -t 2>&1 </dev/null
    echo "exit $?"
done"""


def test_a_setting_that_cannot_be_is_refused_by_its_name(edge: Edge) -> None:
    command = ["docker", "exec", "-i", edge.container, "sh", "-c", TRY_EACH]
    lines = "\n".join([*REFUSED, *TAKEN, ""])
    said = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=120).stdout
    cases = dict(part.split("\n", 1) for part in said.split("--- ")[1:])
    assert list(cases) == [*REFUSED, *TAKEN]
    for case in REFUSED:
        name = case.partition("=")[0]
        assert cases[case].startswith(f"nginx: {name}="), f"{case}: {cases[case]}"
        assert cases[case].endswith("exit 1\n"), case
        assert cases[case].count("\n") == 2, f"one line says it: {cases[case]}"
    for case in TAKEN:
        assert cases[case].endswith("exit 0\n"), f"{case}: {cases[case]}"


# What the engine allows to the container, a setting that needs more -> one that does not.
ALLOWED = {
    "processes": ("--pids-limit=64", "NGINX_WORKERS=29", "NGINX_WORKERS=28"),
    "open files": ("--ulimit=nofile=1024:1024", "TOTAL_CONNECTIONS=233", "TOTAL_CONNECTIONS=232"),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_a_setting_that_needs_more_than_the_container_may_have_is_refused_by_its_name(
    backends: Backends, what: str
) -> None:
    limit, *settings = ALLOWED[what]
    for setting, status in zip(settings, (1, 0), strict=True):
        name, value = setting.split("=")
        own = {key: settled(text, **{name: value}) for key, text in SERVICES["nginx"]["environment"].items()}
        command = ["docker", "run", "--rm", "--network=none", "--init", limit, *backends.labels]
        command += [*(f"--env={key}={text}" for key, text in own.items()), backends.images["nginx"], "-t"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == status, done.stderr
        assert (f"nginx: {setting} is more than {int(value) - 1}" in done.stderr) is bool(status), done.stderr


# --- what nginx says of its own accord --------------------------------------------------------------------------------

HTML = "Accept: text/html,*/*;q=0.8"
MARKUP = "<script>forged</script>"
LONG = "x" * (64 << 10)
PASSING = {429, 502, 504, 507}  # what helps against it is to try again, and when is said


def check_error(answer: Answer | None, status: int, error: str, names: str = "") -> None:
    """The JSON of this stack: who refused, what to change, and which request it was."""
    assert answer is not None, "closed without an answer"
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json"), answer.body
    problem = answer.json()
    assert problem["error"] == error
    assert names in problem["detail"]
    assert [problem["request_id"]] == answer.headers.get_all("X-Request-ID")


def check_page(answer: Answer | None, status: int, error: str, names: str = "") -> None:
    """The same for people. Whatever they were lured into asking, nothing of it is in the page."""
    assert answer is not None, "closed without an answer"
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8"), answer.body
    page = answer.body.decode()
    assert f"<h1>{status}: {error}</h1>" in page
    assert names in page
    (request_id,) = answer.headers.get_all("X-Request-ID", [])
    assert f"Request {request_id}<" in page
    assert "<script" not in page
    assert FORGED not in page


def as_visit(data: bytes) -> bytes:
    """A program's request as a browser's: outside /api/, with markup, and Accept read before what may be refused."""
    line, rest = data.split(b"\r\n", 1)
    line = re.sub(rb" (?:/api)?(/\S*) ", rb" \1?%s " % MARKUP.encode(), line)
    return b"\r\n".join([line, HTML.encode(), f"Referer: {MARKUP}".encode(), rest])


def told_both(edge: Edge, server: str, data: bytes) -> list[Answer | None]:
    """What a program hears, and what a browser."""
    return [ask(edge.wire(server), each) for each in (data, as_visit(data))]


def check_both(
    answers: list[Answer | None], status: int, error: str, names: str = "", *, has_page: bool = True
) -> None:
    program, browser = answers
    check_error(program, status, error, names)
    (check_page if has_page else check_error)(browser, status, error, names)
    for answer in filter(None, answers):
        assert (int(answer.headers.get("Retry-After", 0)) > 0) == (status in PASSING)


# A request -> status, name, what the sentence names; each is refused whoever is behind.
ERRORS: dict[str, tuple[bytes, tuple[int, str, str]]] = {
    "two hosts": (request("/api/", "Host: localhost"), (400, "bad-request", "not valid HTTP")),
    "a path of nginx's own": (request("/_error/json"), (404, "not-found", "")),
    "an original": (request("/_originals/x"), (404, "not-found", "")),
    "TRACE": (request("/", method="TRACE"), (405, "method-not-allowed", "")),
    "CONNECT": (request("localhost:443", method="CONNECT"), (405, "method-not-allowed", "")),
    "a length too large": (request("/api/", "Content-Length: 1048577"), (413, "too-large", "UPLOAD_MAX")),
    "one too large, streamed": (request("/streamed/api/", "Content-Length: 1048577"), (413, "too-large", "UPLOAD_MAX")),
    "a chunk too large": (
        request("/api/", "Transfer-Encoding: chunked") + b"100001\r\n" + b"x" * 9,
        (413, "too-large", "UPLOAD_MAX"),
    ),
    "a chunk too large, streamed": (
        request("/streamed/api/", "Transfer-Encoding: chunked") + b"100001\r\n" + b"x" * 9,
        (413, "too-large", "UPLOAD_MAX"),
    ),
    "a long address": (request(f"/{LONG}"), (414, "uri-too-long", "large_client_header_buffers")),
    "a long header": (request("/api/", f"X: {LONG}"), (431, "headers-too-large", "large_client_header_buffers")),
    "a long header before Host": (
        request("/api/").replace(b"Host", f"X: {LONG}\r\nHost".encode()),
        (431, "headers-too-large", "large_client_header_buffers"),
    ),
    "many headers": (request("/api/", *(["X: y"] * 150)), (431, "headers-too-large", "max_headers")),
    "an unknown coding": (request("/api/", "Transfer-Encoding: gzip"), (501, "not-implemented", "coding")),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_says_what_to_change(edge: Edge, case: str, server: str) -> None:
    data, expected = ERRORS[case]
    # The API has no pages; and when an address is too long, nginx knows nothing yet of who asks.
    has_page = "streamed" not in case and case != "a long address"
    check_both(told_both(edge, server, data), *expected, has_page=has_page)


@pytest.mark.parametrize(
    ("target", "is_page"), [("/x", True), ("/login/", True), ("/api/x", False), ("/streamed/api/x", False)]
)
def test_a_browser_gets_a_page_where_pages_are(edge: Edge, target: str, is_page: bool) -> None:
    answer = ask(edge.wire("web"), request(target, "Content-Length: 1048577", HTML))
    (check_page if is_page else check_error)(answer, 413, "too-large", "UPLOAD_MAX")


def test_a_body_that_does_not_fit_the_spool(tight: Edge) -> None:
    """Announced or not; and nothing of it stays."""
    for field, body in (
        ("Content-Length: 1048576", b"x" * (1 << 20)),
        ("Transfer-Encoding: chunked", b"100000\r\n" + b"x" * (1 << 20)),
    ):
        data = request("/api/x", field, method="PUT") + body
        check_both(told_both(tight, "web", data), 507, "spool-full", "NGINX_SPOOL")
    eventually(lambda: not tight.exec("find", "/var/spool/nginx", "-type", "f"), 10, "the spool is empty")


# Server and path -> the error.
AWAY = {
    "not there": ("gunicorn", "x", (502, "application-unreachable", "make ps")),
    "too slow": ("web", "_late/20", (504, "application-too-slow", "proxy_read_timeout")),
}


@pytest.mark.parametrize("prefix", ["", "/streamed"])
@pytest.mark.parametrize("case", AWAY)
def test_an_application_that_does_not_answer(impatient: Edge, case: str, prefix: str) -> None:
    server, path, error = AWAY[case]
    check_both(told_both(impatient, server, request(f"{prefix}/api/{path}")), *error, has_page=not prefix)


def test_too_many_requests_at_once(tight: Edge, open_to_all: Edge) -> None:
    """From one address, and in all; once there is room again, there is."""
    for edge, setting in ((tight, "CLIENT_CONNECTIONS"), (open_to_all, "TOTAL_CONNECTIONS")):
        with contextlib.ExitStack() as wires:
            held = [wires.enter_context(hold(edge)) for _ in range(FEW)]
            check_both(told_both(edge, "web", request("/api/y")), 429, "too-many-connections", setting)
            for wire in held:
                wire.send(b"ab")
                assert echoed(read_answer(wire))["body"] == "ab"
        eventually(lambda at=edge: status_of(at) == 200, 30, "there is room")  # type: ignore[misc]  # a default binds the loop's value


def hold(edge: Edge) -> Tcp:
    """A connection with a request under way. (One that has just ended may count for a moment.)"""
    deadline = time.monotonic() + 30
    while True:
        wire = edge.wire("web")
        wire.send(request("/streamed/api/x", "Content-Length: 2", "Expect: 100-continue", method="PUT"))
        if read_answer(wire).status == 100:
            return wire
        wire.close()
        assert time.monotonic() < deadline


def status_of(edge: Edge) -> int:
    answer = ask(edge.wire("web"), request("/api/z"))
    return answer.status if answer else 0


def test_too_many_attempts_to_log_in(tight: Edge) -> None:
    """Five at once and one more; looking at the form is no attempt, and another spelling is the same address."""
    spellings = ["/login/", "/%6cogin/", "//login/", "/x/../login/", "/login/?next=/", "/login/"]
    post = [ask(tight.wire("web"), request(target, "Content-Length: 0", method="POST")) for target in spellings]
    assert [answer and answer.status for answer in post] == [200] * 6
    for _ in range(3):  # a minute may have passed
        answers = told_both(tight, "web", request("/login/", "Content-Length: 0", method="POST"))
        if {answer.status for answer in answers if answer} == {429}:
            break
    check_both(answers, 429, "too-many-requests", "LOGIN_RATE")
    assert echoed(ask(tight.wire("web"), request("/login/")))["method"] == "GET"


# --- headers of answers -----------------------------------------------------------------------------------------------

SECURITY = {
    "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy",
    "Content-Security-Policy", "Permissions-Policy", "X-Request-ID",
}  # fmt: skip
ANSWERS = {
    "of the application": ("/x", [], 200),
    "streamed": ("/streamed/api/x", [], 200),
    "a static file": ("/static/photos/style.css", [], 200),
    "an original": ("/_original/photo.jpg", [], 200),
    "an original's part": ("/_original/photo.jpg", ["Range: bytes=0-1"], 206),
    "an original that is gone": ("/_original/originals/00/none.jpg", [], 404),
    "an original that is gone, as a page": ("/_original/none.jpg", [HTML], 404),
    "what is nobody's": ("/_original/.library-id", [], 404),
    "what is in quarantine": ("/_original/.quarantine/0/x", [HTML], 404),
    "an error in JSON": ("/api/", ["Content-Length: 9999999999"], 413),
    "an error as a page": ("/", ["Content-Length: 9999999999", HTML], 413),
    "nothing there": ("/_error/json", [], 404),
}


def check_security(answer: Answer | None, status: int, *, https: bool) -> None:
    assert answer
    assert answer.status == status
    counts = {name: len(answer.headers.get_all(name, [])) for name in SECURITY}
    assert counts == dict.fromkeys(SECURITY, 1)
    assert answer.headers.get_all("Strict-Transport-Security", []) == (["max-age=63072000"] if https else [])
    assert answer.headers["Server"] == "nginx", "and no version"


@pytest.mark.parametrize("case", ANSWERS)
def test_each_answer_has_the_headers_for_security_once(edge: Edge, secure: Edge, case: str) -> None:
    target, fields, status = ANSWERS[case]
    for each in (edge, secure):
        each.exec("sh", "-c", "echo picture > /srv/media/photo.jpg")
    check_security(ask(edge.wire("web"), request(target, *fields)), status, https=False)
    over_tls = ask(secure.tls("web"), request(target, *fields))
    check_security(over_tls, status, https=True)


def test_a_redirect_to_https_has_them_too(secure: Edge) -> None:
    check_security(ask(secure.wire("web"), request("/x")), 308, https=False)


# --- logs -------------------------------------------------------------------------------------------------------------

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
def test_a_line_of_log_is_json_whatever_was_sent(edge: Edge, case: str) -> None:
    """As many lines as requests, each with the keys that it should have, and no more of the target than the path."""
    host = f"{uuid.uuid4().hex}.example.com"
    target, agent = NASTY[case]
    ask(edge.wire("web"), request(target, f"User-Agent: {agent}", host=host))
    eventually(lambda: host in edge.logs(), 20, "nginx has logged it")
    (line,) = [line for line in edge.logs().splitlines() if host in line]
    logged = json.loads(line)
    assert "\N{REPLACEMENT CHARACTER}" not in line, "the engine had to mend it"
    assert logged["path"] == (target.partition("?")[0] if target.isascii() else "(not ASCII)")
    assert logged["user_agent"] == (agent if agent.isascii() else "(not ASCII)")
    assert (logged["method"], logged["protocol"]) == ("GET", "HTTP/1.1")
    assert list(logged) == re.findall(r'"(\w+)":', (ROOT / "nginx" / "log.conf").read_text())
    assert "secret" not in line
    assert "geheim" not in line


@pytest.mark.parametrize("server", SERVERS)
def test_one_request_has_one_id_everywhere(edge: Edge, backends: Backends, server: str) -> None:
    answer = ask(edge.wire(server), request("/x", "X-Request-ID: 0123456789abcdef"))
    assert answer
    request_id = answer.headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert echoed(answer)["environ"]["HTTP_X_REQUEST_ID"] == request_id
    eventually(lambda: request_id in edge.logs(), 20, "nginx has logged it")
    eventually(lambda: request_id in backends.logs(server), 20, "the server has logged it")


def test_probes_are_not_logged(edge: Edge) -> None:
    for target in ("/healthz", "/readyz", "/healthz?x", "/healthz/not"):
        ask(edge.wire("web"), request(target, "User-Agent: probe"))
    eventually(lambda: "/healthz/not" in edge.logs(), 20, "nginx has logged what is no probe")
    paths = {json.loads(line)["path"] for line in edge.logs().splitlines() if line.startswith("{")}
    assert not {"/healthz", "/readyz", "/health"} & paths


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_tls_is_1_2_or_1_3(secure: Edge, version: str) -> None:
    if version in {"TLSv1", "TLSv1_1"}:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(Tls(secure.ports["tls"], version), request("/x"))
    else:
        wire = Tls(secure.ports["tls"], version)
        assert wire.version == version.replace("_", ".")
        assert echoed(ask(wire, request("/x")))["environ"]["wsgi.url_scheme"] == "https"


def test_only_ciphers_with_forward_secrecy_and_authentication(secure: Edge) -> None:
    """Each of those that OpenSSL has is offered alone."""
    names = [cipher["name"] for cipher in ssl.create_default_context().get_ciphers()]
    taken, every = set(), [name for name in names if not name.startswith("TLS_")]  # those of 1.3 are all good
    for cipher in every:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            wire = Tls(secure.ports["tls"], "TLSv1_2", cipher)
            taken.add(wire.cipher)
            wire.close()
    assert len(every) > len(taken)
    assert taken == {  # those that go with an ECDSA key
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    }


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_http_2_brings_a_body_without_a_length_whole(secure: Edge, route: str, size: int, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"ab" * (size // 2) + b"c" * (size % 2))
    version = ["-w", "\n%{http_version} %{http_code}", "--http2", "-T", "-"]
    with body.open("rb") as source:
        done = curl(secure, f"{ROUTES[route]}x", *version, stdin=source)
    text, _, told = done.stdout.decode().rpartition("\n")
    assert told == "2 200", done.stderr
    received = json.loads(text)
    assert (received["method"], received["length"]) == ("PUT", size)
    assert received["body"] == body.read_bytes()[:4096].decode()


def test_plain_http_leads_to_https_and_nothing_is_lost(secure: Edge, tmp_path: Path) -> None:
    """To HTTPS_PORT, whichever port the client named; the method and the body stay."""
    answer = ask(secure.wire("web"), request("/a%2Fb?c=d&e", host="localhost:1234", method="POST"))
    assert answer
    assert (answer.status, answer.headers["Location"]) == (308, f"https://localhost:{secure.ports['tls']}/a%2Fb?c=d&e")
    body = tmp_path / "body"
    body.write_bytes(b"x" * 100_000)
    plain = f"http://localhost:{secure.ports['web']}/api/x"
    command = ["curl", "-sSkL", "--noproxy", "*", "--max-time", "60", "-4", "-T", str(body), plain]
    done = subprocess.run(command, capture_output=True, check=True, timeout=90)
    told = json.loads(done.stdout)
    assert (told["method"], told["length"], told["environ"]["wsgi.url_scheme"]) == ("PUT", 100_000, "https")


def test_plain_http_on_a_port_of_tls_leads_to_https(secure: Edge) -> None:
    for server in ("tls", "gunicorn"):
        port = secure.ports[server]
        answer = ask(secure.wire(server), request("/a?b", host=f"localhost:{port}"))
        assert answer
        assert (answer.status, answer.headers["Location"]) == (308, f"https://localhost:{port}/a?b")
        assert ask(secure.wire(server), request("/a?b", host="evil.example")) is None


def test_an_unknown_name_gets_no_answer_over_tls_either(secure: Edge) -> None:
    for server in SERVERS:
        assert ask(secure.tls(server), request("/", host="evil.example")) is None
    assert ask(secure.wire("web"), request("/", host="evil.example")) is None
    assert curl(secure, "/x", "--http2", host="evil.example").stdout == b""


# --- certificates -----------------------------------------------------------------------------------------------------


SELF_SIGNED = "/srv/certificates/self-signed.pem"


def shown(edge: Edge) -> bytes:
    """The certificate that a client gets, in DER."""
    with edge.tls("web") as wire:
        return wire.certificate


def names_in(edge: Edge) -> set[str]:
    text = edge.exec("openssl", "x509", "-in", SELF_SIGNED, "-noout", "-ext", "subjectAltName")
    return set(re.findall(r"(?:DNS|IP Address):([^,\s]+)", text))


def test_a_self_signed_certificate_has_the_names_of_the_site_and_stays(secure: Edge) -> None:
    before = shown(secure)
    assert names_in(secure) == {"localhost", "127.0.0.1", "0:0:0:0:0:0:0:1", "example.com", "*.example.com"}
    modes = secure.exec("stat", "-c", "%a %n", SELF_SIGNED)
    assert modes.startswith("600 ")
    secure.restart()
    assert shown(secure) == before


# What is in the folder before -> what becomes of it: "kept", "renewed", or what the refusal says. $D is the folder.
SIGN = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
    "-keyout $D/privkey.pem -out $D/fullchain.pem"
)
MADE = "cd $D && openssl req -x509 -newkey ed25519 -nodes -keyout key -out chain -subj /CN=x"
OURS = "cat chain key >> self-signed.pem; rm key chain"
FOLDERS: dict[str, tuple[str, str]] = {
    "one of somebody's own": (f"{SIGN} -days 3 -subj /CN=own.example", "kept"),
    "one of our making": (f"{MADE} -days 60; echo made for localhost > self-signed.pem; {OURS}", "kept"),
    "one of our making that ends soon": (
        f"{MADE} -days 29; echo made for localhost > self-signed.pem; {OURS}",
        "renewed",
    ),
    "one of our making for other names": (
        f"{MADE} -days 60; echo made for example.com > self-signed.pem; {OURS}",
        "renewed",
    ),
    "one of our making that was not finished": ("echo made for localhost > $D/self-signed.pem.new", "renewed"),
    "one of our making that is damaged": ("echo made for localhost > $D/self-signed.pem", "renewed"),
    "a chain without its key": (f"{SIGN} -subj /CN=own.example; rm $D/privkey.pem", "privkey.pem"),
    "a key without its chain": (f"{SIGN} -subj /CN=own.example; rm $D/fullchain.pem", "fullchain.pem"),
    "a key that may not be read": (f"{SIGN} -subj /CN=own.example; chmod 0 $D/privkey.pem", "user 10002"),
    "a key of another chain": (
        f"{SIGN} -subj /CN=own.example; openssl ecparam -genkey -name prime256v1 -noout -out $D/privkey.pem",
        "do not belong together",
    ),
    "something that is no certificate": ("echo x > $D/fullchain.pem; echo x > $D/privkey.pem", "is no certificate"),
    "an empty folder that may not be written": ("chmod 500 $D", "cannot write"),
}
# Each in a folder of its own in the place of /srv/certificates, which is the same but for its name.
TRY_FOLDER = """
export D=$(mktemp -d) ALLOWED_HOSTS=localhost
(eval "$1") 2>/dev/null
before=$(cat $D/* 2>/dev/null | cksum)
sed "s|/srv/certificates|$D|g" /opt/edge/certificate.sh > /tmp/certificate.sh
sh /tmp/certificate.sh; status=$?
echo "exit $status"
[ "$before" = "$(cat $D/* 2>/dev/null | cksum)" ] && echo same || echo other
openssl x509 -in $D/self-signed.pem -noout -checkend 5000000 >/dev/null 2>&1 && echo long
"""


@pytest.mark.parametrize("case", FOLDERS)
def test_what_is_in_the_folder_decides(secure: Edge, case: str) -> None:
    prepare, becomes = FOLDERS[case]
    said = secure.exec("sh", "-c", f"({TRY_FOLDER}) 2>&1; true", "sh", prepare)
    if becomes == "kept":
        assert said.endswith(("exit 0\nsame\n", "exit 0\nsame\nlong\n")), said
        used = "fullchain.pem" if "own" in case else "self-signed.pem"
        assert re.search(rf"(?m)^/\S+/{used} /", said), said
    elif becomes == "renewed":
        assert said.endswith("exit 0\nother\nlong\n"), said
    else:
        assert "exit 1\nsame\n" in said, said
        assert becomes in said


def test_a_certificate_of_one_s_own_is_used_and_a_reload_takes_the_next(secure: Edge) -> None:
    """What docs/edge.md has for Let's Encrypt. One that is not complete changes nothing. The first takes a start."""
    reload = ["nginx", "-e", "stderr", "-c", "/tmp/nginx/nginx.conf", "-s", "reload"]
    # In files of their own first: nginx takes one with the same inode, changed in the same second, for the one it has.
    make = f"{SIGN.replace('$D', 'next')} -days 3 -subj $1"
    sign = f"set -e; cd /srv/certificates; mkdir next; {make}; mv next/* .; rmdir next"
    for subject in ("/CN=first.example", "/CN=second.example"):
        secure.exec("sh", "-c", sign, "sh", subject)
        ours = ssl.PEM_cert_to_DER_cert(secure.exec("cat", "/srv/certificates/fullchain.pem"))
        if "first" in subject:
            secure.restart()
        else:
            secure.exec(*reload)
        eventually(lambda expected=ours: shown(secure) == expected, 60, "it is shown")  # type: ignore[misc]  # a default binds the loop's value
    secure.exec("sh", "-c", "cd /srv/certificates && mv privkey.pem key")
    with pytest.raises(AssertionError, match=r"privkey\.pem"):
        secure.exec(*reload)
    assert shown(secure) == ours
    secure.exec("sh", "-c", "cd /srv/certificates && mv key privkey.pem")
    secure.restart()
    assert shown(secure) == ours, "a start leaves it as it is"
