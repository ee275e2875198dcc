"""`make ps`: a line for each container with its state, and the last log line of each that is not healthy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import compose, engine, programs
from . import settings as settings_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .engine import Container
    from .settings import Settings

LONGEST = 200  # characters of that log line


def main(_: Sequence[str]) -> None:
    settings = settings_.here()
    compose.need_engine(settings)
    for row in rows(settings):
        print(row)


def rows(settings: Settings) -> Iterator[str]:
    project = f"--filter=label={engine.LABEL}.project={settings.project}"
    template = "{{.ID}}\t{{.Status}}\t{{.Ports}}"
    printed = programs.output(["docker", "ps", "--all", "--no-trunc", project, "--format", template])
    shown = {line.split("\t")[0]: line.split("\t")[1:] for line in printed.splitlines()}
    for container in sorted(engine.containers(settings.project), key=lambda each: each.service):
        status, *ports = shown.get(container.id, [""])
        yield f"  {container.service:11} {container.state:11} {since(container, status):28} {''.join(ports)}"
        if not container.is_healthy and container.state != "running":
            yield f"  {'':11} last log line: {_last_log_line(container)}"


def since(container: Container, status: str) -> str:
    """Return, for example, "up 3 minutes" or "restarted 4 times"; `status` is Docker's: Up 3 minutes (healthy)."""
    restarted = f"restarted {container.restarts} times"
    if container.state == "restarting" or (container.state == "failed" and container.restarts):
        return restarted
    text = re.sub(r"^Up", "up", status.partition(" (")[0])
    return f"{text}, {restarted}" if container.restarts else text


def _last_log_line(container: Container) -> str:
    done = programs.attempt(["docker", "logs", "--tail", "5", container.id])
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1][:LONGEST] if lines else ""
