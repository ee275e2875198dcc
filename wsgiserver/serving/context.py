"""What connections share. All connections of a server share the application, the logs, sizes and time limits. Those of
one listener share the fixed part of their environs, and the trusted proxies.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from wsgiserver.buffers.budget import Budget, SharedBudget
from wsgiserver.serving.receiver import Limits
from wsgiserver.telemetry.accesslog import AccessLog, NoAccessLog
from wsgiserver.telemetry.metrics import Metrics
from wsgiserver.wsgi.environ import RequestIds
from wsgiserver.wsgi.forwarded import Trust
from wsgiserver.wsgi.gateway import Application

DEFAULT_BUDGET: Final = 16 << 20  # bytes


class ListenerContext(NamedTuple):
    """What the connections of one listener share."""

    environ: dict[str, Any]  # what is the same in all requests
    trust: Trust


@dataclass(slots=True)
class ServerContext:
    """What all connections of a server share. Sizes are bytes, durations seconds."""

    application: Application
    log: AccessLog | NoAccessLog
    limits: Limits
    head_timeout: float
    body_idle_timeout: float
    body_timeout: float  # for the whole body, plus one second for every `body_rate` bytes of it
    body_rate: int
    keep_alive: float
    send_timeout: float
    # Memory that all connections share, besides that of bodies (`limits`): for responses that clients have not read
    # yet, and for heads and requests that wait. That of heads may be overdrawn; then the loop makes room.
    answers: Budget = field(default_factory=lambda: SharedBudget(DEFAULT_BUDGET))
    heads: Budget = field(default_factory=lambda: Budget(DEFAULT_BUDGET))
    metrics: Metrics | None = None  # None without an admin listener
    ids: RequestIds = field(default_factory=RequestIds)
    # Every response has Connection: close, until the end
    draining: bool = False
    # or while clients wait for a free connection: one that sends request after request is never idle.
    is_full: bool = False

    def drain(self) -> None:
        self.draining = True

    def cut_off(self) -> None:
        """The server ends: the application is not called any more."""
        self.application = _ended

    def set_full(self, is_full: bool) -> None:  # noqa: FBT001 - a hook of the loop, whose only argument it is
        self.is_full = is_full


def _ended(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """The application for requests that come too late; their clients get no response."""
    start_response("503 Service Unavailable", [])
    return []
