"""Every framing in every size on every way in to both servers, with the SHA-256 of what Django stored.

For web every cell is exact: the picture is stored whole, or refused for its content. The same holds for gunicorn behind
a buffer. Without a buffer, gunicorn loses bodies without a length, and the test asserts that nothing is stored.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.stack import pictures
from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.wire import (
    SHAPES,
    Request,
    Shape,
    Wire,
    exchange,
    form,
    in_chunks,
    multipart,
    multipart_without_file,
    of_http_1_0,
    pipeline,
    with_length,
)
from tests.wire.answers import Answer, read_answer
from tests.wire.polling import poll

SMALL = pictures.sized(1000)
FIELDS_MAX = 1024 * 1024  # bytes of a form besides its files: DATA_UPLOAD_MAX_MEMORY_SIZE of app/config/settings.py
GUNICORN_DRAINS = 64 * 1024  # bytes of an unread body, in gunicorn/http/parser.py; if there are as many, it closes

Outcome = tuple[int, str | dict[str, str]] | None  # status, and a refusal's name or name -> SHA-256; None: no answer
LOST: Outcome = (400, "empty-body")
# Outcomes when gunicorn lost a body that is too large for the buffers on the way, or refused it half-way, and lost the
# following requests of the connection. It closes while nginx or the client still sends, so that by chance the answer or
# the end of the connection comes first.
LOSSES: list[Outcome] = [LOST, (400, "bad-request"), (502, "application-unreachable"), None]


def several(name: str, picture: bytes) -> Request:
    return form({f"1-{name}": SMALL.content, name: picture, f"2-{name}": SMALL.content})


FRAMINGS: dict[str, Shape] = {
    "length": with_length,
    "chunked": SHAPES["chunked"],
    "odd chunks": SHAPES["chunked, odd sizes, extensions, trailers"],
    "expect": SHAPES["expect"],
    "expect, chunked": SHAPES["expect, chunked"],
    "form without file": multipart_without_file,
    "form without file, chunked": in_chunks(multipart_without_file),
    "form": multipart,
    "form, chunked": in_chunks(multipart),
    "form of several": several,
    "form of several, chunked": in_chunks(several),
    "HTTP/1.0": of_http_1_0,
    "pipelined": with_length,
    "pipelined, chunked": SHAPES["chunked"],
    "keep-alive": with_length,
    "keep-alive, chunked": SHAPES["chunked"],
}
SIZES = {"1 B": 1, "64 KB - 1": 64 * 1024 - 1, "64 KB": 64 * 1024, "3 MB": 3 * 1024**2, "50 MB": 50 * 1024**2}
ROUTES = ["direct", "buffered", "streamed"]
SERVERS = ["web", "gunicorn"]


@dataclass(frozen=True)
class Cell:
    server: str
    route: str
    framing: str
    size: str

    def __str__(self) -> str:
        return f"{self.server}-{self.route}-{self.framing}-{self.size}"

    @property
    def is_conversation(self) -> bool:
        """Another upload follows on the same connection, and a request for it."""
        return self.framing.startswith(("pipelined", "keep-alive"))

    @property
    def leaves_a_body_unread(self) -> bool:
        """Django or gunicorn leave a body without a length unread, and a form that is refused in the middle."""
        is_chunked = self.framing.endswith(("chunked", "chunks")) and self.route != "buffered"
        return is_chunked or ("without file" in self.framing and SIZES[self.size] > FIELDS_MAX)

    @property
    def is_lossy(self) -> bool:
        return self.server == "gunicorn" and self.leaves_a_body_unread

    @property
    def is_held_back(self) -> bool:
        """The end of the body is not sent before the answer comes.

        Otherwise nginx may, depending on the packets, have all of a small body before it connects to gunicorn; then it
        sends a length, and nothing is lost.
        """
        return self.is_lossy and self.route == "streamed" and self.framing.endswith(("chunked", "chunks"))

    def wire(self, stack: Stack) -> Wire:
        return stack.relay(self.server) if self.route == "direct" else stack.nginx(self.server)

    def requests(self, name: str) -> list[Request]:
        make = FRAMINGS[self.framing]
        made = [make(name, self.picture.content)]
        if self.is_conversation:
            behind = f"behind-{name}"
            made += [make(behind, SMALL.content), Request("GET", f"/api/photos/{behind}", {})]
        prefix = "/streamed" if self.route == "streamed" else ""
        return [replace(request, target=prefix + request.target) for request in made]

    @property
    def picture(self) -> Picture:
        return pictures.sized(SIZES[self.size])

    def outcomes(self, name: str) -> list[Outcome]:
        """The outcomes if nothing gets lost."""
        whole = [self._outcome(name)]
        if self.is_conversation:
            small = {f"behind-{name}": SMALL.sha256}
            whole += [(201, small), (200, small)]
        return whole

    def losses(self) -> list[Outcome]:
        """The outcomes if a small body gets lost. After an answer before the end of the body, nginx closes."""
        if not self.is_conversation:
            return [LOST]
        is_over = self.is_held_back or SIZES[self.size] >= GUNICORN_DRAINS
        return [LOST, None] if is_over else [LOST, LOST, (404, "not-found")]

    def _outcome(self, name: str) -> Outcome:
        if "without file" in self.framing:
            return 400, "no-file" if SIZES[self.size] <= FIELDS_MAX else "bad-request"
        if self.size == "1 B":
            return 400, "not-an-image"  # not empty-body: the byte has arrived
        photo = {name: self.picture.sha256}
        small = SMALL.sha256
        return 201, {f"1-{name}": small, **photo, f"2-{name}": small} if "several" in self.framing else photo


# When gunicorn leaves a body unread, it announces keep-alive but closes the connection. If nginx has sent the next
# request there, it answers 502, unless it may repeat that request. So cells with unread bodies come last, large bodies
# after small ones.
CELLS = sorted(
    (Cell(*cell) for cell in itertools.product(SERVERS, ROUTES, FRAMINGS, SIZES)),
    key=lambda cell: cell.is_lossy and SIZES[cell.size],
)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(stack: Stack) -> Iterator[None]:
    """Each cell deletes what it stored; no row, no file and no body in a spool remains."""
    before = stack.state()
    yield
    poll(lambda: stack.state() == before, "rows and files are what they were", 20)
    poll(lambda: not stack.leftovers(), "no half-received body is left", 20)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_an_upload_is_stored_whole_or_the_client_gets_an_error(stack: Stack, name: str, cell: Cell) -> None:
    with cell.wire(stack) as wire:
        outcomes = converse(wire, cell, name, stack.token)
    stored = stack.probe("take", name)  # deletes the files too, which would fill the disk
    assert stored == created_photos(outcomes)
    if cell.is_lossy:
        check_lost(cell, outcomes)
    else:
        assert outcomes == cell.outcomes(name)


def converse(wire: Wire, cell: Cell, name: str, token: str) -> list[Outcome]:
    """The outcomes of the cell's requests, up to the first without an answer."""
    outcomes: list[Outcome] = []
    try:
        outcomes.extend(map(outcome, answers(wire, cell, name, token)))
    except ConnectionError:
        outcomes.append(None)
    return outcomes


