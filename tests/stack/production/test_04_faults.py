"""Faults of a stack as in production: the database stops, or one of several containers dies.

As in test_08_faults.py, afterwards every upload answered 201 is stored, no other is, and the stack is healthy again.
"""

import contextlib
import re
from collections.abc import Iterable
from typing import Any

import pytest

from tests.stack.faults import (
    PHOTO,
    RECOVERS_WITHIN,
    SLOW,
    UNREACHABLE,
    check_temporary_error,
    checked_uploads,
    killer_within,
)
from tests.stack.pictures import MEGABYTE, padded
from tests.stack.stack import Stack, run
from tests.stack.wire import Request, exchange
from tests.wire.answers import Answer
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(SLOW)

DATABASE_DOWN = (503, "database-unavailable")


def ask(stack: Stack, target: str, **fields: str) -> Answer:
    with stack.nginx("web") as wire:
        return exchange(wire, Request("GET", target, fields), None)


# --- the database -----------------------------------------------------------------------------------------------------


def test_a_stopped_database_is_reported_until_it_is_started(production: Stack) -> None:
    """Uploads and pages get an error; requests that need no database succeed."""
    with checked_uploads(production, may_sweep=True) as uploads, contextlib.ExitStack() as afterwards:
        halves = [uploads.begin(*way) for way in (("buffered", "length"), ("streamed", "chunked"))]
        afterwards.callback(production.compose, "start", "db")  # if the test fails, the next one finds a database
        production.compose("stop", "db")
        for upload in halves:
            check_temporary_error(upload.finish(), DATABASE_DOWN)
        check_temporary_error(uploads.whole("direct").answer, DATABASE_DOWN)
        check_temporary_error(ask(production, "/api/photos/"), DATABASE_DOWN)
        check_page(ask(production, "/", Accept="text/html"))
        readiness = ask(production, "/readyz")
        assert (readiness.status, readiness.json()["database"]) == (503, "failed")
        assert ask(production, "/healthz").status == 200
        production.compose("start", "db")
        poll(lambda: ask(production, "/readyz").status == 200, "the database is reachable again", RECOVERS_WITHIN)
    for upload in halves:
        assert production.probe("photo", upload.name) is None


