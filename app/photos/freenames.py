"""Finds free names for all files of a form in a few queries, however many photos have similar names.

`cat.jpg`, `cat-2.jpg`, `cat-3.jpg`: the numbers of a name rarely have gaps, so their end is found by doubling and then
by bisection. Each query covers all names of the form. This module knows no database: `taken` returns which of the given
names are taken. Another request may take a name that was just free; library.py then tries again.
"""

from collections.abc import Callable, Collection, Sequence

from photos import names

# Added to a name's first number: close together where most names end, then doubling or more.
_AHEAD = (0, 1, 2, 3, 7, 15, 255, 4095, 2**16, 2**20, 2**24, 2**28)
_QUESTIONS = 400  # names per query, shared by all names of the form

Taken = Callable[[Collection[str]], set[str]]


class _Memory:
    """Calls `taken`, and never again for a name that was free."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._free: set[str] = set()

    def taken(self, wanted: Collection[str]) -> set[str]:
        unknown = set(wanted) - self._free
        found = self._taken(unknown) if unknown else set()
        self._free |= unknown - found
        return found


def free(wanted: Sequence[str], taken: Taken) -> list[str]:
    """Return for each wanted name, in order, the name or its next free variant; no two results are equal."""
    memory = _Memory(taken)
    starts = dict.fromkeys(wanted, 1)
    tried: set[str] = set()
    chosen: dict[int, str] = {}
    while left := [index for index in range(len(wanted)) if index not in chosen]:
        starts.update(_ends({wanted[index]: starts[wanted[index]] for index in left}, memory.taken))
        candidates = {}
        for index in left:
            name, starts[wanted[index]] = _next(wanted[index], starts[wanted[index]], tried)
            candidates[index] = name
            tried.add(name)
        gone = memory.taken(candidates.values())
        chosen |= {index: name for index, name in candidates.items() if name not in gone}
    return [chosen[index] for index in range(len(wanted))]


def _next(name: str, number: int, tried: set[str]) -> tuple[str, int]:
    """Return the first variant from `number` on that this form has not tried, and the number after it."""
    while (variant := names.variant(name, number)) in tried:
        number += 1
    return variant, number + 1


def _ends(starts: dict[str, int], taken: Taken) -> dict[str, int]:
    """Return for each name a free number after a taken one: without gaps, this is the end."""
    ends: dict[str, int] = {}
    probes = {name: [start + ahead for ahead in _AHEAD] for name, start in starts.items()}
    while probes:
        known = taken({names.variant(name, number) for name, numbers in probes.items() for number in numbers})
        most = max(4, _QUESTIONS // len(probes))
        probes = {
            name: _narrowed(numbers, [names.variant(name, number) in known for number in numbers], most)
            for name, numbers in probes.items()
        }
        ends |= {name: numbers[0] for name, numbers in probes.items() if len(numbers) == 1}
        probes = {name: numbers for name, numbers in probes.items() if len(numbers) > 1}
    return ends


def _narrowed(numbers: list[int], are_taken: list[bool], most: int) -> list[int]:
    """Return the numbers to query next; a single number is the result. `numbers` are in ascending order."""
    if all(are_taken):
        return [numbers[-1] + ahead for ahead in _AHEAD]
    index = are_taken.index(False)
    if index == 0 or numbers[index] - numbers[index - 1] == 1:
        return [numbers[index]]
    low, high = numbers[index - 1], numbers[index]
    return [*range(low, high, -(-(high - low) // most)), high]
