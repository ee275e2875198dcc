"""What breaks in a stack as in production: the database that stops, one of several containers that dies.

As in test_08_faults.py, afterwards all that was answered 201 is there, nothing else is, and the stack is well again.
"""

import contextlib
import re
from collections.abc import Iterable
from typing import Any

import pytest

from tests.stack.faults import PHOTO, RECOVERS_WITHIN, SLOW, UNREACHABLE, check_temporary_error, killer_within, trouble
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
    """Uploads are told, pages as well; what needs no database goes on."""
    with trouble(production, may_sweep=True) as uploads, contextlib.ExitStack() as afterwards:
        halves = [uploads.begin(*way) for way in (("buffered", "length"), ("streamed", "chunked"))]
        afterwards.callback(production.compose, "start", "db")  # whatever fails here, the next test finds one
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
        poll(lambda: ask(production, "/readyz").status == 200, "the database is found again", RECOVERS_WITHIN)
    for upload in halves:
        assert production.probe("photo", upload.name) is None


def check_page(page: Answer) -> None:
    assert (page.status, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert int(page.headers["Retry-After"]) > 0
    assert b"database-unavailable" in page.body
    assert b"Traceback" not in page.body


def test_a_killed_database_restarts_and_web_reconnects(production: Stack) -> None:
    """It comes back by itself, and so do the connections to it."""
    before = production.container("db")
    with (
        trouble(production, may_sweep=True, unknown=frozenset({503})) as uploads,
        uploads.traffic(),
    ):
        poll(lambda: len(uploads.uploads) > 3, "uploads are under way", RECOVERS_WITHIN)
        production.kill(before)
        production.wait_until_restarted("db", before, RECOVERS_WITHIN)
        poll(lambda: ask(production, "/readyz").status == 200, "the database is found again", RECOVERS_WITHIN)


# --- one of several containers ----------------------------------------------------------------------------------------


def test_a_killed_replica_is_restarted_and_new_requests_are_served(production: Stack) -> None:
    """Who was in it is told. Those who come after do not notice, and it is back by itself."""
    victim = production.replicas("web")[0]
    with trouble(production, may_sweep=True) as uploads:
        # So many that each of the three has one: streamed, they choose by chance.
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
        poll(lambda: is_back(production, victim), "the container is back, by itself", RECOVERS_WITHIN)


def test_a_stopped_replica_gets_no_requests_until_it_is_started(production: Stack) -> None:
    """It does not come back by itself. Who is buffered never notices; who is streamed does not either, as soon as nginx
    has looked up the name again (docs/adr/0004). When it is started again it gets its share.
    """
    victim = production.replicas("web")[0]
    address = address_of(production, victim)
    with trouble(production) as uploads, contextlib.ExitStack() as afterwards:
        poll(lambda: address in active_servers(production), "it gets requests", RECOVERS_WITHIN)
        afterwards.callback(run, "docker", "start", victim["Id"])  # whatever fails here, the next test finds it
        run("docker", "stop", victim["Id"])
        for _ in range(3):
            uploads.stored("buffered")
        poll(lambda: address not in active_servers(production), "nginx knows that it is gone", RECOVERS_WITHIN)
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
    """As nginx logs it; another one, perhaps, each time it is started."""
    now = next(each for each in production.replicas("web") if each["Id"] == container["Id"])
    return f"{now['NetworkSettings']['Networks'][f'{production.project}_inside']['IPAddress']}:8000"


def active_servers(production: Stack) -> set[str]:
    """Addresses that nginx has turned to for some requests: it takes them in turn, so all that it knows."""
    answers = [ask(production, "/api/photos/") for _ in range(9)]
    assert {answer.status for answer in answers} == {200}
    return servers_of(production, answers)


def servers_of(production: Stack, answers: Iterable[Answer | None]) -> set[str]:
    """The same of these requests."""
    sent = {answer.headers["X-Request-ID"] for answer in answers if answer}

    def lines() -> list[dict[str, Any]]:
        return [line for line in production.requests() if line["request_id"] in sent]

    poll(lambda: len(lines()) == len(sent), "nginx has logged them", 20)
    return {address for line in lines() for address in re.findall(r"[0-9.]+:8000", line["upstream"])}


def is_back(production: Stack, before: dict[str, Any]) -> bool:
    now = next(container for container in production.replicas("web") if container["Id"] == before["Id"])
    return bool(now["State"]["StartedAt"] != before["State"]["StartedAt"] and production.is_healthy("web"))


def test_a_form_that_reached_a_server_is_not_sent_to_another(production: Stack) -> None:
    """That server may have stored it before it died; another one would store it a second time."""
    webs = production.replicas("web")
    with trouble(production, may_sweep=True) as uploads:
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
    assert re.fullmatch(r"[0-9.]+:8000", line["upstream"]), "of several there would be a list"


def logged(production: Stack, request_id: str) -> list[dict[str, Any]]:
    return [line for line in production.requests() if line["request_id"] == request_id]
