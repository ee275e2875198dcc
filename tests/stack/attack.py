"""Minutes of hostile pictures with ordinary clients beside them, which must not be disturbed.

    python -m tests.stack.attack --minutes 10 [--files FOLDER]

The attack runs on a stack of its own, which it deletes afterwards. Two hostile clients send the pictures of
tests/app/hostile.py and every file of FOLDER, in random order, by both routes, with a length or in chunks, and delete
most of those that were stored. Meanwhile four ordinary clients upload, read and download.

At the end the same processes have to run in the same container as at the start, and the kernel must not have killed
one for its memory. Every ordinary request has to get 200, 201 or 204, and every picture of test_20_pictures.py the
status that is listed there, or 503. Pictures answered 201 have to be stored with the bytes that were sent, and no
others.
"""

import argparse
import hashlib
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path

from tests.app import hostile
from tests.stack import pictures
from tests.stack.stack import Stack
from tests.stack.starting import started
from tests.stack.test_20_pictures import MEMORY_EVENTS, PICTURES
from tests.stack.wire import CHUNKED, Request, exchange, form, with_length
from tests.wire.answers import Answer
from tests.wire.polling import poll

HOSTILE_CLIENTS, ORDINARY_CLIENTS = 2, 4
DELETED = 0.8  # share of the stored hostile pictures: no disk holds all of ten minutes
REPORT_EVERY = 10.0  # seconds
# Allowed answers to a hostile picture: stored, refused, too large, "later". Not 502 or 504. For the pictures of
# test_20_pictures.py: the status listed there, or "later".
HOSTILE_STATUSES = {201, 400, 413, 503}
KNOWN_STATUSES = {case: {status, 503} for case, (_, (status, _)) in PICTURES.items()}
# Allowed answers to an ordinary request.
ORDINARY_STATUSES = {"put": {200, 201}, "form": {201}, "list": {200}, "page": {200}, "download": {200}, "delete": {204}}
MORE: dict[str, Callable[[], bytes]] = {
    "jpeg whose tags share 60,000 bytes": lambda: hostile.jpeg_with_exif(hostile.directory(60_000, 60_000)),
    "png whose tags share 60,000 bytes": lambda: hostile.png_with_exif(hostile.directory(60_000, 60_000)),
    "jpeg of empty exif segments": lambda: hostile.with_segments(0xE1, b"Exif\0\0" + bytes(5), 1_600_000),
    "gif of 20,000 empty frames": lambda: hostile.gif(6000, frames=20_000),
    "gif of 20 MB of comments": lambda: hostile.gif(100, extensions=hostile.comment(20 * hostile.MIB)),
    "png of 60,000 frames": lambda: hostile.flat_png(9000, 9000, frames=60_000),
    "webp of four frames": lambda: hostile.animation("WEBP", 4720, frames=4, lossless=True, quality=0, method=0),
    "heic that says it is smaller": lambda: hostile.heic(16, 12, (64, 64)),
}


