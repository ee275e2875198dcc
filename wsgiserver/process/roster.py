"""The workers there are, and which of them comes or goes next.

    too few            start one
    one has to go      start its replacement; when that is ready, ask the old one to end; when it has ended, the next
    too many           ask one to end

A rule and its data: nothing is forked, signalled or logged here, and clocks are arguments.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from wsgiserver.telemetry.scoreboard import Phase, Slot


@dataclass(slots=True, eq=False)
class WorkerRecord:
    """What the parent knows of a child. Times are those of `time.monotonic`."""

    pid: int
    slot: Slot
    started: float
    outdated: bool = False  # it runs code from before the reload that is under way
    kill_at: float = inf  # it was asked to end, and is killed then
    suspected: float = 0.0  # the `silent_since` that was found to be too long ago

    def kill_by(self, deadline: float) -> None:
        """It was asked to end; asking again gains it no time."""
        self.kill_at = min(self.kill_at, deadline)

    def kill_again_at(self, deadline: float) -> None:
        self.kill_at = deadline

    def suspect(self, since: float) -> bool:
        """It has been silent since then, which is too long; returns whether that was found before."""
        was_suspected, self.suspected = self.suspected == since, since
        return was_suspected

    def mark_outdated(self) -> None:
        self.outdated = True

    def keep(self) -> None:
        """The reload is off: it stays with the code that it runs."""
        self.outdated = False

    @property
    def is_leaving(self) -> bool:
        return self.kill_at < inf or self.slot.phase is Phase.DRAINING

    @property
    def has_to_go(self) -> bool:
        return self.outdated or self.slot.phase is Phase.RETIRING

    @property
    def is_starting(self) -> bool:
        return self.slot.phase is Phase.STARTING


class Move(Enum):
    """What to do about the number of workers."""

    NONE = auto()
    START = auto()
    STOP = auto()


def next_move(workers: Collection[WorkerRecord], wanted: int) -> tuple[Move, WorkerRecord | None]:
    """Return what to do next, and with whom. Called again once that is done, until there is nothing to do.

    Whoever is leaving is no longer counted, but nobody is replaced until the one before has ended: so there is never
    more than one process above what is wanted, but for those that a smaller `wanted` sends away.
    """
    staying = [worker for worker in workers if not worker.is_leaving]
    if len(staying) < wanted:
        return Move.START, None
    if len(staying) == wanted:
        is_due = any(worker.has_to_go for worker in staying) and len(staying) == len(workers)
        return (Move.START if is_due else Move.NONE), None
    return _surplus(staying)


def _surplus(staying: Collection[WorkerRecord]) -> tuple[Move, WorkerRecord | None]:
    """Return who is one too many, if it may be asked to end now."""
    # Who serves nobody yet is missed least; then who has been there longest.
    first = min(staying, key=lambda worker: (not worker.has_to_go, not worker.is_starting, worker.started))
    is_replaced = not any(worker.is_starting and not worker.has_to_go for worker in staying)
    if first.has_to_go and not first.is_starting and not is_replaced:
        return Move.NONE, None
    return Move.STOP, first
