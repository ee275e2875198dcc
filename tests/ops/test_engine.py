"""Parsing of output of the engine, recorded with Docker 20.10 and shortened to the parsed fields and a few more."""

from typing import Any

import pytest

from scripts.ops.console import Progress
from scripts.ops.engine import Container, container_of
from scripts.ops.ps import since

WEB: dict[str, Any] = {
    "Id": "5d1c7be0f0b34f0f9c4b8d3a1b7d2b11a6e3a0f3f9e3f4c7f1b1d8e0a9c6b7d2",
    "Image": "sha256:0f4c9a",
    "Name": "/uploadstack_web_1",
    "RestartCount": 0,
    "State": {"Status": "running", "Running": True, "ExitCode": 0, "Health": {"Status": "healthy", "FailingStreak": 0}},
    "HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
    "Mounts": [
        {
            "Type": "volume",
            "Name": "uploadstack_media",
            "Source": "/var/lib/docker/volumes/x",
            "Destination": "/srv/media",
        },
        {"Type": "bind", "Source": "/srv/spools/web", "Destination": "/var/spool/wsgiserver"},
    ],
    "Config": {
        "Image": "uploadstack-runtime:local",
        "Env": ["DATABASE_URL=sqlite:////srv/data/db.sqlite3?a=b", "EMPTY="],
        "Labels": {
            "com.docker.compose.config-hash": "b7d0",
            "com.docker.compose.project": "uploadstack",
            "com.docker.compose.service": "web",
        },
    },
    "NetworkSettings": {
        "Networks": {
            "uploadstack_inside": {"IPAddress": "172.18.0.5"},
            "uploadstack_public": {"IPAddress": "172.19.0.2"},
        }
    },
}


def container(status: str = "running", health: str = "healthy", restarts: int = 0, **more: Any) -> Container:
    """Return WEB in another state; `more` may have `policy` and `exit_code`."""
    state: dict[str, Any] = {"Status": status, "ExitCode": more.get("exit_code", 0)}
    if health:
        state["Health"] = {"Status": health}
    policy = {"RestartPolicy": {"Name": more.get("policy", "unless-stopped")}}
    return container_of({**WEB, "State": state, "RestartCount": restarts, "HostConfig": policy})


def test_a_container_is_parsed_from_the_output_of_the_engine() -> None:
    read = container_of(WEB)
    assert (read.name, read.service, read.image) == ("uploadstack_web_1", "web", "uploadstack-runtime:local")
    assert (read.config_hash, read.image_id) == ("b7d0", "sha256:0f4c9a")
    assert read.environment == {"DATABASE_URL": "sqlite:////srv/data/db.sqlite3?a=b", "EMPTY": ""}
    assert read.mounts == {"/srv/media": "uploadstack_media", "/var/spool/wsgiserver": "/srv/spools/web"}
    assert (read.address_in("inside"), read.address_in("elsewhere")) == ("172.18.0.5", "")


def test_a_container_without_labels_networks_and_mounts_is_parsed() -> None:
    """`docker run --network none` creates this kind of container."""
    bare = {
        **WEB,
        "Mounts": [],
        "NetworkSettings": {"Networks": None},
        "Config": {"Image": "x", "Env": None, "Labels": None},
    }
    read = container_of(bare)
    assert (read.service, read.addresses, read.mounts, read.environment) == ("", {}, {}, {})


# Container -> its state in one word, and whether `up` and `deploy` continue to wait for it.
STATES = [
    (container(), "healthy", Progress.DONE),
    (container(health=""), "running", Progress.DONE),
    (container(health="starting"), "starting", Progress.WAITING),
    (container(health="unhealthy"), "unhealthy", Progress.WAITING),
    (container(health="starting", restarts=1), "restarting", Progress.WAITING),
    (container(health="starting", restarts=3), "restarting", Progress.HOPELESS),
    (container("restarting", "unhealthy", 2), "restarting", Progress.WAITING),
    (container("restarting", "unhealthy", 12), "restarting", Progress.HOPELESS),
    (container("exited", ""), "stopped", Progress.HOPELESS),
    (container("exited", "", policy="no"), "done", Progress.HOPELESS),
    (container("exited", "", policy=""), "done", Progress.HOPELESS),
    (container("exited", "", exit_code=1, policy="no"), "failed", Progress.HOPELESS),
    (container("created", ""), "created", Progress.HOPELESS),
    (container("dead", ""), "dead", Progress.HOPELESS),
]


@pytest.mark.parametrize(("known", "state", "progress"), STATES)
def test_the_state_of_a_container_is_one_word(known: Container, state: str, progress: Progress) -> None:
    assert (known.state, known.progress) == (state, progress)
    assert known.is_healthy == (state in {"healthy", "done"})


# Container, status of the engine -> status that make ps prints.
SINCE = [
    (container(), "Up 3 minutes (healthy)", "up 3 minutes"),
    (container(restarts=2), "Up 3 minutes (healthy)", "up 3 minutes, restarted 2 times"),
    (container(health="starting", restarts=4), "Up 1 second (health: starting)", "restarted 4 times"),
    (container("exited", "", exit_code=1, restarts=4), "Exited (1) 2 seconds ago", "restarted 4 times"),
    (container("exited", "", exit_code=1), "Exited (1) 2 seconds ago", "Exited"),
]


@pytest.mark.parametrize(("known", "status", "expected"), SINCE)
def test_the_uptime_and_the_restarts_of_a_container_are_shown(known: Container, status: str, expected: str) -> None:
    assert since(known, status) == expected
