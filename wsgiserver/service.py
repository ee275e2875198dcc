"""What all connections of a worker share: the application, the logs, and how much and how long they wait."""

from dataclasses import dataclass, field

from wsgiserver.accesslog import AccessLog
from wsgiserver.environ import RequestIds, Trust
from wsgiserver.gateway import Application
from wsgiserver.metrics import Metrics
from wsgiserver.receiver import Limits


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
    metrics: Metrics | None = None  # None where nobody asks for them
    ids: RequestIds = field(default_factory=RequestIds)
    draining: bool = False  # every answer now says Connection: close
