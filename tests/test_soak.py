"""Growth that a soak reports: warming up does not count; memory and descriptors have separate limits.

The soak itself runs in tests/stack/operations, because it needs a stack.
"""

from collections import Counter
from itertools import chain, repeat

import pytest

from tests.stack.soak import EXPECTED_COUNTS, WARM_UP, Tally, growing, report

Samples = list[tuple[float, float]]  # MiB, descriptors; each 10 s
HALF_AN_HOUR = 180 - WARM_UP


def warmed_up(memory: float = 187, descriptors: float = 60) -> Samples:
    """Return samples of web: it grows for two minutes, and then no longer."""
    return [(160 + index * 27 / WARM_UP, 50) for index in range(WARM_UP)] + [(memory, descriptors)] * HALF_AN_HOUR


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (warmed_up(), []),
        (warmed_up(descriptors=500), []),  # it needs that many from then on
        ([*warmed_up()[:-20], *repeat((212, 75), 20)], []),
        ([*warmed_up()[:-20], *repeat((213, 60), 20)], ["web_1: from 187 to 213 MiB of memory"]),
        ([*warmed_up()[:-20], *repeat((187, 76), 20)], ["web_1: from 60 to 76 descriptors"]),
        ([*warmed_up()[:-2], (900, 900), (900, 900)], []),  # it is busy at this moment
        # A megabyte or a descriptor in a minute.
        ([(187 + index / 6, 50) for index in range(180)], ["web_1: from 189 to 216 MiB of memory"]),
        ([(187, 50 + index / 6) for index in range(180)], ["web_1: from 52 to 79 descriptors"]),
        # nginx, which needs little memory.
        ([(8 + index / 5, 20) for index in range(180)], ["web_1: from 11 to 43 MiB of memory"]),
    ],
    ids=[
        "steady",
        "more descriptors from the start",
        "just within the limits",
        "too much memory",
        "too many descriptors",
        "a peak at the end",
        "a megabyte per minute",
        "a descriptor per minute",
        "a small container",
    ],
)
def test_growth_is_reported_only_after_warming_up(samples: Samples, expected: list[str]) -> None:
    assert growing({"web_1": samples}) == expected


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (warmed_up()[: WARM_UP + 3], []),
        ([(160, 50 + index * 50) for index in range(6)], ["web_1: from 100 to 250 descriptors"]),
        ([(160, 50 + index * 50) for index in range(5)], []),
    ],
    ids=["warming up", "with each request", "too few looks"],
)
def test_growth_in_a_short_run_is_reported_if_it_is_steady(samples: Samples, expected: list[str]) -> None:
    assert growing({"web_1": samples}) == expected


@pytest.mark.parametrize("troubled", [set(), {"web_1"}])
def test_the_growth_of_a_container_that_was_killed_is_not_reported(
    capsys: pytest.CaptureFixture[str], troubled: set[str]
) -> None:
    held = {"web_1": list(chain(warmed_up()[:-20], repeat((500.0, 60.0), 20)))}
    assert report(Tally(counts=Counter(EXPECTED_COUNTS), usage=held, disturbed=troubled)) == bool(troubled)
    assert ("GROWS web_1" in capsys.readouterr().out) == (not troubled)
