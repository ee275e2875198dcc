"""How commands wait, ask for confirmation and fail."""

import io
import time

import pytest

from scripts.ops import console
from scripts.ops.console import Failure, Progress

DONE, WAITING, HOPELESS = Progress.DONE, Progress.WAITING, Progress.HOPELESS


@pytest.mark.parametrize(
    ("found", "expected"), [([DONE], True), ([WAITING, DONE], True), ([HOPELESS], False), ([WAITING, HOPELESS], False)]
)
def test_waiting_ends_with_success_or_when_success_is_impossible(found: list[Progress], expected: bool) -> None:
    assert console.wait_until("it", 60, iter(found).__next__) is expected


def test_waiting_ends_after_the_timeout() -> None:
    began = time.monotonic()
    assert not console.wait_until("it", 0.1, lambda: WAITING)
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize(
    ("yes", "answer", "expected"), [("1", "", True), ("", "yes\n", True), ("", "no\n", False), ("0", "", False)]
)
def test_only_yes_confirms_a_question(monkeypatch: pytest.MonkeyPatch, yes: str, answer: str, expected: bool) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert console.is_confirmed({"YES": yes}) is expected


def test_a_failure_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> None:
        raise Failure("this is wrong; that would be right")

    assert console.outcome(fail, []) == 1
    assert capsys.readouterr().err == "error: this is wrong; that would be right\n"
