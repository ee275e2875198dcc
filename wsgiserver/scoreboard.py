"""What processes tell each other: counters and states in memory shared by `fork`. No file, no socket, no lock.

    slot 0      the supervisor's: whether the server is stopping or failing, and the counts of workers that are gone
    slot 1      the admin listener's process
    slot 2..n   one worker each, written by that worker alone, and by the supervisor while nobody has it

A worker counts in its own lists (`Slot.counts`, `Slot.sums`), which costs next to nothing, and publishes all of them
in one piece when its loop has nothing else to do. It knows no HTTP and no signal; clocks are arguments.
"""

import mmap
import struct
from collections.abc import Iterator
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
    """One page: `pid` and `phase`, two `signs` of life, then `counts` (integers) and `sums` (floats).

    The signs are times of `time.monotonic`: when the worker's loop last came back from waiting, 0 while it waits; and
    when its watchdog last saw that the loop is kept waiting by the application, as it may be.
    """

    def __init__(self, memory: mmap.mmap, index: int, counts: int, sums: int) -> None:
        self.counts = [0] * counts  # by name: see metrics.py
        self.sums = [0.0] * sums
        page = memoryview(memory)[index * SLOT_SIZE : (index + 1) * SLOT_SIZE]
        self._integers = page[:16].cast("q")
        self.signs = page[16:32].cast("d")
        self._published = page[32:]
        self._numbers = struct.Struct(f"={counts}q{sums}d")

    @property
    def pid(self) -> int:
        return self._integers[0]

    @property
    def phase(self) -> Phase:
        return Phase(self._integers[1])

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._integers[1] = phase

    def advance(self, phase: Phase) -> bool:
        """Go on to `phase`; returns whether that was a step forward."""
        is_forward = phase > self.phase
        if is_forward:
            self.phase = phase
        return is_forward

    @property
    def busy_since(self) -> float:
        return self.signs[0]

    @property
    def silent_since(self) -> float:
        """When there was the last sign of life from a worker that should give some; 0 for one that waits."""
        return self.signs[0] and max(self.signs)

    def take(self, pid: int) -> None:
        """The slot is `pid`'s from now on."""
        self._integers[0] = pid

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
        return self.past.signs[0] > 0

    @is_failing.setter
    def is_failing(self, value: bool) -> None:
        self.past.signs[0] = float(value)

    def workers(self) -> Iterator[Slot]:
        """Yield the slots that somebody has."""
        return (slot for slot in self._workers if slot.phase is not Phase.NONE)

    def claim(self) -> Slot:
        """Return a slot for a worker about to be forked. Raises OSError where all are taken."""
        for slot in self._workers:
            if slot.phase is Phase.NONE:
                slot.phase = Phase.STARTING
                return slot
        raise OSError(EAGAIN, "too many processes")

    def release(self, slot: Slot) -> None:
        """The worker is gone: what it has counted stays counted, and is never to be seen in both places at once."""
        counts, sums = slot.read()
        slot.counts, slot.sums = [0] * len(counts), [0.0] * len(sums)
        slot.publish()
        past = self.past
        past.counts = [old + new for old, new in zip(past.counts, counts, strict=True)]
        past.sums = [old + new for old, new in zip(past.sums, sums, strict=True)]
        past.publish()
        slot.signs[0] = 0.0
        slot.take(0)
        slot.phase = Phase.NONE
