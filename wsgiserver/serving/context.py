"""What connections share: all of a server the application, the logs, how much and how long they wait; and those of one
listener what stands in their environs, and which proxies are believed.
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

ENOUGH: Final = 16 << 20  # bytes


class ListenerContext(NamedTuple):
    """What holds for whoever connects to one listener."""

    environ: dict[str, Any]  # what is the same in all of their requests
    trust: Trust


@dataclass(slots=True)
class ServerContext:
    """Sizes are bytes, durations seconds."""

    application: Application
    log: AccessLog | NoAccessLog
    limits: Limits
    head_timeout: float
    body_idle_timeout: float
    body_timeout: float  # for the whole body, and a second more for every `body_rate` bytes of it
    body_rate: int
    keep_alive: float
    send_timeout: float
    # Memory that all connections share, beside that of bodies (`limits`): for answers that clients have not taken yet,
    # and for heads, and requests that wait. That of heads may be overdrawn: then the loop makes room.
    answers: Budget = field(default_factory=lambda: SharedBudget(ENOUGH))
    heads: Budget = field(default_factory=lambda: Budget(ENOUGH))
    metrics: Metrics | None = None  # None where nobody asks for them
    ids: RequestIds = field(default_factory=RequestIds)
    # Every answer now says Connection: close, for good
    draining: bool = False
    # or for as long as others wait for the place: who asks and asks again is never idle, and would keep them out.
    is_full: bool = False

    def drain(self) -> None:
        self.draining = True

    def cut_off(self) -> None:
        """The server ends: the application is called no more."""
        self.application = _ended

    def set_full(self, is_full: bool) -> None:  # noqa: FBT001 - a hook of the loop, whose only argument it is
        self.is_full = is_full


def _ended(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """An application for requests that come too late, and whose clients get no answer."""
    start_response("503 Service Unavailable", [])
    return []
