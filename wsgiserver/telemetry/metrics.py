"""What each number in a worker's slot of the scoreboard means, and how a worker counts.

It knows neither sockets nor threads nor the loop: the thread that leads calls `finished`, `gauges` and `totals`. What
other processes make of the numbers is in `admin.py`.
"""

from bisect import bisect_left
from typing import Final

from wsgiserver.errors import REFUSALS
from wsgiserver.telemetry.accesslog import Record
from wsgiserver.telemetry.scoreboard import Slot

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 100.0)  # seconds
BUCKETS: Final = len(BOUNDS) + 1  # the last takes what is above all bounds

# The places in `Slot.counts`: first requests by the first digit of their status, then
CLASSES: Final = 10
RECEIVED, SENT, SPOOLED, ACCEPTED, HANDOFFS, DROPPED, RESTARTS = range(CLASSES, CLASSES + 7)
CONNECTIONS, QUEUED, BUSY, STUCK = range(RESTARTS + 1, RESTARTS + 5)
REFUSED: Final = {name: index for index, name in enumerate(REFUSALS, STUCK + 1)}
RECEIVE: Final = STUCK + 1 + len(REFUSED)
APPLICATION: Final = RECEIVE + BUCKETS
SEND: Final = APPLICATION + BUCKETS
COUNTS: Final = SEND + BUCKETS
# and those in `Slot.sums`: seconds spent, in the order of RECEIVE, APPLICATION, SEND.
SUMS: Final = 3


class Metrics:
    """Counts for one worker, in its slot; only the thread that leads may call it."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._counts = slot.counts
        self._sums = slot.sums

    def finished(self, record: Record) -> None:
        """Count a request that was answered or refused. The times of refused ones are not of interest."""
        counts, sums = self._counts, self._sums
        counts[record.status // 100] += 1
        counts[SENT] += record.sent_bytes
        if record.received_bytes:
            counts[RECEIVED] += record.received_bytes
            if record.spool == "file":
                counts[SPOOLED] += record.received_bytes
        if record.error in REFUSED:
            counts[REFUSED[record.error]] += 1
            return
        receive, application, send = record.receive_seconds, record.application_seconds, record.send_seconds
        counts[RECEIVE + bisect_left(BOUNDS, receive)] += 1
        counts[APPLICATION + bisect_left(BOUNDS, application)] += 1
        counts[SEND + bisect_left(BOUNDS, send)] += 1
        sums[0] += receive
        sums[1] += application
        sums[2] += send

    def gauges(self, *, connections: int, queued: int, busy: int, stuck: int) -> None:
        """Take over how things stand now; called before the loop waits, and before `Slot.publish`.

        The thread that calls it is not among the busy ones: whether it waits shows in the slot's `busy_since`.
        """
        self._counts[CONNECTIONS : STUCK + 1] = connections, queued, busy, stuck

    def totals(self, *, accepted: int, handoffs: int, dropped: int) -> None:
        """Take over what the loop and the log have counted themselves since the worker was started."""
        self._counts[ACCEPTED : DROPPED + 1] = accepted, handoffs, dropped
