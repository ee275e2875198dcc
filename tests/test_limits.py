"""Limits that must have an order, read from the files that set them.

Each layer must wait longer than the one behind it, otherwise work is lost: a server closes an idle connection while
nginx sends a request, a proxy sends 504 just before the response arrives, an engine kills a server that still drains.
The numbers are in compose.yaml and nginx/; this file has only their order.
"""

import functools
import os
import re
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from photos import limits
from scripts.ops import dotenv, fit, rolling
from scripts.ops.settings import MIB, size
from uploadstack import database
from wsgiserver.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = dotenv.read_example((ROOT / ".env.example").read_text())
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)?", str(text)).groups()  # type: ignore[union-attr]  # a wrong one fails
    return int(number) * UNITS[unit or "s"]


def nginx(directive: str, file: str) -> float:
    """Return the only value that a directive has in a file."""
    values = set(re.findall(rf"(?m)^\s*{directive} (\w+);", (ROOT / "nginx" / file).read_text()))
    assert len(values) == 1, f"{directive} in {file}: {values}"
    return seconds(values.pop())


def wsgiserver(name: str) -> float:
    return seconds(compose()["services"]["web"]["environment"][f"WSGISERVER_{name}"])


def gunicorn(flag: str) -> float:
    flags = dict(part[2:].split("=", 1) for part in compose()["services"]["gunicorn"]["command"] if "=" in part)
    return seconds(flags[flag])


def tcp(setting: str) -> float:
    return float(compose()["services"]["nginx"]["sysctls"][f"net.ipv4.tcp_keepalive_{setting}"])


def default(variable: str) -> float:
    """Return the default of a variable of .env."""
    return float(EXAMPLE.defaults[variable])


def mebibytes(variable: str) -> float:
    """Return the default of a size in mebibytes."""
    return (size(EXAMPLE.defaults[variable]) or 0) / MIB


def resolver_validity() -> float:
    """Return the seconds until nginx resolves a name again."""
    return seconds(re.search(r" valid=(\w+);", (ROOT / "nginx/upstreams.conf.template").read_text())[1])  # type: ignore[index]  # a missing one fails


@functools.cache
def entrypoint_limits() -> dict[str, float]:
    """Return what nginx/entrypoint.sh computes from the defaults: WORKER_CONNECTIONS and OPEN_FILES."""
    command = ["sh", str(ROOT / "nginx" / "entrypoint.sh"), "--limits"]
    environment = {**os.environ, **EXAMPLE.defaults}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return {name: float(value) for name, value in (pair.split("=") for pair in output.split())}


def lock_timeout() -> float:
    """Return how many seconds SQLite waits for another writer."""
    return float(database.settings("sqlite:////x")["OPTIONS"]["timeout"])


def grace(service: str) -> float:
    return seconds(compose()["services"][service]["stop_grace_period"])


CHAINS: dict[str, list[tuple[str, Callable[[], float]]]] = {
    "nginx closes an idle connection before the server does": [
        ("nginx keepalive_timeout", lambda: nginx("keepalive_timeout", "upstreams.conf.template")),
        ("web --keep-alive", lambda: wsgiserver("KEEP_ALIVE")),
    ],
    "nginx closes an idle connection before gunicorn does": [
        ("nginx keepalive_timeout", lambda: nginx("keepalive_timeout", "upstreams.conf.template")),
        ("gunicorn --keep-alive", lambda: gunicorn("keep-alive")),
    ],
    "what nginx still waits for may finish while gunicorn stops": [
        ("gunicorn --timeout", lambda: gunicorn("timeout")),
        ("nginx proxy_read_timeout", lambda: nginx("proxy_read_timeout", "proxy.conf")),
        ("gunicorn --graceful-timeout", lambda: gunicorn("graceful-timeout")),
        ("stop_grace_period", lambda: grace("gunicorn")),
    ],
    "what nginx still waits for may finish while web stops": [
        ("web --timeout", lambda: wsgiserver("TIMEOUT")),
        ("nginx proxy_read_timeout", lambda: nginx("proxy_read_timeout", "proxy.conf")),
        ("web --graceful-timeout", lambda: wsgiserver("GRACEFUL_TIMEOUT")),
        ("stop_grace_period", lambda: grace("web")),
    ],
    "web tells a streamed upload that stalls why it is given up, before nginx gives it up in silence": [
        ("web --body-idle-timeout", lambda: wsgiserver("BODY_IDLE_TIMEOUT")),
        ("nginx client_body_timeout", lambda: nginx("client_body_timeout", "limits.conf.template")),
    ],
    "nginx knows that a server has vanished before it loses patience": [
        ("the kernel's last question", lambda: tcp("time") + tcp("intvl") * tcp("probes")),
        ("nginx proxy_read_timeout", lambda: nginx("proxy_read_timeout", "proxy.conf")),
    ],
    "a writer that waits for the database is told so before its time is over": [
        ("SQLite's timeout", lock_timeout),
        ("web --timeout", lambda: wsgiserver("TIMEOUT")),
    ],
    "a picture is decoded, or given up, before the upload is, and that before the server answers 504 for it": [
        ("processor time of one picture", lambda: limits.CPU_MAX),
        ("time of one picture", lambda: limits.WALL_MAX),
        ("that, and waiting for its turn", lambda: limits.WAIT_MAX + limits.WALL_MAX),
        ("UPLOAD_SECONDS", lambda: limits.UPLOAD_SECONDS),
        ("web --timeout", lambda: wsgiserver("TIMEOUT")),
        ("nginx proxy_read_timeout", lambda: nginx("proxy_read_timeout", "proxy.conf")),
    ],
    "gunicorn does not give up an upload that is still stored": [
        ("UPLOAD_SECONDS", lambda: limits.UPLOAD_SECONDS),
        ("gunicorn --timeout", lambda: gunicorn("timeout")),
    ],
    "a deploy goes on when nginx has found the new containers": [
        ("valid, which is counted from any time in a second", lambda: resolver_validity() + 1),
        ("RESOLVED_AFTER", lambda: rolling.RESOLVED_AFTER),
    ],
    "a deploy goes on when no request waits any more at an address that nobody has": [
        (
            "valid and nginx proxy_connect_timeout",
            lambda: resolver_validity() + 1 + nginx("proxy_connect_timeout", "proxy.conf"),
        ),
        ("FORGOTTEN_AFTER", lambda: rolling.FORGOTTEN_AFTER),
    ],
    "nginx ends by itself before the engine kills it": [
        ("nginx proxy_read_timeout", lambda: nginx("proxy_read_timeout", "proxy.conf")),
        ("nginx worker_shutdown_timeout", lambda: nginx("worker_shutdown_timeout", "nginx.conf.template")),
        ("stop_grace_period", lambda: grace("nginx")),
    ],
}


