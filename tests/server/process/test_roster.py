"""The next worker to start or stop: the rule as a table, then applied until no move is left."""

from collections.abc import Iterator

import pytest

from wsgiserver.process.roster import Move, WorkerRecord, next_move
from wsgiserver.telemetry.scoreboard import Scoreboard, WorkerPhase

PHASES = {"s": WorkerPhase.STARTING, "r": WorkerPhase.READY, "t": WorkerPhase.RETIRING}


def roster(text: str) -> list[WorkerRecord]:
    """Make workers, oldest first: s(tarting), r(eady), re(t)iring; capital: outdated; followed by -: leaving."""
    board = Scoreboard(0, 0)
    workers: list[WorkerRecord] = []
    for letter in text:
        if letter == "-":
            workers[-1].kill_at = 99.0
            continue
        slot = board.claim()
        assert slot is not None
        slot.advance(PHASES[letter.lower()])
        workers.append(WorkerRecord(len(workers), slot, float(len(workers)), outdated=letter.isupper()))
    return workers


@pytest.mark.parametrize(
    ("workers", "wanted", "move", "pid"),
    [
        ("", 1, Move.START, None),
        ("r", 2, Move.START, None),
        ("r-", 1, Move.START, None),  # it is leaving: it hangs, or another process stopped it
        ("rr", 2, Move.NONE, None),
        ("rt", 2, Move.START, None),
        ("rts", 2, Move.NONE, None),
        ("rtr", 2, Move.STOP, 1),
        ("rt-r", 2, Move.NONE, None),
        ("tt", 2, Move.START, None),
        ("t-tr", 2, Move.NONE, None),  # one at a time
        ("RR", 2, Move.START, None),
        ("RRs", 2, Move.NONE, None),
        ("RRr", 2, Move.STOP, 0),
        ("R-Rr", 2, Move.NONE, None),
        ("Rr", 2, Move.START, None),
        ("RRS", 2, Move.STOP, 2),  # a reload during a reload: the starting worker stops first
        ("RRS-", 2, Move.NONE, None),
        ("S", 1, Move.START, None),
        ("Ss", 1, Move.STOP, 0),
        ("R", 2, Move.START, None),  # the other worker died meanwhile
        ("Rs", 2, Move.START, None),
        ("Rss", 2, Move.NONE, None),
        ("rrr", 2, Move.STOP, 0),
        ("rrs", 2, Move.STOP, 2),
        ("rtr", 1, Move.STOP, 1),
        ("RRr", 1, Move.STOP, 0),
        ("R-Rr", 1, Move.STOP, 1),
    ],
)
def test_the_next_move_follows_from_the_workers_and_their_wanted_number(
    workers: str, wanted: int, move: Move, pid: int | None
) -> None:
    decision, member = next_move(roster(workers), wanted)
    assert decision is move
    assert (member.pid if member else None) == pid


def apply_rule(workers: list[WorkerRecord], wanted: int) -> Iterator[list[WorkerRecord]]:
    """Apply the rule. If it has no move, leaving workers end and starting workers become ready."""
    board, number = Scoreboard(0, 0), 100
    while True:
        move, member = next_move(workers, wanted)
        if member:
            member.kill_at = 99.0
        elif move is Move.START:
            slot = board.claim()
            assert slot is not None
            number += 1
            workers.append(WorkerRecord(number, slot, float(number)))
        else:
            slow = [worker for worker in workers if worker.is_leaving or worker.is_starting]
            if not slow:
                return
            workers = [worker for worker in workers if not worker.is_leaving]
            for worker in workers:
                worker.slot.advance(WorkerPhase.READY)
        yield workers


def serving(workers: list[WorkerRecord]) -> list[WorkerRecord]:
    return [worker for worker in workers if not worker.is_starting and not worker.is_leaving]


@pytest.mark.parametrize("start", ["", "R", "RRR", "ttt", "RtRsS", "R-R-R-", "rrrrrr", "SSS", "Rrrrtt-"])
@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_the_roster_settles_at_the_wanted_number_of_current_workers(start: str, wanted: int) -> None:
    workers = current = roster(start)
    least = min(wanted, len(serving(workers)))
    for current in apply_rule(workers, wanted):
        assert len(serving(current)) >= least, "fewer workers serve than before"
    assert len(current) == wanted
    assert serving(current) == current
    assert not any(worker.has_to_go for worker in current)
