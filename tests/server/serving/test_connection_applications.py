"""Connections whose application hangs or fails."""

import os
import random
import select
import sys
from pathlib import Path

import pytest

from tests.server.serving.link import BIG, NOW, Answers, Events, Link, SlowClose, hang
from tests.wire.building import request
from tests.wire.polling import PATIENCE, poll
from wsgiserver.serving.states import State, Verdict


@pytest.mark.parametrize("target", ["/hang", "/hang-fail"])
def test_a_call_that_times_out_before_its_response_gets_504(link: Link, events: Events, target: str) -> None:
    """The client gets 504 once; the server discards the later response of the application."""
    thread = hang(link, target)
    connection = link.connection
    assert not connection.exchange.time_out(object(), 5.0, "")
    assert connection.exchange.time_out(connection.exchange.response, 5.0, "the stack")
    connection.note_time_out(NOW + 5)
    answer = link.client.answer()
    assert (answer.status, answer.headers["connection"]) == (504, "close")
    assert answer.refused == "application-timeout"
    (record,) = link.logged()
    assert (record["status"], record["error"], record["application_seconds"]) == (504, "application-timeout", 5.0)
    link.calls.gate.set()
    thread.join(PATIENCE)
    assert connection.resume(NOW + 6) is Verdict.CLOSE
    assert link.client.rest() == b""
    assert link.logged() == []
    (event,) = [event for event in events() if event["event"] == "application-timeout"]
    assert (event["path"], event["stack"]) == (target, "the stack")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_call_that_times_out_in_its_response_resets_the_connection(link: Link, version: str) -> None:
    """The client sees that the response is incomplete. In HTTP/1.0, only a reset shows that."""
    thread = hang(link, "/hang-middle", version)
    before = link.connection.exchange.progress
    assert before == link.connection.exchange.progress
    assert link.connection.exchange.time_out(link.connection.exchange.response, 5.0, "")
    with pytest.raises(ConnectionResetError):
        link.client.rest()
    link.calls.gate.set()
    thread.join(PATIENCE)
    assert link.connection.resume(NOW + 6) is Verdict.CLOSE
    (record,) = link.logged()
    assert (record["status"], record["error"]) == (200, "application-timeout")


def test_a_call_that_has_ended_cannot_be_timed_out(link: Link) -> None:
    link.client.send(request("GET", "/") * 2)
    poll(lambda: link.connection.receive(NOW) is Verdict.RUN, "the request")
    link.connection.exchange.respond()
    first = link.connection.exchange.response
    assert not link.connection.exchange.time_out(first, 5.0, "")
    link.verdict = link.connection.resume(NOW)
    assert not link.connection.exchange.time_out(first, 5.0, "")
    link.drive()
    assert link.client.answer().status == 200


@pytest.mark.parametrize("target", [f"/big-{BIG}", f"/stream-{BIG // 1000}"])
def test_the_loop_sends_the_response_to_a_slow_reader(link: Link, target: str) -> None:
    link.feed(request("GET", target) + request("GET", "/big-3"), State.SENDING)
    assert link.verdict is Verdict.WRITE
    assert link.connection.deadline == NOW + 30
    assert len(link.calls) == 1, "the next request waits for its turn"
    reader = Answers(link.client, 2)
    link.reach(State.HEAD, NOW + 1)
    assert [len(answer.body) for answer in reader.all()] == [BIG, 3]


def test_a_reader_that_stops_is_closed_and_logged_with_the_bytes_sent(link: Link) -> None:
    link.feed(request("GET", f"/big-{BIG}"), State.SENDING)
    link.expire(State.CLOSED)
    (record,) = link.logged()
    assert record["status"] == 200
    assert 0 < record["sent_bytes"] < BIG, "discarded data does not count as sent"


@pytest.mark.parametrize("cause", ["reset", "close"])
def test_a_client_that_disconnects_during_its_response_is_logged(link: Link, cause: str) -> None:
    link.feed(request("GET", f"/big-{BIG}"), State.SENDING)
    link.reset() if cause == "reset" else link.client.socket.close()
    link.reach(State.CLOSED)
    assert [record["status"] for record in link.logged()] == [200]


@pytest.mark.parametrize("target", [f"/big-{BIG}", "/stream-9", "/raise"])
def test_a_client_that_disconnects_before_its_response_is_closed(link: Link, target: str) -> None:
    link.client.send(request("GET", target))
    assert select.select([link.connection.socket], [], [], PATIENCE)[0]
    link.verdict = link.connection.receive(NOW)
    assert link.verdict is Verdict.RUN
    link.reset()
    link.reach(State.CLOSED)


@pytest.fixture
def download(link: Link, tmp_path: Path) -> Path:
    """Return the file that /file sends."""
    link.calls.path = tmp_path / "download"
    link.calls.path.write_bytes(random.Random(9).randbytes(BIG))
    return link.calls.path


def is_open(path: Path) -> bool:
    return any(each.is_symlink() and each.readlink() == path for each in Path("/proc/self/fd").iterdir())


