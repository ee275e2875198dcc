"""The workers there are, and which of them is started or stopped next.

    too few            start one
    one is outdated    start its replacement; when that is ready, stop the old one; when it has ended, the next
    too many           stop one

A rule and its data: nothing is forked, signalled or logged here, and clocks are arguments.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from wsgiserver.telemetry.scoreboard import Slot, WorkerPhase


@dataclass(slots=True, eq=False)
class WorkerRecord:
    """What the parent knows of a child. Times are those of `time.monotonic`."""

    pid: int
    slot: Slot
    started: float
    outdated: bool = False  # it runs code from before the current reload
    kill_at: float = inf  # it was asked to end, and is killed then
    suspected: float = 0.0  # the `silent_since` that an earlier check found too old

    def kill_by(self, deadline: float) -> None:
        """It was asked to end by then; a later deadline does not extend an earlier one."""
        self.kill_at = min(self.kill_at, deadline)

    def kill_again_at(self, deadline: float) -> None:
        self.kill_at = deadline

    def suspect(self, since: float) -> bool:
        """Note that it has been silent since then, for too long; returns whether an earlier check found the same."""
        was_suspected, self.suspected = self.suspected == since, since
        return was_suspected

    def mark_outdated(self) -> None:
        self.outdated = True

    def keep(self) -> None:
        """The reload has failed: it stays with the code that it runs."""
        self.outdated = False

    @property
    def is_leaving(self) -> bool:
        return self.kill_at < inf or self.slot.phase is WorkerPhase.DRAINING

    @property
    def has_to_go(self) -> bool:
        return self.outdated or self.slot.phase is WorkerPhase.RETIRING

    @property
    def is_starting(self) -> bool:
        return self.slot.phase is WorkerPhase.STARTING


class Move(Enum):
    """What to do about the number of workers."""

    NONE = auto()
    START = auto()
    STOP = auto()


def next_move(workers: Collection[WorkerRecord], wanted: int) -> tuple[Move, WorkerRecord | None]:
    """Return what to do next, and with which worker. The caller does it and calls again, until nothing is left to do.

    A worker that is leaving is not counted, but none is replaced until the one before has ended. So there is never more
    than one process above `wanted`, except for those that leave because `wanted` was lowered.
    """
    staying = [worker for worker in workers if not worker.is_leaving]
    if len(staying) < wanted:
        return Move.START, None
    if len(staying) == wanted:
        is_due = any(worker.has_to_go for worker in staying) and len(staying) == len(workers)
        return (Move.START if is_due else Move.NONE), None
    return _surplus(staying)


def _surplus(staying: Collection[WorkerRecord]) -> tuple[Move, WorkerRecord | None]:
    """Return the worker that is one too many, if it may be stopped now."""
    # One that still starts is missed least; then the oldest.
    first = min(staying, key=lambda worker: (not worker.has_to_go, not worker.is_starting, worker.started))
    is_replaced = not any(worker.is_starting and not worker.has_to_go for worker in staying)
    if first.has_to_go and not first.is_starting and not is_replaced:
        return Move.NONE, None
    return Move.STOP, first
