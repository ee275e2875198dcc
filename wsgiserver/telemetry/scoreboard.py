"""What processes tell each other: counters and states in memory shared by `fork`. No file, no socket, no lock.

    slot 0      the supervisor's: whether the server is stopping or failing, and the counts of workers that are gone
    slot 1      the admin listener's process
    slot 2..n   one worker each, written by that worker alone, and by the supervisor while nobody has it

A worker counts in its own lists (`Slot.counts`, `Slot.sums`), which costs next to nothing, and publishes all of them
in one piece when its loop has nothing else to do. It knows no HTTP and no signal; clocks are arguments.
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from errno import EAGAIN
from typing import Final

MOST_WORKERS: Final = 200
SLOTS: Final = 256  # processes at once, those on their way out included; memory that is never touched costs nothing
SLOT_SIZE: Final = 4096  # bytes: a page each, so that two processes never write to the same one


class Phase(IntEnum):
    """Where a worker is in its life; it only ever goes forward. It says itself when it is READY or RETIRING."""

    NONE = 0  # nobody has the slot
    STARTING = 1
    READY = 2  # the application is loaded
    RETIRING = 3  # it asks to be replaced: it has served enough, grown too large, or has too many threads stuck
    DRAINING = 4  # asked to end


class Slot:
    """One page: `pid` and `phase`, two `heartbeats`, then `counts` (integers) and `sums` (floats).

    The heartbeats are times of `time.monotonic`: when the worker's loop last came back from waiting, 0 while it waits;
    and when its watchdog last saw that the loop is kept waiting by the application, as it may be.
    """

    def __init__(self, memory: mmap.mmap, index: int, counts: int, sums: int) -> None:
        self.counts = [0] * counts  # by name: see metrics.py
        self.sums = [0.0] * sums
        page = memoryview(memory)[index * SLOT_SIZE : (index + 1) * SLOT_SIZE]
        self._integers = page[:16].cast("q")
        self.heartbeats = page[16:32].cast("d")
        self._published = page[32:]
        self._numbers = struct.Struct(f"={counts}q{sums}d")

    @property
    def pid(self) -> int:
        return self._integers[0]

    @property
    def phase(self) -> Phase:
        return Phase(self._integers[1])

    def advance(self, phase: Phase) -> bool:
        """Go on to `phase`; returns whether that was a step forward."""
        is_forward = phase > self.phase
        if is_forward:
            self._integers[1] = phase
        return is_forward

    def claim(self) -> None:
        """Somebody is about to have it."""
        self._integers[1] = Phase.STARTING

    def vacate(self) -> None:
        """Nobody has it."""
        self.heartbeats[0] = 0.0
        self._integers[0] = 0
        self._integers[1] = Phase.NONE

    @property
    def busy_since(self) -> float:
        return self.heartbeats[0]

    @property
    def silent_since(self) -> float:
        """When there was the last sign of life from a worker that should give some; 0 for one that waits."""
        return self.heartbeats[0] and max(self.heartbeats)

    def take(self, pid: int) -> None:
        """The slot is `pid`'s from now on."""
        self._integers[0] = pid

    def count(self, index: int, more: int) -> None:
        self.counts[index] += more

    def add(self, counts: Sequence[int], sums: Sequence[float]) -> None:
        """Count on from what another slot has counted, and let others see it."""
        self.counts = [old + new for old, new in zip(self.counts, counts, strict=True)]
        self.sums = [old + new for old, new in zip(self.sums, sums, strict=True)]
        self.publish()

    def empty(self) -> tuple[list[int], list[float]]:
        """Return what was published, and let others see nothing."""
        counts, sums = self.read()
        self.counts, self.sums = [0] * len(counts), [0.0] * len(sums)
        self.publish()
        return counts, sums

    def publish(self) -> None:
        """Let others see `counts` and `sums`."""
        self._numbers.pack_into(self._published, 0, *self.counts, *self.sums)

    def read(self) -> tuple[list[int], list[float]]:
        """Return `counts` and `sums` as they were published."""
        numbers = self._numbers.unpack_from(self._published)
        return list(numbers[: len(self.counts)]), list(numbers[len(self.counts) :])


class Scoreboard:
    """All slots. Made by the supervisor before it forks; `counts` and `sums` are how many of each a slot has."""

    def __init__(self, counts: int, sums: int) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SLOT_SIZE)
        self.past, self.admin, *self._workers = (Slot(self._memory, n, counts, sums) for n in range(SLOTS))

    @property
    def is_failing(self) -> bool:
        """Workers end again and again, soon after they were started. The supervisor says so."""
        return self.past.heartbeats[0] > 0

    def set_failing(self, is_failing: bool) -> None:  # noqa: FBT001 - its only argument
        self.past.heartbeats[0] = float(is_failing)

    def workers(self) -> Iterator[Slot]:
        """Yield the slots that somebody has."""
        return (slot for slot in self._workers if slot.phase is not Phase.NONE)

    def claim(self) -> Slot:
        """Return a slot for a worker about to be forked. Raises OSError where all are taken."""
        for slot in self._workers:
            if slot.phase is Phase.NONE:
                slot.claim()
                return slot
        raise OSError(EAGAIN, "too many processes")

    def release(self, slot: Slot) -> None:
        """The worker is gone: what it has counted stays counted, and is never to be seen in both places at once."""
        counts, sums = slot.empty()
        self.past.add(counts, sums)
        slot.vacate()