# The same for numbers of connections: the limit with the better error response comes first.
CHAINS |= {
    "one address cannot use up the site": [
        ("CLIENT_CONNECTIONS", lambda: default("CLIENT_CONNECTIONS")),
        ("TOTAL_CONNECTIONS", lambda: default("TOTAL_CONNECTIONS")),
    ],
    "nginx says 429 before it runs out of connections, of which a request takes two": [
        ("TOTAL_CONNECTIONS", lambda: default("TOTAL_CONNECTIONS")),
        ("half of worker_connections", lambda: entrypoint_limits()["WORKER_CONNECTIONS"] / 2),
    ],
    "nginx runs out of connections before it runs out of descriptors, of which an upload takes a third": [
        ("three for each two of worker_connections", lambda: entrypoint_limits()["WORKER_CONNECTIONS"] * 1.5),
        ("worker_rlimit_nofile", lambda: entrypoint_limits()["OPEN_FILES"]),
    ],
    "what nginx lets through, its memory can hold": [
        (
            "TOTAL_CONNECTIONS, as fit.py calculates it",
            lambda: (default("TOTAL_CONNECTIONS") * fit.REQUEST_KIB + fit.NGINX_KIB) / 1024,
        ),
        ("NGINX_MEMORY", lambda: mebibytes("NGINX_MEMORY")),
    ],
    "what nginx lets through, one process of web can hold": [
        ("TOTAL_CONNECTIONS", lambda: default("TOTAL_CONNECTIONS")),
        ("--max-connections", lambda: Settings().max_connections),
    ],
}


@pytest.mark.parametrize("name", CHAINS)
def test_each_limit_is_below_the_next(name: str) -> None:
    chain = [(limit, read()) for limit, read in CHAINS[name]]
    for (lower, before), (higher, after) in pairwise(chain):
        assert before < after, f"{lower} ({before:g}) has to be below {higher} ({after:g})"


def test_the_memory_per_request_is_the_sum_of_the_buffers_of_nginx() -> None:
    """The unit is KiB. The buffers of a response have the defaults of nginx: one page, and eight more."""
    limits = (ROOT / "nginx" / "limits.conf.template").read_text()
    body = int(re.search(r"(?m)^client_body_buffer_size (\d+)k;$", limits)[1])  # type: ignore[index]  # a missing one fails
    count, size = re.search(r"(?m)^large_client_header_buffers (\d+) (\d+)k;$", limits).groups()  # type: ignore[union-attr]  # a missing one fails
    assert not [path for path in (ROOT / "nginx").iterdir() if "proxy_buffer" in path.read_text()]
    answer, rest = 9 * 4, 44  # TLS, the connection, its pools: measured
    assert body + int(count) * int(size) + answer + rest == fit.REQUEST_KIB


def test_the_process_limits_of_the_scripts_match_compose() -> None:
    services = compose()["services"]
    assert [services[name]["pids_limit"] for name in ("web", "gunicorn")] == [fit.WEB_PIDS] * 2
    assert services["nginx"]["pids_limit"] == fit.NGINX_PIDS


def test_both_servers_get_the_same_workers_threads_and_timeouts() -> None:
    web = compose()["services"]["web"]
    command = " ".join(compose()["services"]["gunicorn"]["command"])
    for flag in ("workers", "threads", "timeout", "graceful-timeout"):
        variable = f"WSGISERVER_{flag.replace('-', '_').upper()}"
        assert f"--{flag}={web['environment'][variable]} " in command


def test_one_variable_for_the_largest_upload_reaches_every_layer() -> None:
    services = compose()["services"]
    upload_max = services["nginx"]["environment"]["UPLOAD_MAX"]
    assert upload_max.startswith("${UPLOAD_MAX:-")
    assert services["web"]["environment"]["WSGISERVER_MAX_BODY"] == upload_max
    for name in ("web", "gunicorn", "runserver", "migrate"):
        assert services[name]["environment"]["UPLOAD_MAX"] == upload_max
    for template in ("limits.conf.template", "errors.conf.template"):
        assert "${UPLOAD_MAX}" in (ROOT / "nginx" / template).read_text()
