"""Shared by the tests of the boundary (test_15_*.py): requests that the application got, and errors of nginx."""

import re
import subprocess
from typing import IO, Any

from tests.stack.echo import Edge, ask
from tests.wire.answers import Answer

SERVERS = ["web", "gunicorn"]
ROUTES = {"buffered": "/api/", "streamed": "/streamed/api/"}
FEW = 5  # limit of requests at a time; above the few that an earlier test may have left open
FORGED = "forged"  # in each value that must not arrive
HTML = "Accept: text/html,*/*;q=0.8"
MARKUP = "<script>forged</script>"
LONG = "x" * (64 << 10)
PASSING = {429, 502, 504, 507}  # temporary errors, with Retry-After
# Words that are not for visitors.
DEVELOPER_WORDS = re.compile(r"\.env|make \w+|[A-Z]+_[A-Z]+|[a-z]+_[a-z]+_|nginx/|\.conf|[Tt]oken")


def echoed(answer: Answer | None) -> dict[str, Any]:
    assert answer is not None, "closed without an answer"
    assert answer.status == 200, answer.body
    received: dict[str, Any] = answer.json()
    return received


def curl(
    edge: Edge, path: str, *arguments: str, host: str = "localhost", stdin: IO[bytes] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run curl over TLS to a name of the site, with any certificate."""
    port = edge.ports["tls"]
    command = ["curl", "-sSk", "--noproxy", "*", "--max-time", "60", "--resolve", f"{host}:{port}:127.0.0.1"]
    return subprocess.run(
        [*command, *arguments, f"https://{host}:{port}{path}"],
        capture_output=True,
        check=False,
        timeout=90,
        stdin=stdin,
    )


def check_error(answer: Answer | None, status: int, error: str, names: str = "") -> None:
    """The error as JSON: its name, what to change, and the request id."""
    assert answer is not None, "closed without an answer"
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json"), answer.body
    problem = answer.json()
    assert problem["error"] == error
    assert names in problem["detail"]
    assert not re.search(r"\.env|make \w+|nginx/", problem["detail"]), "a remedy for the operator is in the answer"
    assert [problem["request_id"]] == answer.headers.get_all("X-Request-ID")


def check_page(answer: Answer | None, status: int, error: str) -> None:
    """The error as a page: advice and a link back, and nothing from the request."""
    assert answer is not None, "closed without an answer"
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8"), answer.body
    page = answer.body.decode()
    (request_id,) = answer.headers.get_all("X-Request-ID", [])
    assert f"error {status} ({error}), request {request_id}<" in page
    title, advice = re.findall(r"(?s)<(?:h1|p)>(.*?)</", page)
    assert f"<title>{title}</title>" in page
    assert advice.endswith(".")
    assert not DEVELOPER_WORDS.search(title + advice)
    assert 'href="/"' in page
    assert ('href=""' in page) == (status in PASSING)
    assert "<script" not in page
    assert FORGED not in page


def as_visit(data: bytes) -> bytes:
    """Turn an API request into one of a browser: outside /api/, with markup, and with Accept before other fields."""
    line, rest = data.split(b"\r\n", 1)
    line = re.sub(rb" (?:/api)?(/\S*) ", rb" \1?%s " % MARKUP.encode(), line)
    return b"\r\n".join([line, HTML.encode(), f"Referer: {MARKUP}".encode(), rest])


def send_both(edge: Edge, server: str, data: bytes) -> list[Answer | None]:
    """Send the request of a program and that of a browser; returns both answers."""
    return [ask(edge.wire(server), each) for each in (data, as_visit(data))]


def check_both(
    answers: list[Answer | None], status: int, error: str, names: str = "", *, has_page: bool = True
) -> None:
    program, browser = answers
    check_error(program, status, error, names)
    if has_page:
        check_page(browser, status, error)
    else:
        check_error(browser, status, error, names)
    for answer in filter(None, answers):
        assert (int(answer.headers.get("Retry-After", 0)) > 0) == (status in PASSING)
