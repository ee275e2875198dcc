"""`make demo`: sends one photo in chunks to each server of the running stack, and shows what Django stored of it.

Each server gets it twice: for a plain view, which writes what it reads and answers 200 (app/photos/plain_view.py), and
for the sample's own view, which refuses an empty body. All is sent from the container of nginx, because only nginx is
published. Nothing stays: the photos, the token, and a `runserver` that was started for this are removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from . import addresses, compose, engine, lock, programs
from . import settings as settings_
from .console import Failure, say, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .settings import Settings

PHOTO = "docs/sample.jpg"
HEALTHY_WITHIN = 90  # seconds
ANSWERED_WITHIN = 60  # seconds
BUSY_WITHIN = 900  # seconds that another command, such as a deploy, may still need


class Way(NamedTuple):
    """A way into the stack."""

    name: str
    origin: str  # seen from the container of nginx
    prefix: str = ""  # of the path
    is_safe: bool = False  # whether it has to store everything


@dataclass(frozen=True)
class Result:
    """The answers of the two views: their statuses, and what the plain one says that it stored."""

    plain_status: int
    stored_bytes: int
    sha256: str
    sample_status: int
    sample_error: str  # the name of the error; empty if there is none


def main(_: Sequence[str]) -> None:
    settings = settings_.here()
    compose.need_engine(settings)
    if not settings.has_sample:
        raise Failure("make demo uploads to views of the sample project, and DJANGO_SETTINGS_MODULE names another one")
    if not all(engine.first(settings.project, service) for service in ("nginx", "web", "gunicorn")):
        raise Failure("the stack does not run; start it first: make up")
    lock.hold(settings, BUSY_WITHIN, "demo.sh")
    photo = (settings.root / PHOTO).read_bytes()
    with _runserver(settings), contextlib.closing(_Client(settings)) as client:
        results = {way: client.try_way(way, photo) for way in ways(has_tls=settings["TLS"] == "on")}
    print("\n".join(["", *table(photo, results), ""]), flush=True)
    if lost := [way.name for way, result in results.items() if way.is_safe and not is_whole(result, photo)]:
        raise Failure(f"this stack should have stored the whole photo, but did not: {', '.join(lost)} (make logs)")


def ways(*, has_tls: bool) -> list[Way]:
    site = "https://127.0.0.1:8443" if has_tls else "http://127.0.0.1:8080"
    baseline = "https://127.0.0.1:8081" if has_tls else "http://127.0.0.1:8081"
    return [
        Way("nginx, then wsgiserver", site, is_safe=True),
        Way("nginx, then gunicorn", baseline, is_safe=True),
        Way("nginx without its buffer, then wsgiserver", site, "/streamed", is_safe=True),
        Way("nginx without its buffer, then gunicorn", baseline, "/streamed"),
        Way("wsgiserver alone", "http://web:8000", is_safe=True),
        Way("gunicorn alone", "http://gunicorn:8000"),
        Way("Django's runserver", "http://runserver:8000"),
    ]


# --- the table --------------------------------------------------------------------------------------------------------


def table(photo: bytes, results: dict[Way, Result]) -> Iterator[str]:
    yield f"One photo of {len(photo):,} bytes, sent with Transfer-Encoding: chunked to Django behind:"
    yield ""
    yield from aligned(
        [
            ("", "a plain view answers", "and has stored", "", "the sample answers"),
            *(_row(way, result, photo) for way, result in results.items()),
        ]
    )


def _row(way: Way, result: Result, photo: bytes) -> tuple[str, ...]:
    is_answered = result.plain_status == HTTPStatus.OK
    return (
        way.name,
        phrase(result.plain_status),
        f"{result.stored_bytes:,} bytes" if is_answered else "",
        ("same SHA-256" if is_whole(result, photo) else "LOST") if is_answered else "",
        f"{phrase(result.sample_status)} {result.sample_error}".rstrip(),
    )


def phrase(status: int) -> str:
    """Return the status with its name, as in `200 OK`."""
    with contextlib.suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status) if status else "no answer"


def is_whole(result: Result, photo: bytes) -> bool:
    return result.stored_bytes == len(photo) and result.sha256 == hashlib.sha256(photo).hexdigest()


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the rows as lines with columns of equal width. Numbers end at the same place."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    for row in rows:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() and cell.endswith("bytes") else cell.ljust(width)
            for cell, width in zip(row, widths)
        ]
        yield ("  " + "   ".join(cells)).rstrip()


# --- sending ----------------------------------------------------------------------------------------------------------


class _Client:
    """Sends requests from the container of nginx, with a token that ends with it."""

    def __init__(self, settings: Settings) -> None:
        self._nginx = engine.first(settings.project, "nginx")
        self._host = addresses.host_of(settings, addresses.LOOPBACK)
        web = engine.first(settings.project, "web")
        self._token = programs.output(
            ["docker", "exec", web, "python", "manage.py", "create_token", settings["DEMO_USER"]]
        )
        if not self._token:
            raise Failure(f"web could not make a token for {settings['DEMO_USER']}; its log has the reason: make logs")
        self._site = ways(has_tls=settings["TLS"] == "on")[0]
        self._stored: list[str] = []

    def close(self) -> None:
        """Delete the photos, and end the token."""
        for address in [*self._stored, "/api/token"]:
            self._request(self._site.origin + address, "--request", "DELETE")

    def try_way(self, way: Way, photo: bytes) -> Result:
        say(f"sending it to {way.name}")
        plain_status, plain = self._request(f"{way.origin}{way.prefix}/api/plain", photo=photo)
        address = f"/api/photos/demo-{uuid.uuid4().hex}.jpg"
        self._stored.append(address)
        sample_status, sample = self._request(f"{way.origin}{way.prefix}{address}", photo=photo)
        return Result(
            plain_status,
            int(plain.get("stored_bytes", 0)),
            plain.get("sha256", ""),
            sample_status,
            sample.get("error", ""),
        )

    def _request(self, url: str, *options: str, photo: bytes = b"") -> tuple[int, dict[str, str]]:
        """Return status and JSON of the answer; 0 if there is none."""
        upload = (
            ["--upload-file", "-", "--header", "Transfer-Encoding: chunked", "--header", "Expect:"] if photo else []
        )
        command = [
            *("docker", "exec", "--interactive", self._nginx, "curl", "--silent", "--insecure", "--http1.1"),
            *("--noproxy", "*", "--max-time", str(ANSWERED_WITHIN), "--write-out", "\n%{http_code}"),
            *("--header", f"Host: {self._host}", "--header", f"Authorization: Token {self._token}"),
            *(*upload, *options, url),
        ]
        printed = subprocess.run(command, input=photo, capture_output=True, check=False, close_fds=False).stdout
        body, _, status = printed.decode(errors="replace").rpartition("\n")
        with contextlib.suppress(ValueError):
            found = json.loads(body)
            if isinstance(found, dict):
                return int(status), found
        return int(status or 0), {}


@contextlib.contextmanager
def _runserver(settings: Settings) -> Iterator[None]:
    """Have Django's runserver run, which is in the profile demo. Started for this only, it is removed afterwards."""
    if engine.first(settings.project, "runserver"):
        yield
        return
    say("starting Django's runserver")
    try:
        profiles = ",".join(filter(None, [settings["COMPOSE_PROFILES"], "demo"]))
        is_started = compose.run(settings, "up", "-d", "--no-deps", "runserver", profiles=profiles)
        found = engine.ids(settings.project, "runserver")
        if not is_started or not wait_until("runserver", HEALTHY_WITHIN, lambda: engine.health(found)):
            engine.show_logs(found)
            raise Failure("runserver did not start: the reason is above")
        yield
    finally:
        for container in engine.ids(settings.project, "runserver"):
            programs.succeeds(["docker", "rm", "--force", container])
