"""What all connections of a worker share: the application, the logs, and how much and how long they wait."""

from dataclasses import dataclass, field
from typing import Final

from wsgiserver.accesslog import AccessLog
from wsgiserver.body import Budget
from wsgiserver.environ import RequestIds, Trust
from wsgiserver.gateway import Application
from wsgiserver.metrics import Metrics
from wsgiserver.outbox import SharedBudget
from wsgiserver.receiver import Limits

ENOUGH: Final = 16 << 20  # bytes


@dataclass(slots=True)
class Service:
    """Sizes are bytes, durations seconds."""

    application: Application
    log: AccessLog
    trust: Trust
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
