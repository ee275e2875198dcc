"""Counters and states that the processes share: memory from before the `fork`. No file, no socket, no lock.

    slot 0      the supervisor: whether the server is stopping or failing, and the counts of workers that are gone
    slot 1      the process of the admin listener
    slot 2..n   one worker each, written by that worker alone, and by the supervisor while no worker has the slot

It exists because the admin process and the supervisor have to see what each worker does, even when the worker hangs.
A message could not be sent by a worker that hangs, and a lock could be held by one that was killed.

The rule that makes locks unnecessary: each value has one writer. Readers may see a value that is a moment old. A worker
counts in plain lists (`Slot.counts`, `Slot.sums`), which costs next to nothing, and publishes all of them in one piece
when its loop is idle. When a worker is gone, `release` empties its slot before it adds the counts to slot 0. A reader
may miss them for a moment, but never counts them twice.

A heartbeat is a time of `time.monotonic`, which all processes of a machine share.

This module must not know what the counters mean (`metrics.py`), nor any signal; clocks are arguments.
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from errno import EAGAIN
from typing import Final

MAX_WORKERS: Final = 200
MAX_SLOTS: Final = 256  # processes at once, including those that are ending; memory that is never touched costs nothing
SLOT_SIZE: Final = 4096  # bytes: a page each, so that two processes never write to the same one


class WorkerPhase(IntEnum):
    """Where a worker is in its life; it only moves forward. The worker itself sets READY and RETIRING."""

    VACANT = 0  # no process has the slot
    STARTING = 1
    READY = 2  # the application is loaded
    RETIRING = 3  # it asks to be replaced: max_requests, max_memory, or too many stuck threads
    DRAINING = 4  # it was asked to end


class Slot:
    """One page: `pid` and `phase`, two `heartbeats`, then `counts` (integers) and `sums` (floats).

    The first heartbeat is when the worker's loop last returned from waiting, or 0 while it waits. The second is when
    its watchdog last saw that the application blocks the loop, which is allowed.
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
    def phase(self) -> WorkerPhase:
        return WorkerPhase(self._integers[1])

    def advance(self, phase: WorkerPhase) -> bool:
        """Move on to `phase`; returns False, and changes nothing, if that is not forward."""
        is_forward = phase > self.phase
        if is_forward:
            self._integers[1] = phase
        return is_forward

    def claim(self) -> None:
        """Reserve it for a process that is about to be forked."""
        self._integers[1] = WorkerPhase.STARTING

    def vacate(self) -> None:
        """Free it."""
        self.heartbeats[0] = 0.0
        self._integers[0] = 0
        self._integers[1] = WorkerPhase.VACANT

    @property
    def busy_since(self) -> float:
        return self.heartbeats[0]

    @property
    def silent_since(self) -> float:
        """The time of the last heartbeat of a busy worker; 0 for one that waits."""
        return self.heartbeats[0] and max(self.heartbeats)

    def take(self, pid: int) -> None:
        """Give the slot to process `pid`."""
        self._integers[0] = pid

    def count(self, index: int, more: int) -> None:
        self.counts[index] += more

    def add(self, counts: Sequence[int], sums: Sequence[float]) -> None:
        """Add the counts of another slot, and publish them."""
        self.counts = [old + new for old, new in zip(self.counts, counts, strict=True)]
        self.sums = [old + new for old, new in zip(self.sums, sums, strict=True)]
        self.publish()

    def empty(self) -> tuple[list[int], list[float]]:
        """Return what was published, and publish zeros."""
        counts, sums = self.read()
        self.counts, self.sums = [0] * len(counts), [0.0] * len(sums)
        self.publish()
        return counts, sums

    def publish(self) -> None:
        """Make `counts` and `sums` visible to other processes."""
        self._numbers.pack_into(self._published, 0, *self.counts, *self.sums)

    def read(self) -> tuple[list[int], list[float]]:
        """Return `counts` and `sums` as they were published."""
        numbers = self._numbers.unpack_from(self._published)
        return list(numbers[: len(self.counts)]), list(numbers[len(self.counts) :])


class Scoreboard:
    """All slots. Made by the supervisor before it forks; `counts` and `sums` are how many of each a slot has."""

    def __init__(self, counts: int, sums: int) -> None:
        self._memory = mmap.mmap(-1, MAX_SLOTS * SLOT_SIZE)
        self.past, self.admin, *self._workers = (Slot(self._memory, n, counts, sums) for n in range(MAX_SLOTS))

    @property
    def is_failing(self) -> bool:
        """Whether workers end again and again soon after their start. Set by the supervisor."""
        return self.past.heartbeats[0] > 0

    def set_failing(self, is_failing: bool) -> None:  # noqa: FBT001 - its only argument
        self.past.heartbeats[0] = float(is_failing)

    def workers(self) -> Iterator[Slot]:
        """Yield the slots that are taken."""
        return (slot for slot in self._workers if slot.phase is not WorkerPhase.VACANT)

    def claim(self) -> Slot:
        """Return a slot for a worker that is about to be forked. Raises OSError if all are taken."""
        for slot in self._workers:
            if slot.phase is WorkerPhase.VACANT:
                slot.claim()
                return slot
        raise OSError(EAGAIN, "too many processes")

    def release(self, slot: Slot) -> None:
        """The worker is gone: move its counts to slot 0. They are never visible in both places at once."""
        counts, sums = slot.empty()
        self.past.add(counts, sums)
        slot.vacate()