def check_page(page: Answer) -> None:
    assert (page.status, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert int(page.headers["Retry-After"]) > 0
    assert b"database-unavailable" in page.body
    assert b"Traceback" not in page.body


def test_a_killed_database_restarts_and_web_reconnects(production: Stack) -> None:
    """The engine restarts it, and web opens new connections."""
    before = production.container("db")
    with (
        checked_uploads(production, may_sweep=True, unknown=frozenset({503})) as uploads,
        uploads.traffic(),
    ):
        poll(lambda: len(uploads.uploads) > 3, "uploads are under way", RECOVERS_WITHIN)
        production.kill(before)
        production.wait_until_restarted("db", before, RECOVERS_WITHIN)
        poll(lambda: ask(production, "/readyz").status == 200, "the database is reachable again", RECOVERS_WITHIN)


# --- one of several containers ----------------------------------------------------------------------------------------


def test_a_killed_replica_is_restarted_and_new_requests_are_served(production: Stack) -> None:
    """Requests that it had get an error, new ones succeed, and the engine restarts it."""
    victim = production.replicas("web")[0]
    with checked_uploads(production, may_sweep=True) as uploads:
        # Enough for each of the three to get one: streamed, nginx chooses by chance.
        halves = [uploads.begin("streamed", framing) for framing in ("length", "chunked") * 9]
        production.kill(victim)
        for number in range(6):
            uploads.stored("buffered", ["length", "chunked", "form"][number % 3])
            assert ask(production, "/api/photos/").status == 200
        for upload in halves:
            upload.finish()
            assert upload.status in {201, 502}, str(upload)
        lost = [upload for upload in halves if upload.status == 502]
        assert 0 < len(lost) < len(halves)
        for upload in lost:
            check_temporary_error(upload.answer, UNREACHABLE)
        poll(lambda: is_restarted(production, victim), "the container has restarted", RECOVERS_WITHIN)


def test_a_stopped_replica_gets_no_requests_until_it_is_started(production: Stack) -> None:
    """The engine does not restart it. Buffered uploads never fail; streamed ones succeed as soon as nginx has resolved
    the name again (docs/adr/0004). After its start it gets requests again.
    """
    victim = production.replicas("web")[0]
    address = address_of(production, victim)
    with checked_uploads(production) as uploads, contextlib.ExitStack() as afterwards:
        poll(lambda: address in active_servers(production), "it gets requests", RECOVERS_WITHIN)
        afterwards.callback(run, "docker", "start", victim["Id"])  # if the test fails, the next one finds it
        run("docker", "stop", victim["Id"])
        for _ in range(3):
            uploads.stored("buffered")
        poll(lambda: address not in active_servers(production), "it gets no requests", RECOVERS_WITHIN)
        sent = [uploads.stored("streamed" if number % 2 else "buffered") for number in range(30)]
        assert address not in servers_of(production, [upload.answer for upload in sent])
        run("docker", "start", victim["Id"])
        production.wait_until_healthy("web", within=RECOVERS_WITHIN)
        poll(
            lambda: address_of(production, victim) in active_servers(production),
            "it gets requests again",
            RECOVERS_WITHIN,
        )


def address_of(production: Stack, container: dict[str, Any]) -> str:
    """Its address as nginx logs it; every start may change it."""
    now = next(each for each in production.replicas("web") if each["Id"] == container["Id"])
    return f"{now['NetworkSettings']['Networks'][f'{production.project}_inside']['IPAddress']}:8000"


def active_servers(production: Stack) -> set[str]:
    """Servers to which nginx sends requests: it takes them in turn, so a few requests show all."""
    answers = [ask(production, "/api/photos/") for _ in range(9)]
    assert {answer.status for answer in answers} == {200}
    return servers_of(production, answers)


def servers_of(production: Stack, answers: Iterable[Answer | None]) -> set[str]:
    """Servers to which nginx has sent these requests."""
    sent = {answer.headers["X-Request-ID"] for answer in answers if answer}

    def lines() -> list[dict[str, Any]]:
        return [line for line in production.requests() if line["request_id"] in sent]

    poll(lambda: len(lines()) == len(sent), "nginx has logged them", 20)
    return {address for line in lines() for address in re.findall(r"[0-9.]+:8000", line["upstream"])}


def is_restarted(production: Stack, before: dict[str, Any]) -> bool:
    now = next(container for container in production.replicas("web") if container["Id"] == before["Id"])
    return bool(now["State"]["StartedAt"] != before["State"]["StartedAt"] and production.is_healthy("web"))


def test_a_form_that_reached_a_server_is_not_sent_to_another(production: Stack) -> None:
    """The first server may have stored it before it died; another one would store it again."""
    webs = production.replicas("web")
    with checked_uploads(production, may_sweep=True) as uploads:
        with contextlib.ExitStack() as killers:
            for container in webs:
                killers.enter_context(killer_within(container, "open", "incoming"))
            upload = uploads.whole("buffered", "form", padded(PHOTO, production.limit - MEGABYTE))
        check_temporary_error(upload.answer, UNREACHABLE)
        assert upload.answer
        request_id = upload.answer.headers["X-Request-ID"]
        poll(lambda: logged(production, request_id), "nginx has logged it", 20)
    (line,) = logged(production, request_id)
    assert (line["method"], line["status"]) == ("POST", 502)
    assert re.fullmatch(r"[0-9.]+:8000", line["upstream"]), "nginx tried several servers"


def logged(production: Stack, request_id: str) -> list[dict[str, Any]]:
    return [line for line in production.requests() if line["request_id"] == request_id]