def test_the_loop_sends_a_download(link: Link, download: Path) -> None:
    """The loop closes the file, the thread is free, nothing is spooled, and the next request waits."""
    link.feed(request("GET", "/file") + request("GET", "/big-3"), State.SENDING)
    assert link.verdict is Verdict.WRITE
    assert len(link.calls) == 1
    reader = Answers(link.client, 2)
    link.reach(State.HEAD, NOW + 1)
    assert [answer.body for answer in reader.all()] == [download.read_bytes(), b"xxx"]
    assert [record["sent_bytes"] for record in link.logged()] == [BIG, 3]
    assert not is_open(download)


@pytest.mark.parametrize("cause", ["reset", "close", "timeout"])
def test_a_download_that_is_cut_off_leaves_no_descriptor(link: Link, download: Path, cause: str) -> None:
    link.feed(request("GET", "/file"), State.SENDING)
    assert is_open(download)
    if cause == "timeout":
        link.expire(State.CLOSED)
    else:
        link.reset() if cause == "reset" else link.client.socket.close()
        link.reach(State.CLOSED)
    assert not is_open(download)


def test_a_connection_that_is_turned_away_closes_its_file(link: Link, download: Path) -> None:
    link.feed(request("GET", "/file"), State.SENDING)
    link.verdict = link.connection.turn_away(NOW)
    link.expire(State.CLOSED)
    assert not is_open(download)


def test_a_file_that_shrinks_resets_the_connection(link: Link, download: Path, events: Events) -> None:
    link.feed(request("GET", "/file"), State.SENDING)
    os.truncate(download, 10)
    read_until_reset(link)
    assert not is_open(download)
    (event,) = events()
    assert "shorter" in event["error"]


def test_a_complete_response_is_not_timed_out_by_a_slow_close(link: Link) -> None:
    SlowClose.link = link
    link.feed(request("GET", "/slowclose") * 2, State.SENDING)
    reader = Answers(link.client, 2)
    link.reach(State.HEAD)
    assert [(answer.status, len(answer.body)) for answer in reader.all()] == [(200, BIG)] * 2
    assert [(record["status"], record["error"]) for record in link.logged()] == [(200, "")] * 2


def test_early_hints_are_sent_with_pipelined_requests(link: Link) -> None:
    link.feed(request("GET", "/hint") + request("GET", "/big-3") + request("GET", "/hint"))
    answers = [link.client.answer() for _ in range(5)]
    assert [answer.status for answer in answers] == [103, 200, 200, 103, 200]
    assert dict(answers[0].headers) == {"Link": "</a>"}


def test_an_application_that_fails_before_its_response_gets_500(link: Link, events: Events) -> None:
    for target in ("/raise", "/exit"):
        link = Link()
        link.feed(request("GET", target), State.CLOSED)
        answer = link.client.answer()
        assert (answer.status, answer.headers["connection"]) == (500, "close")
        assert answer.refused == "internal-error"
        assert "on purpose" not in answer.body.decode()
        (record,) = link.logged()
        assert (record["status"], record["error"]) == (500, "internal-error")
        (event,) = events()
        assert event["event"] == "application-error"
        assert "Traceback" in event["error"]
        link.close()


def test_the_500_for_a_head_request_has_no_body(link: Link) -> None:
    link.feed(request("HEAD", "/raise"), State.CLOSED)
    answer = link.client.answer(method="HEAD")
    assert answer.status == 500
    assert link.client.rest() == b""


@pytest.mark.parametrize("target", ["/cut-10", "/cut-100000", "/short-10", f"/cut-{BIG}"])
def test_an_application_that_fails_in_its_response_resets_the_connection(link: Link, target: str) -> None:
    """After a plain end, the client could take the part for the whole response."""
    link.client.send(request("GET", target))
    read_until_reset(link)


def read_until_reset(link: Link) -> None:
    with pytest.raises(ConnectionError):  # noqa: PT012 - the reset may come at any read
        while True:
            if link.connection.state is not State.CLOSED:
                select.select([link.connection.socket], [], [], 0.01)
                link.drive()
            assert link.client.socket.recv(1 << 20), "the connection ended without a reset"
    assert link.connection.state is State.CLOSED


@pytest.mark.parametrize(
    ("target", "body", "error"),
    [("/long-1", b"a", "longer than its Content-Length"), ("/badclose", b"whole", "in close")],
    ids=["it goes on beyond its length", "its end fails"],
)
def test_a_failure_after_a_complete_response_loses_no_pipelined_request(
    link: Link, events: Events, target: str, body: bytes, error: str
) -> None:
    """The response did not announce the end of the connection, so the next request may have been sent."""
    link.feed(request("GET", target) + request("GET", "/big-4"))
    assert link.client.answer().body == body
    assert link.client.answer().body == b"xxxx"
    assert error in events()[0]["error"]


def test_a_missing_stderr_does_not_prevent_the_500(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    link.feed(request("GET", "/raise"), State.CLOSED)
    assert link.client.answer().status == 500
