"""Shared by the tests of faults: the routes of an upload, a ledger of uploads and their answers, and the check that
ends each test.

    with checked_uploads(stack) as uploads:
        upload = uploads.begin("streamed", "chunked")   # half of it is sent
        ...something breaks...
        upload.finish()
    # Here every upload answered 201 is stored intact, nothing else is, and the stack is healthy again without help.
"""

import contextlib
import itertools
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tests.stack import pictures
from tests.stack.pictures import Picture
from tests.stack.programs import program
from tests.stack.stack import Stack
from tests.stack.wire import CHUNKED, SHAPES, Request, Shape, Wire, exchange, may_break, with_length
from tests.wire.answers import Answer, read_answer
from tests.wire.polling import poll

HALF = 20  # pieces of 64 KB: of a photo's 3 MB, less than half
NUDGE = 16  # bytes
NUDGE_EVERY = 4.0  # seconds, of the 30 and 20 that nginx and web wait for the next byte
RECOVERS_WITHIN = 120.0  # seconds; a healthy stack needs five, a busy machine some more
SLOW = 900  # seconds for one test, on a busy machine

PHOTO = pictures.photo(seed=1)


@dataclass(frozen=True)
class Route:
    open: Callable[[Stack], Wire]
    prefix: str = ""


ROUTES = {
    "buffered": Route(lambda stack: stack.nginx("web")),
    "streamed": Route(lambda stack: stack.nginx("web"), "/streamed"),
    "direct": Route(lambda stack: stack.relay("web")),
    "gunicorn": Route(lambda stack: stack.nginx("gunicorn")),
}
FRAMINGS: dict[str, Shape] = {"length": with_length, "chunked": CHUNKED, "form": SHAPES["multipart, chunked"]}
WAYS = list(itertools.product(["buffered", "streamed", "direct"], ["length", "chunked"]))
THROUGH_NGINX = [way for way in WAYS if way[0] != "direct"]
# The photo may be stored: the client has sent everything, and the answer does not say.
UNKNOWN: frozenset[int | None] = frozenset({None, 502, 504})


@dataclass
class Upload:
    """One upload, sent piece by piece. `answer` is None before there is one, and when the connection broke."""

    name: str
    picture: Picture
    route: str
    framing: str
    wire: Wire
    pieces: Iterator[bytes]
    answer: Answer | None = None
    is_whole: bool = False
    is_waiting: bool = False  # has more to send later
    in_use: threading.Lock = field(default_factory=threading.Lock)

    def send(self, pieces: int | None = None) -> None:
        """Send N pieces, or all that are left."""
        with self.in_use:
            for piece in itertools.islice(self.pieces, pieces):
                self.wire.send(piece)

    def nudge(self) -> None:
        """Send a few bytes, so that no server closes the connection as stalled while the test waits."""
        if not self.is_waiting or not self.in_use.acquire(blocking=False):
            return
        try:
            piece = next(self.pieces, b"")
            self.pieces = itertools.chain([piece[NUDGE:]], self.pieces)
            self.wire.send(piece[:NUDGE])
        except OSError:
            pass  # the server has closed; the test will notice
        finally:
            self.in_use.release()

    def finish(self) -> Answer | None:
        """Send the rest, or as much as the server takes, and read the answer if there is one."""
        self.is_waiting, self.is_whole = False, True
        with may_break():  # there may still be an answer
            self.send()
        return self.receive_answer()

    def receive_answer(self) -> Answer | None:
        self.is_waiting = False
        with self.in_use, may_break():
            self.answer = read_answer(self.wire.reader)
        return self.answer

    def disconnect(self) -> None:
        """Close the connection."""
        self.is_waiting = False
        with self.in_use:
            self.wire.close()

    @property
    def status(self) -> int | None:
        return self.answer.status if self.answer else None

    def __str__(self) -> str:
        return f"{self.name}, {self.route}, {self.framing}: {self.answer or 'not answered'}"


