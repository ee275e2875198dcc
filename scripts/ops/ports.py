"""The ports that the stack publishes on this machine, and which other process has them."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from . import engine, programs
from .console import Failure

if TYPE_CHECKING:
    from .settings import Settings


def published(settings: Settings) -> list[str]:
    """Return the names of the settings of all published ports."""
    names = ["HTTP_PORT", "HTTPS_PORT", "GUNICORN_PORT"]
    names += ["RUNSERVER_PORT"] * ("demo" in settings.profiles)
    names += ["PROMETHEUS_PORT"] * settings.has_monitoring
    return names + ["GRAFANA_PORT"] * ("monitoring" in settings.profiles)


def refuse_taken(settings: Settings) -> None:
    for name in published(settings):
        if holder := other_holder(settings, settings[name]):
            raise Failure(
                f"port {settings[name]} is taken by {holder}; stop it, or set {name} in {settings.file} to another port"
            )


def other_holder(settings: Settings, port: str) -> str:
    """Return what has the port; nothing if it is free, or a container of this stack has it."""
    if not is_taken(port):
        return ""
    ours = f"--filter=label={engine.LABEL}.project={settings.project}"
    if programs.output(["docker", "ps", "--quiet", f"--filter=publish={port}", ours]):
        return ""
    return holder(port)


def is_taken(port: str) -> bool:
    """Whether something listens there on this machine."""
    try:
        socket.create_connection(("127.0.0.1", int(port))).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def holder(port: str) -> str:
    """Describe what has the port, as far as this user may see it."""
    container = programs.output(["docker", "ps", f"--filter=publish={port}", "--format", "{{.Names}}"])
    if container:
        return f"container {container.splitlines()[0]}"
    sockets = programs.output(["ss", "-Hltnp", f"sport = :{port}"])
    if found := re.search(r'users:\(\(("[^"]*"),pid=(\d+)', sockets):
        return f"process {found[2]} ({found[1]})"
    rows = programs.output(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN"]).splitlines()[1:]
    if rows:
        command, process = rows[0].split()[:2]
        return f"process {process} ({command})"
    return "a process of another user"
