"""What minutes of hostile pictures have shown: each fault is told and fails, and so does what was never tried.

The run itself is in tests/stack/operations, because it needs a stack.
"""

from collections import Counter

import pytest

from tests.stack.attack import ORDINARY_STATUSES, Record, report

ALL = {"bomb", *ORDINARY_STATUSES}


@pytest.mark.parametrize(
    ("faults", "never", "said"),
    [
        ([], "", "7 requests, faults: 0\n"),
        (["put: PUT /api/photos/a: 503 decoder-busy"], "", "FAULT put: PUT /api/photos/a: 503 decoder-busy\n"),
        ([], "bomb", "FAULT never tried: bomb\n6 requests, faults: 1\n"),
        ([], "form", "FAULT never tried: form\n"),
    ],
    ids=["as it should be", "an ordinary request failed", "a picture is missing", "no form was sent"],
)
def test_faults_and_untried_requests_are_reported(
    capsys: pytest.CaptureFixture[str], faults: list[str], never: str, said: str
) -> None:
    tried = ALL - {never}
    counts = Counter({(what, "201"): 1 for what in tried})
    record = Record(counts=counts, slowest=dict.fromkeys(tried, 0.5), faults=faults)
    assert report(record, {"bomb"}) is not bool(faults or never)
    assert said in capsys.readouterr().out
