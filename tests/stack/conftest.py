"""One stack for all tests of this folder: started before the first, deleted with its data after the last.

It has a project name, ports, secrets and volumes of its own, so other running stacks stay untouched. Without an engine,
all tests of this folder are skipped.

    STACK_ENV_FILE=.env pytest tests/stack     use the running stack with these settings; no stack is started or deleted
    STACK_SCREENSHOTS=folder                   save screenshots of the browser
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, StorageState

from tests.stack import pictures
from tests.stack.boundary import FEW, echoed
from tests.stack.browsing import SCREENS, Visit, chromium
from tests.stack.echo import ECHO, Backends, Edge, ask, request
from tests.stack.pictures import Picture
from tests.stack.stack import ROOT, Stack, run
from tests.stack.starting import may_start_a_stack, provided


@pytest.hookimpl(trylast=True)  # after -k has selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    may_start_a_stack(items, Path(__file__).parent)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provided(tmp_path_factory, "stack", COMPOSE_PROFILES="demo") as running:
        yield running


@pytest.fixture(scope="session")
def backends(stack: Stack) -> Iterator[Backends]:
    """The echo application on both servers."""
    with Backends(stack) as running:
        yield running


@pytest.fixture(scope="session")
def edge(backends: Backends) -> Iterator[Edge]:
    """The real nginx in front of it, with these settings over those of .env.example."""
    settings = {"ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],.example.com", "UPLOAD_MAX": "1m"}
    with Edge(backends, settings) as running:
        yield running


@pytest.fixture(scope="module")
def edge_with_tls(backends: Backends) -> Iterator[Edge]:
    """With TLS and a self-signed certificate."""
    settings = {"TLS": "on", "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1],.example.com"}
    volume = run("docker", "volume", "create", *backends.labels).strip()
    try:
        with Edge(backends, settings, mounts=[f"--volume={volume}:/srv/certificates"]) as running:
            yield running
    finally:
        run("docker", "volume", "rm", volume)


@pytest.fixture(scope="module")
def edge_behind_proxies(backends: Backends, gateway: str) -> Iterator[Edge]:
    """Trusts its direct peer and the networks of proxies before it."""
    with Edge(backends, {"TRUSTED_PROXIES": f"{gateway},10.9.0.0/16,2001:db8::/32"}) as running:
        yield running


@pytest.fixture(scope="module")
def edge_for_any_host(backends: Backends) -> Iterator[Edge]:
    """Accepts any host, trusts a proxy that does not exist, and allows few requests at a time."""
    settings = {"ALLOWED_HOSTS": "*", "TRUSTED_PROXIES": "192.0.2.0/24", "TOTAL_CONNECTIONS": str(FEW)}
    with Edge(backends, settings) as running:
        yield running


@pytest.fixture(scope="module")
def edge_with_low_limits(backends: Backends) -> Iterator[Edge]:
    """Its limits are low enough to reach."""
    settings = {"CLIENT_CONNECTIONS": str(FEW), "LOGIN_RATE": "1r/m", "UPLOAD_MAX": "2m"}
    with Edge(backends, settings, spool="size=256k") as running:
        yield running


@pytest.fixture(scope="module")
def edge_that_waits_a_second(backends: Backends) -> Iterator[Edge]:
    """Waits one second for an answer, and has a wrong port for gunicorn."""
    proxy = (ROOT / "nginx" / "proxy.conf").read_text()
    upstreams = (ROOT / "nginx" / "upstreams.conf.template").read_text()
    files = {
        "/opt/nginx/proxy.conf": proxy.replace("proxy_read_timeout 70s", "proxy_read_timeout 1s"),
        "/opt/nginx/upstreams.conf.template": upstreams.replace("gunicorn:8000", "gunicorn:8999"),
    }
    with Edge(backends, {}, files=files) as running:
        yield running


@pytest.fixture(scope="module")
def edge_before_the_guard(stack: Stack) -> Iterator[Edge]:
    """Its application is behind uploadstack/boundary.py, as Django is."""
    application = f"{ECHO}\nfrom uploadstack.boundary import guarded\napplication = guarded(application)\n"
    with Backends(stack, application=application) as backends, Edge(backends, {}) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(edge: Edge) -> str:
    """The peer that nginx sees when this machine connects to it."""
    address: str = echoed(ask(edge.wire("web"), request("/gateway/")))["environ"]["REMOTE_ADDR"]
    return address


@pytest.fixture(scope="session")
def photo() -> Picture:
    return pictures.photo()


@pytest.fixture
def name() -> str:
    """A name for one upload."""
    return f"{uuid.uuid4().hex}.jpg"


@pytest.fixture(scope="session")
def anonymous() -> Iterator[requests.Session]:
    """A client without a token, which ignores the proxies of the environment."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="session")
def api(stack: Stack) -> Iterator[requests.Session]:
    """The same with the token of the sample user."""
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Token {stack.token}"
        yield session


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def session(stack: Stack, browser: Browser) -> StorageState:
    """The cookies of a user who has logged in."""
    with browser.new_context(base_url=stack.url) as context:
        Visit(context.new_page(), "").log_in(stack)
        return context.storage_state()


@pytest.fixture
def visit(stack: Stack, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens the gallery in a window of a screen's size: `visit("phone", javascript=False, session=cookies)`."""
    contexts = []

    def opened(
        screen: str, *, javascript: bool = True, scheme: str = "light", session: StorageState | None = None
    ) -> Visit:
        options = {
            **SCREENS[screen],
            "java_script_enabled": javascript,
            "color_scheme": scheme,
            "storage_state": session,
        }
        contexts.append(browser.new_context(base_url=stack.url, **options))
        contexts[-1].set_default_timeout(20_000)  # milliseconds
        label = "-".join([screen, scheme] + ([] if javascript else ["no-javascript"]))
        visitor = Visit(contexts[-1].new_page(), label)
        visitor.page.goto("/")
        return visitor

    yield opened
    for context in contexts:
        context.close()
