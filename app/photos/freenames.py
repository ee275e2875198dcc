"""Free names for all files of a form, found in a few questions however many photos are called alike.

`cat.jpg`, `cat-2.jpg`, `cat-3.jpg`: the numbers of one name are mostly a row without gaps, so its end is found as a
word in a dictionary: by doubling, then by narrowing down. All names of the form are looked for with the same questions.
Knows no database: `taken` answers which of some names there are. Another request may take a name that was free a moment
ago; library.py then asks again.
"""

from collections.abc import Callable, Collection, Sequence

from photos import names

# Ahead of a name's first number: close together where most names end, then by doubling and more.
_AHEAD = (0, 1, 2, 3, 7, 15, 255, 4095, 2**16, 2**20, 2**24, 2**28)
_QUESTIONS = 400  # names to ask for at a time, shared by all that are looked for

Taken = Callable[[Collection[str]], set[str]]


class _Memory:
    """Asks `taken`, and never twice for a name that was free."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._free: set[str] = set()

    def taken(self, wanted: Collection[str]) -> set[str]:
        unknown = set(wanted) - self._free
        found = self._taken(unknown) if unknown else set()
        self._free |= unknown - found
        return found


def free(wanted: Sequence[str], taken: Taken) -> list[str]:
    """For each wanted name, in their order, itself or its next variant that is free, and no two alike."""
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
    """The first variant from `number` on that this form has not tried, and the number after it."""
    while (variant := names.variant(name, number)) in tried:
        number += 1
    return variant, number + 1


def _ends(starts: dict[str, int], taken: Taken) -> dict[str, int]:
    """For each name, from its number on, one that is free behind one that is taken: the end, if there are no gaps."""
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
    """The numbers to ask for next: one alone is the answer. `numbers` ascend."""
    if all(are_taken):
        return [numbers[-1] + ahead for ahead in _AHEAD]
    index = are_taken.index(False)
    if index == 0 or numbers[index] - numbers[index - 1] == 1:
        return [numbers[index]]
    low, high = numbers[index - 1], numbers[index]
    return [*range(low, high, -(-(high - low) // most)), high]