@dataclass
class Record:
    """What happened, recorded by many threads."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # request, answer -> how often
    stored: dict[str, str] = field(default_factory=dict)  # name -> SHA-256 of each upload answered 201
    slowest: dict[str, float] = field(default_factory=dict)  # request -> seconds; reported, not checked
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, answer: str, seconds: float) -> None:
        with self.lock:
            self.counts[what, answer] += 1
            self.slowest[what] = max(seconds, self.slowest.get(what, 0.0))

    def fault(self, what: str) -> None:
        with self.lock:
            self.faults.append(what)

    def store(self, name: str, content: bytes) -> None:
        with self.lock:
            self.stored[name] = hashlib.sha256(content).hexdigest()

    def delete(self, name: str) -> None:
        with self.lock:
            self.stored.pop(name)


class Attack:
    """Clients of a stack for N seconds; `files` are the hostile pictures by name."""

    def __init__(self, stack: Stack, seconds: float, files: dict[str, bytes]) -> None:
        self._stack = stack
        self._seconds = seconds
        self._files = files
        self._photos = [pictures.photo(seed).content for seed in range(3)]
        self.record = Record()
        self._earlier_photos: set[str] = set()  # photos stored before the attack
        self._tag = secrets.token_hex(4)  # so that names differ from those of other runs
        self._is_over = threading.Event()

    def run(self) -> Record:
        before, self._earlier_photos = lives(self._stack), set(self._stack.probe("names"))
        with ThreadPoolExecutor(HOSTILE_CLIENTS + ORDINARY_CLIENTS) as threads:
            parts = [threads.submit(self._be_hostile, client) for client in range(HOSTILE_CLIENTS)]
            parts += [threads.submit(self._be_ordinary, client) for client in range(ORDINARY_CLIENTS)]
            try:
                self._wait()
            finally:
                self._is_over.set()
        for part in parts:
            part.result()  # raises the error of a client that failed
        self._compare_lives(before)
        self._compare_photos()
        return self.record

    def _wait(self) -> None:
        end = time.monotonic() + self._seconds
        while (left := end - time.monotonic()) > 0:
            self._is_over.wait(min(REPORT_EVERY, left))
            sent = self.record.counts.total()
            print(f"{left:5.0f} s left  {sent} requests, {len(self.record.faults)} faults", flush=True)

    # --- clients ------------------------------------------------------------------------------------------------------

    def _be_hostile(self, client: int) -> None:
        for number, (case, content) in enumerate(_shuffled(self._files)):
            if self._is_over.is_set():
                return
            name = f"hostile-{self._tag}-{client}-{number}-{case.replace(' ', '-').replace(',', '')}"
            shape, route = random.choice([with_length, CHUNKED]), random.choice(["", "/streamed"])
            request = shape(name, content)
            allowed = KNOWN_STATUSES.get(case, HOSTILE_STATUSES)
            answer = self._ask(case, replace(request, target=f"{route}{request.target}"), allowed)
            if answer and answer.status == HTTPStatus.CREATED:
                self._stored(name, content, answer)
                if random.random() < DELETED:
                    self._delete("hostile delete", name)

    def _be_ordinary(self, client: int) -> None:
        name, number = f"ordinary-{client}.jpg", 0
        while not self._is_over.is_set():
            number += 1
            content = self._photos[number % len(self._photos)]  # a different one each time
            self._put(name, content)
            self._compare_download(name, content)
            self._get("list", "/api/photos/")
            self._form(f"form-{client}-{number}.jpg", content)
            self._get("page", "/")

    def _put(self, name: str, content: bytes) -> None:
        request = random.choice([with_length, CHUNKED])(name, content)
        route = random.choice(["", "/streamed"])
        answer = self._ask("put", replace(request, target=f"{route}{request.target}"), ORDINARY_STATUSES["put"])
        if answer and answer.status in ORDINARY_STATUSES["put"]:
            self._stored(name, content, answer)

    def _form(self, name: str, content: bytes) -> None:
        answer = self._ask("form", form({name: content}), ORDINARY_STATUSES["form"])
        if answer and answer.status == HTTPStatus.CREATED:
            self.record.store(name, content)
            self._compare_download(name, content)
            self._delete("delete", name)

    def _stored(self, name: str, content: bytes, answer: Answer) -> None:
        self.record.store(name, content)
        if answer.json()["sha256"] != hashlib.sha256(content).hexdigest():
            self.record.fault(f"{name}: answered with another SHA-256")

    def _delete(self, what: str, name: str) -> None:
        answer = self._ask(what, Request("DELETE", f"/api/photos/{name}", {}), ORDINARY_STATUSES["delete"])
        if answer and answer.status == HTTPStatus.NO_CONTENT:
            self.record.delete(name)

    def _get(self, what: str, target: str) -> Answer | None:
        return self._ask(what, Request("GET", target, {}), ORDINARY_STATUSES[what])

    def _compare_download(self, name: str, content: bytes) -> None:
        answer = self._get("download", f"/photos/{name}")
        if answer and answer.status == HTTPStatus.OK and answer.body != content:
            self.record.fault(f"{name}: downloaded {len(answer.body)} bytes that are not the {len(content)} uploaded")

    def _ask(self, what: str, request: Request, allowed: set[int]) -> Answer | None:
        """One request on a connection of its own. None and a fault if no answer came."""
        request, began = replace(request, fields={**request.fields, "Connection": "close"}), time.monotonic()
        try:
            with self._stack.nginx("web") as wire:
                answer = exchange(wire, request, self._stack.token)
        except (OSError, ValueError, IndexError) as error:
            self.record.note(what, type(error).__name__, time.monotonic() - began)
            self.record.fault(f"{what}: {request.method} {request.target}: no answer: {error!r}")
            return None
        self.record.note(what, _in_words(answer), time.monotonic() - began)
        if answer.status not in allowed:
            self.record.fault(f"{what}: {request.method} {request.target}: {_in_words(answer)}")
        return answer

    # --- the end ------------------------------------------------------------------------------------------------------

    def _compare_lives(self, before: dict[str, str]) -> None:
        after = lives(self._stack)
        for what, was in before.items():
            if after[what] != was:
                self.record.fault(f"{what}: {was} at the start, {after[what]} at the end")
        if "oom_kill 0" not in self._stack.exec("web", "sh", "-c", MEMORY_EVENTS).splitlines():
            self.record.fault("web: the kernel has killed a process for its memory")

    def _compare_photos(self) -> None:
        stored = self.record.stored
        names = set(self._stack.probe("names")) - self._earlier_photos
        self.record.faults += [f"{name}: not answered 201, but stored" for name in sorted(names - set(stored))]
        for name in sorted(stored):
            found = self._stack.probe("photo", name)
            if not found or not found["file_sha256"] == found["row_sha256"] == stored[name]:
                self.record.fault(f"{name}: answered 201 with the SHA-256 {stored[name]}, stored is {found}")
        poll(lambda: not self._stack.leftovers(), "no half-received body is left", 60)


def lives(stack: Stack) -> dict[str, str]:
    """Process ids and start times, which change when a process or a container ends."""
    started_at = {f"{name}, started": stack.container(name)["State"]["StartedAt"] for name in ("nginx", "web")}
    return {"web, process ids": stack.processes("web", "workers").strip(), **started_at}


def _shuffled(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """All files in one random order, then in another, without end."""
    while True:
        yield from random.sample(list(files.items()), len(files))


def _in_words(answer: Answer) -> str:
    """The status, and the name of the error if there is one."""
    if answer.status < HTTPStatus.BAD_REQUEST or "json" not in answer.headers.get("Content-Type", ""):
        return str(answer.status)
    return f"{answer.status} {answer.json().get('error')}"


def hostile_files(folder: Path | None) -> dict[str, bytes]:
    """The pictures that this program makes, and those of a folder."""
    made = {case: make() for case, (make, _) in PICTURES.items()}
    made |= {case: make() for case, make in MORE.items()}
    found = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    return made | {path.name: path.read_bytes() for path in found}


def report(record: Record, cases: set[str]) -> bool:
    """Print what happened; return whether there was no fault and everything was tried."""
    for (what, answer), count in sorted(record.counts.items()):
        print(f"{count:8}  {what}: {answer} (the slowest: {record.slowest[what]:.1f} s)")
    tried = {what for what, _ in record.counts}
    never = [f"never tried: {what}" for what in sorted((cases | set(ORDINARY_STATUSES)) - tried)]
    for line in [*record.faults[:50], *never]:
        print(f"FAULT {line}")
    print(f"{record.counts.total()} requests, faults: {len(record.faults) + len(never)}", flush=True)
    return not record.faults and not never


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="attack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="send these files too")
    chosen = parser.parse_args(arguments)
    files = hostile_files(chosen.files)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the stack is deleted
    with tempfile.TemporaryDirectory() as folder, started(Path(folder), "attack") as stack:
        return 0 if report(Attack(stack, chosen.minutes * 60, files).run(), set(files)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