@dataclass
class Ledger:
    """All uploads of one test."""

    stack: Stack
    wires: contextlib.ExitStack
    unknown: frozenset[int | None]
    uploads: list[Upload] = field(default_factory=list)

    def delete(self, upload: Upload) -> None:
        """Delete a stored upload and forget it."""
        with ROUTES[upload.route].open(self.stack) as wire:
            answer = exchange(wire, Request("DELETE", f"/api/photos/{upload.name}", {}), self.stack.token)
        assert answer.status == 204
        self.uploads.remove(upload)

    def begin(
        self,
        route: str,
        framing: str,
        picture: Picture = PHOTO,
        pieces: int | None = HALF,
        *,
        is_stalled: bool = False,
    ) -> Upload:
        """Send the head and the first pieces. If the upload is not stalled, a few bytes follow now and then."""
        wire = self.wires.enter_context(ROUTES[route].open(self.stack))
        upload = self._begin(wire, route, framing, picture, pieces)
        upload.is_waiting = not is_stalled
        return upload

    def _begin(self, wire: Wire, route: str, framing: str, picture: Picture, pieces: int | None) -> Upload:
        name = f"{uuid.uuid4().hex}.jpg"
        request = FRAMINGS[framing](name, picture.content)
        request = replace(request, target=ROUTES[route].prefix + request.target)
        upload = Upload(name, picture, route, framing, wire, iter(request.pieces))
        self.uploads.append(upload)
        wire.send(request.head(wire.host, self.stack.token))
        upload.send(pieces)
        return upload

    def whole(self, route: str = "buffered", framing: str = "chunked", picture: Picture = PHOTO) -> Upload:
        """Begin and finish."""
        with ROUTES[route].open(self.stack) as wire:
            upload = self._begin(wire, route, framing, picture, 0)
            upload.finish()
        return upload

    def stored(self, route: str = "buffered", framing: str = "chunked", picture: Picture = PHOTO) -> Upload:
        """Begin and finish; the upload has to succeed."""
        upload = self.whole(route, framing, picture)
        assert upload.status == 201, f"{upload}\n{self._logged(upload)}"
        return upload

    def _logged(self, upload: Upload) -> str:
        """What nginx has logged of a failed upload: which servers it tried, and how long it waited for each."""
        request_id = upload.answer.headers["X-Request-ID"] if upload.answer else None
        return "\n".join(str(line) for line in self.stack.requests() if line.get("request_id") == request_id)

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Keep open uploads from timing out."""

        def nudge_all() -> None:
            for upload in list(self.uploads):
                upload.nudge()

        with in_background(NUDGE_EVERY, nudge_all):
            yield

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """One whole upload after the other in the background: each is stored, gets an error, or is cut off."""
        sent, each = [], itertools.cycle(["buffered", "streamed"])

        def send_one() -> None:
            with may_break():  # no server listens at the moment
                sent.append(self.whole(next(each)))

        with in_background(0.1, send_one):
            yield
        assert sent, "there was no traffic"
        assert {upload.status for upload in sent} <= {201} | self.unknown

    @contextlib.contextmanager
    def undisturbed(self, *ways: tuple[str, str]) -> Iterator[None]:
        """One client for each way uploads 64 KB again and again; every upload has to be stored."""
        with contextlib.ExitStack() as clients:
            for way in ways:
                clients.enter_context(in_background(0.2, partial(self.stored, *way, pictures.sized(64 * 1024))))
            yield


@contextlib.contextmanager
def in_background(pause: float, action: Callable[[], object]) -> Iterator[None]:
    """Repeat the action until the end of the block. An exception ends it, and is raised there."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(pause):
            action()

    with ThreadPoolExecutor(1) as thread:
        repeating = thread.submit(repeat)
        try:
            yield
        finally:
            is_over.set()
        repeating.result()


@contextlib.contextmanager
def checked_uploads(
    stack: Stack,
    *,
    may_sweep: bool = False,
    unknown: frozenset[int | None] = frozenset(),
) -> Iterator[Ledger]:
    """`may_sweep`: a process was killed, so that files for the sweep may be left.

    `unknown`: more statuses, besides UNKNOWN, after which the photo may be stored.
    """
    wait_until_recovered(stack)  # a failed test may have restarted a service just now
    rows, files = stack.state()
    with contextlib.ExitStack() as wires:
        ledger = Ledger(stack, wires, UNKNOWN | unknown)
        ledger.stored()
        with ledger.patience():
            yield ledger
    wait_until_recovered(stack)
    for route in ("buffered", "streamed"):
        ledger.stored(route)
    if may_sweep:
        stack.sweep()
    check_all_or_nothing(stack, ledger, set(rows), set(files))


def wait_until_recovered(stack: Stack) -> None:
    checked = [service for service, container in stack.containers().items() if "Health" in container["State"]]
    stack.wait_until_healthy(*checked, within=RECOVERS_WITHIN)
    poll(lambda: is_reached(stack), "nginx reaches the application", RECOVERS_WITHIN)


def is_reached(stack: Stack) -> bool:
    """By both upstreams of nginx, the list of servers and the name, which it resolves at different times."""
    with may_break():
        return all(_answers(stack, target) for target in ("/healthz", "/streamed/api/photos/"))
    return False


def _answers(stack: Stack, target: str) -> bool:
    with stack.nginx("web") as wire:
        return exchange(wire, Request("GET", target, {}), token=None).status == 200


@contextlib.contextmanager
def killer_within(container: dict[str, Any], moment: str, folder: str) -> Iterator[None]:
    """Kill the container at a moment of storing (inside/processes.py), if that moment comes."""
    command = ["docker", "exec", "-i", container["Id"], *program("processes.py"), "kill-when-storing", moment, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as killer:
        assert killer.stdout
        assert killer.stdout.readline() == b"ready\n"
        yield
        try:
            killer.communicate(timeout=60)
        except subprocess.TimeoutExpired:  # killed with the container, which the engine may miss
            killer.kill()


def check_all_or_nothing(stack: Stack, ledger: Ledger, rows: set[str], files: set[str]) -> None:
    """Rows, files and spools are those of before and those of the stored uploads, intact, and no others."""
    expected_files = set(files)
    for upload in ledger.uploads:
        photo = stack.probe("photo", upload.name)
        assert photo or upload.status != 201, f"answered 201 and lost: {upload}"
        if not photo:
            continue
        may_be_stored = upload.is_whole and upload.status in ledger.unknown
        assert upload.status == 201 or may_be_stored, f"stored, and refused: {upload}"
        assert (photo["row_sha256"], photo["row_size"]) == (upload.picture.sha256, upload.picture.size), str(upload)
        assert photo["file_sha256"] == upload.picture.sha256, str(upload)
        assert photo["thumbnail_size"] > 0
        rows = rows | {upload.name}
        expected_files |= set(photo["storage_keys"])
    assert set(stack.probe("names")) == rows
    poll(
        lambda: set(stack.probe("files")) == expected_files,
        f"files are those of the rows: {sorted(expected_files)}",
        20,
    )
    poll(lambda: not stack.leftovers(), "no half-received body is left", 20)


def check_temporary_error(answer: Answer | None, *expected: tuple[int, str]) -> None:
    """JSON with one of these error names, and Retry-After."""
    assert answer is not None
    assert (answer.status, answer.json()["error"]) in expected, answer.body
    assert int(answer.headers["Retry-After"]) > 0


UNREACHABLE = (502, "application-unreachable")
TOO_SLOW = (504, "application-timeout")
