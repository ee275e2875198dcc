"""When a container holds too much after a soak: warming up is no growth; memory and descriptors are judged apart.

The soak itself runs in tests/stack/operations, because it needs a stack.
"""

from collections import Counter
from itertools import chain, repeat

import pytest

from tests.stack.soak import EXPECTED_COUNTS, WARM_UP, Tally, growing, report

Looks = list[tuple[float, float]]  # MiB, descriptors; each 10 s
HALF_AN_HOUR = 180 - WARM_UP


def warmed_up(memory: float = 187, descriptors: float = 60) -> Looks:
    """What web had: it grows for two minutes, and then not."""
    return [(160 + look * 27 / WARM_UP, 50) for look in range(WARM_UP)] + [(memory, descriptors)] * HALF_AN_HOUR


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (warmed_up(), []),
        (warmed_up(descriptors=500), []),  # of which it needs as many from then on
        ([*warmed_up()[:-20], *repeat((212, 75), 20)], []),
        ([*warmed_up()[:-20], *repeat((213, 60), 20)], ["web_1: from 187 to 213 MiB of memory"]),
        ([*warmed_up()[:-20], *repeat((187, 76), 20)], ["web_1: from 60 to 76 descriptors"]),
        ([*warmed_up()[:-2], (900, 900), (900, 900)], []),  # at this moment it is busy
        # A megabyte or a descriptor in a minute.
        ([(187 + look / 6, 50) for look in range(180)], ["web_1: from 189 to 216 MiB of memory"]),
        ([(187, 50 + look / 6) for look in range(180)], ["web_1: from 52 to 79 descriptors"]),
        # nginx, which holds little.
        ([(8 + look / 5, 20) for look in range(180)], ["web_1: from 11 to 43 MiB of memory"]),
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
def test_growth_is_reported_only_after_warming_up(looks: Looks, said: list[str]) -> None:
    assert growing({"web_1": looks}) == said


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (warmed_up()[: WARM_UP + 3], []),
        ([(160, 50 + look * 50) for look in range(6)], ["web_1: from 100 to 250 descriptors"]),
        ([(160, 50 + look * 50) for look in range(5)], []),
    ],
    ids=["warming up", "with each request", "too few looks"],
)
def test_growth_in_a_short_run_is_reported_if_it_is_steady(looks: Looks, said: list[str]) -> None:
    assert growing({"web_1": looks}) == said


@pytest.mark.parametrize("troubled", [set(), {"web_1"}])
def test_the_growth_of_a_container_that_was_killed_is_not_reported(
    capsys: pytest.CaptureFixture[str], troubled: set[str]
) -> None:
    held = {"web_1": list(chain(warmed_up()[:-20], repeat((500.0, 60.0), 20)))}
    assert report(Tally(counts=Counter(EXPECTED_COUNTS), usage=held, disturbed=troubled)) == bool(troubled)
    assert ("GROWS web_1" in capsys.readouterr().out) == (not troubled)
