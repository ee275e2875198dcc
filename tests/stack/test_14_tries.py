"""A request that kills its server is repeated once at most, with any number of servers.

Behind the nginx of these tests is an application that kills its process on request, and logs that
(inside/echo_app.py).
"""

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.stack.echo import Backends, Edge, ask, request
from tests.stack.stack import Stack, run
from tests.wire.answers import Answer
from tests.wire.polling import poll

AT_MOST = 2
REPLICAS = {"one": 1, "three": 3}
PIECE = b"x" * 200_000  # more than nginx reads with the head or keeps in memory


def with_body(method: str, body: bytes) -> tuple[str, list[str], bytes]:
    return method, [f"Content-Length: {len(body)}"], body


# A request -> method, fields, body.
REQUESTS = {
    "GET": ("GET", [], b""),
    "DELETE": ("DELETE", [], b""),
    "PUT of nothing": with_body("PUT", b""),
    "PUT, small": with_body("PUT", b"x"),
    "PUT, large": with_body("PUT", PIECE),
    "PUT, small, in chunks": ("PUT", ["Transfer-Encoding: chunked"], b"1\r\nx\r\n0\r\n\r\n"),
    "POST, large": with_body("POST", PIECE),
    "PATCH": with_body("PATCH", b"x"),
    "an unknown method": with_body("FROB", b"x"),
}
ONCE = {"POST, large", "PATCH"}
ROUTES = {"buffered": "/api/", "streamed": "/streamed/api/", "static": "/static/"}


class Site:
    """One nginx and the servers behind it."""

    def __init__(self, edge: Edge, backends: Backends) -> None:
        self.edge = edge
        self._backends = backends

    def keep_connections(self) -> None:
        """Open connections to each server, which nginx keeps for later requests."""
        for _ in range(6):
            answer = ask(self.edge.wire("web"), request("/x"))
            assert answer
            assert answer.status == 200

    def killed_by(self, key: str, server: str) -> int:
        names = [name for name in self._backends.containers if name.startswith(server)]
        outputs = [run("docker", "exec", self._backends.containers[name], "sh", "-c", READ_KILLED) for name in names]
        return "".join(outputs).split().count(key)

    def is_healthy(self) -> bool:
        answers = [ask(self.edge.wire(server), request("/x")) for server in ("web", "gunicorn") for _ in range(3)]
        return {answer and answer.status for answer in answers} == {200}


READ_KILLED = "cat /tmp/killed 2>/dev/null; true"


@pytest.fixture(scope="module", params=REPLICAS)
def site(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Site]:
    with Backends(stack, replicas=REPLICAS[request.param]) as backends, Edge(backends, {}) as edge:
        yield Site(edge, backends)


def check_bad_gateway(answer: Answer | None) -> None:
    assert answer is not None, "closed without an answer"
    assert answer.status == 502
    assert answer.json()["error"] == "application-unreachable"


@pytest.mark.parametrize("route", ["buffered", "streamed"])
@pytest.mark.parametrize("case", ["GET", "PUT, small", "PUT, large", "PUT, small, in chunks", "POST, large"])
def test_a_request_that_kills_its_server_is_sent_twice_at_most(site: Site, case: str, route: str) -> None:
    check_killing(site, "web", case, ROUTES[route])


@pytest.mark.parametrize("case", ["DELETE", "PUT of nothing", "PATCH", "an unknown method"])
def test_a_request_of_any_method_that_kills_its_server_is_sent_twice_at_most(site: Site, case: str) -> None:
    check_killing(site, "web", case, ROUTES["buffered"])


def test_a_static_request_that_kills_its_server_is_sent_twice_at_most(site: Site) -> None:
    check_killing(site, "web", "GET", ROUTES["static"])


@pytest.mark.parametrize("case", ["PUT, large", "POST, large"])
def test_a_request_that_kills_gunicorn_is_sent_twice_at_most(site: Site, case: str) -> None:
    check_killing(site, "gunicorn", case, "/api/")


def check_killing(site: Site, server: str, case: str, prefix: str) -> None:
    poll(site.is_healthy, "all servers answer", 60)
    site.keep_connections()
    method, fields, body = REQUESTS[case]
    key = uuid.uuid4().hex
    answer = ask(site.edge.wire(server), request(f"{prefix}_kill/{key}", *fields, method=method) + body)
    check_bad_gateway(answer)
    killed = site.killed_by(key, server)
    assert killed == 1 if case in ONCE else 1 <= killed <= AT_MOST, killed


@pytest.mark.parametrize(("case", "status"), [("GET", 200), ("PUT, large", 200), ("DELETE", 200), ("POST, large", 502)])
def test_only_an_idempotent_request_is_retried_after_its_server_died(stack: Stack, case: str, status: int) -> None:
    """The new process gets it; a form that reached a server is not sent to another."""
    with Backends(stack) as backends, Edge(backends, {}) as edge:
        poll(lambda: status_after_a_death(edge, "GET") == 200, "nginx has resolved the servers for retries too", 60)
        assert status_after_a_death(edge, case) == status


def status_after_a_death(edge: Edge, case: str) -> int | None:
    """The status of a request that kills the first server that gets it."""
    method, fields, body = REQUESTS[case]
    answer = ask(edge.wire("web"), request(f"/api/_kill_once/{uuid.uuid4().hex}", *fields, method=method) + body)
    return answer.status if answer else None


# --- servers that refuse connections ----------------------------------------------------------------------------------

CONNECT = (
    "import socket\ntry: socket.create_connection(('127.0.0.1', 8000), 5)\nexcept ConnectionRefusedError: print('no')"
)
LONG = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/_late/60')"


@contextlib.contextmanager
def finishing(container: str) -> Iterator[None]:
    """The container stops, but has a long request: it refuses connections, while its name still resolves to it."""

    def output_of(*command: str) -> str:
        return run("docker", "exec", container, *command)

    with subprocess.Popen(["docker", "exec", container, "python", "-c", LONG], stderr=subprocess.DEVNULL) as client:
        poll(lambda: "late" in output_of("ls", "/tmp"), "the long request has begun", 60)
        run("docker", "kill", "--signal=TERM", container)
        poll(lambda: output_of("python", "-c", CONNECT) == "no\n", "the container refuses connections", 60)
        yield
        assert output_of("python", "-c", CONNECT) == "no\n", "the container accepted connections again"
        client.kill()


def test_a_server_that_is_stopping_costs_no_request(stack: Stack) -> None:
    """All simultaneous requests reach the other server, although the refusing one has the fewest requests."""
    clients = 7
    with Backends(stack, replicas=2) as backends, Edge(backends, {}) as edge:
        with finishing(backends.containers["web-2"]), ThreadPoolExecutor(clients) as threads:
            pending = [threads.submit(ask, edge.wire("web"), request("/_late/2")) for _ in range(clients)]
            answers = [future.result() for future in pending]
        assert [answer and answer.status for answer in answers] == [200] * clients
