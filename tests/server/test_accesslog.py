"""One finished request, one line of JSON: whatever a client or an application puts into it."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgiserver.accesslog import AccessLog, NoLog, Record, event

RECORD = Record("192.0.2.1", "id", "GET", "/", 200, 0, 5, "none", "none", 0.0001, 1.5, 0.00000001, "")


class Lines:
    """A log that writes to a pipe."""

    def __init__(self, clock: Callable[[], float] = lambda: 784111777.0625) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)
        self.log = AccessLog(self.writer, clock)

    def read(self) -> list[str]:
        try:
            return os.read(self.reader, 1 << 20).decode("ascii").splitlines(keepends=True)
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines()
    yield made
    made.close()


def check(lines: Lines, record: Record) -> dict[str, Any]:
    """One record is one line, and says what the record says."""
    lines.log.add(record)
    lines.log.flush()
    (line,) = lines.read()
    assert line.endswith("}\n")
    assert line.isascii()
    assert line[:-1].isprintable()
    said: dict[str, Any] = json.loads(line)
    assert said.pop("time") == "1994-11-06T08:49:37.062Z"
    assert said.pop("event") == "request"
    assert tuple(said) == Record._fields
    times = {"receive", "application", "send"}
    assert {key: value for key, value in said.items() if key not in times} == {
        key: value for key, value in record._asdict().items() if key not in times
    }
    assert all(said[key] == pytest.approx(getattr(record, key), abs=1e-6) for key in times)
    return said


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"',
        '","status":200,"x":"',
        "\n",
        '\r\n{"time":"now","event":"request"}\r\n',
        "\0\x1b[31m\x7f",
        "\\",
        "\\u0022",
        "\u2028\u2029\x85",
        "\xe9\xff",
        "\udcff",
        "x" * 10_000,
    ],
)
def test_nothing_can_be_forged(lines: Lines, text: str) -> None:
    check(lines, RECORD._replace(client=text, request_id=text, method=text, target=text))


@given(st.text(), st.text(), st.integers(0, 2**63), st.floats(0, 1e6))
def test_whatever_is_in_it(target: str, request_id: str, size: int, seconds: float) -> None:
    lines = Lines()
    check(lines, RECORD._replace(target=target, request_id=request_id, received=size, send=seconds))
    lines.close()


def test_lines_are_gathered_and_not_held_back_for_long(lines: Lines) -> None:
    lines.log.add(RECORD)
    assert lines.read() == []
    lines.log.flush()
    assert len(lines.read()) == 1
    lines.log.flush()
    assert lines.read() == []
    for _ in range(70):
        lines.log.add(RECORD)
    assert len(lines.read()) == 64
    lines.log.flush()
    assert len(lines.read()) == 6


def test_a_log_nobody_reads_costs_no_request() -> None:
    lines = Lines()
    os.close(lines.reader)
    for _ in range(100):
        lines.log.add(RECORD)
    lines.log.flush()
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device, not a path
        log = AccessLog(full.fileno())
        log.add(RECORD)
        log.flush()
    os.close(lines.writer)


def test_no_log(lines: Lines) -> None:
    log = NoLog(lines.writer)
    log.add(RECORD)
    log.flush()
    assert lines.read() == []


def test_the_time_goes_on() -> None:
    seconds = iter([0.0, 0.999, 1.0, 59.9999])
    lines = Lines(lambda: next(seconds))
    for _ in range(4):
        lines.log.add(RECORD)
    lines.log.flush()
    assert [json.loads(line)["time"][17:] for line in lines.read()] == ["00.000Z", "00.999Z", "01.000Z", "59.999Z"]
    lines.close()


def test_events(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    event("happened", text='a"b\n\u20ac', number=1.5, count=3)
    monkeypatch.setattr("sys.stderr", None)
    event("again")
    first, second = map(json.loads, capfd.readouterr().err.splitlines())
    assert (first["event"], first["pid"], first["text"]) == ("happened", os.getpid(), 'a"b\n\u20ac')
    assert (first["number"], first["count"]) == (1.5, 3)
    assert second["event"] == "again"
