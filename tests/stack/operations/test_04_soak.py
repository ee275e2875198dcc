"""make soak: a short run, and the report of a long one."""

from collections import Counter

import pytest

from tests.stack.operating import PATIENCE
from tests.stack.soak import EXPECTED_COUNTS, Soak, Tally, growing, report
from tests.stack.stack import Stack

pytestmark = pytest.mark.timeout(PATIENCE)


def test_a_short_soak_loses_nothing(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Soak(stack, seconds=10).run()
    assert report(tally)
    assert capsys.readouterr().out.endswith("\nlost: 0\n")
    assert tally.counts["worker killed"] + tally.counts["web reloaded"] > 0
    assert any(name.startswith("web") for name in tally.usage)


BUSY = dict.fromkeys(EXPECTED_COUNTS, 1)


@pytest.mark.parametrize(
    ("lost", "counts", "output"),
    [
        (["cat.jpg: 404"], BUSY, "LOST cat.jpg: 404\nlost: 1\n"),
        ([], BUSY | {"upload: error 401": 3}, "WRONG upload: error 401: no failure explains that\nlost: 0\n"),
        ([], BUSY | {"view: hung": 1}, "WRONG view: hung: no failure explains that\nlost: 0\n"),
        ([], dict.fromkeys(EXPECTED_COUNTS[1:], 1), "NEVER upload: stored\nlost: 0\n"),
    ],
)
def test_the_report_of_a_soak_names_losses_and_missing_work(
    capsys: pytest.CaptureFixture[str], lost: list[str], counts: dict[str, int], output: str
) -> None:
    assert not report(Tally(lost=lost, counts=Counter(counts)))
    assert capsys.readouterr().out.endswith(output)


def test_a_request_answered_with_an_error_is_not_a_loss(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Tally(counts=Counter(BUSY | {"upload: error 502": 3, "view: cut off": 1})))
    assert capsys.readouterr().out.endswith("\nlost: 0\n")


@pytest.mark.parametrize(
    ("samples", "grows"),
    [
        ([(100, 50)] * 40, False),
        ([(100 + number % 7 * 20, 50) for number in range(40)], False),
        ([(100 + number * 10, 50) for number in range(40)], True),
        ([(100, 50 + number * 10) for number in range(40)], True),
        ([(100 + number * 100, 50) for number in range(5)], False),
    ],
    ids=["flat", "up and down", "memory", "descriptors", "too few looks"],
)
def test_steady_growth_is_reported(samples: list[tuple[float, float]], grows: bool) -> None:
    assert bool(growing({"web_1": samples})) is grows