def answers(wire: Wire, cell: Cell, name: str, token: str) -> Iterator[Answer]:
    wanted = cell.requests(name)
    if cell.is_held_back:
        first, *wanted = wanted
        *pieces, end = first.pieces
        yield exchange(wire, replace(first, pieces=pieces), token)
        with contextlib.suppress(ConnectionError):  # closed meanwhile
            wire.send(end)
    is_pipelined = cell.framing.startswith("pipelined")
    if is_pipelined:
        pipeline(wire, wanted, token)
    for request in wanted:
        yield read_answer(wire.reader) if is_pipelined else exchange(wire, request, token)
    if cell.framing == "HTTP/1.0":
        assert wire.reader.read() == b"", "data after the answer"


def outcome(answer: Answer) -> Outcome:
    reported = answer.json()
    if "error" in reported:
        return answer.status, reported["error"]
    return answer.status, {
        photo["name"]: photo["sha256"] for photo in (reported if isinstance(reported, list) else [reported])
    }


def created_photos(outcomes: list[Outcome]) -> dict[str, str]:
    """The photos of all answers with 201."""
    created = [reported for status, reported in filter(None, outcomes) if status == 201 and isinstance(reported, dict)]
    return {name: digest for photos in created for name, digest in photos.items()}


def check_lost(cell: Cell, outcomes: list[Outcome]) -> None:
    """The client is informed that nothing is stored."""
    if SIZES[cell.size] <= GUNICORN_DRAINS:
        assert outcomes == cell.losses()
    else:
        assert [outcome for outcome in outcomes if outcome not in LOSSES] == []
