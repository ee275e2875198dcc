"""Hostile pictures with ordinary clients beside them, in containers with their real limits.

No worker dies, no ordinary request fails, and no picture is stored that was answered with an error.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
import requests
from PIL import Image

from tests.app import hostile
from tests.stack.pictures import Picture
from tests.stack.stack import Stack

COMPLEX = (400, "image-too-complex")
TAKEN = (201, None)
# Name -> how the picture is made, and its answer.
PICTURES: dict[str, tuple[Callable[[], bytes], tuple[int, str | None]]] = {
    "gif of two frames": (lambda: hostile.animation("GIF", 6600, disposal=3), COMPLEX),
    "animated png": (lambda: hostile.animation("PNG", 6600, disposal=2), COMPLEX),
    "avif of two frames": (lambda: hostile.animation("AVIF", 5950, speed=10), COMPLEX),
    "progressive cmyk jpeg": (lambda: hostile.progressive(9400, "CMYK"), COMPLEX),
    "progressive jpeg, all colours": (lambda: hostile.progressive(9400, "RGB"), COMPLEX),
    "cmyk jpeg in separate scans": (lambda: hostile.in_separate_scans(9400, 4), COMPLEX),
    "jpeg of 4,000 scans": (lambda: hostile.of_many_scans(2000, 4000), COMPLEX),
    "jpeg of exif segments": (lambda: hostile.with_segments(0xE1, b"Exif\0\0" + bytes(32), 200_000), COMPLEX),
    "jpeg of 65,000 tags": (lambda: hostile.jpeg_with_exif(hostile.directory(65_000, 4)), TAKEN),
    "rgba png of 88 megapixels": (lambda: hostile.flat_png(9380, 9380), TAKEN),
    "webp of 24 megapixels": (lambda: webp(6000, 4000), TAKEN),
    "jpeg of 108 megapixels": (lambda: hostile.camera_jpeg(12_000, 9000), TAKEN),
    "heic of 48 megapixels": (lambda: hostile.heic(16, 12), TAKEN),
    "heic of 48 megapixels, all colours": (lambda: hostile.heic(16, 12, chroma=444), COMPLEX),
    "progressive jpeg of 48 megapixels": (lambda: hostile.camera_jpeg(8000, 6000, progressive=True), TAKEN),
}
ROUNDS = 2
# Of cgroup v2, or of v1.
MEMORY_EVENTS = "cd /sys/fs/cgroup && cat memory.events 2>/dev/null || cat memory/memory.oom_control"


def webp(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), 9).save(buffer, "WEBP", method=0)
    return buffer.getvalue()


@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_hostile_pictures_do_not_disturb_ordinary_clients(
    stack: Stack, api: requests.Session, photo: Picture, name: str, server: str
) -> None:
    url = f"{stack.url.rpartition(':')[0]}:{stack.ports[server]}/api/photos/"
    made = {case: make() for case, (make, _) in PICTURES.items()}
    before = stack.processes(server, "workers"), stack.container(server)["State"]["StartedAt"]
    answers: dict[str, list[tuple[int, str | None]]] = {case: [] for case in made}
    with ordinary_clients(url, stack.token, photo, name) as ordinary:
        for number in range(ROUNDS):
            for case, data in made.items():
                answer = api.put(f"{url}{case.replace(' ', '-')}-{number}-{name}", data, timeout=90)
                answers[case].append((answer.status_code, answer.json().get("error")))
    assert answers == {case: [expected] * ROUNDS for case, (_, expected) in PICTURES.items()}
    assert set(ordinary) <= {200, 201}
    assert len(ordinary) > ROUNDS * len(made)
    assert (stack.processes(server, "workers"), stack.container(server)["State"]["StartedAt"]) == before
    assert "oom_kill 0" in stack.exec(server, "sh", "-c", MEMORY_EVENTS).splitlines()
    stored = {photo for photo in stack.probe("names") if photo.endswith(f"-{name}")}
    taken = [case.replace(" ", "-") for case, (_, expected) in PICTURES.items() if expected == TAKEN]
    assert stored - {f"{client}-{name}" for client in range(3)} == {
        f"{case}-{number}-{name}" for case in taken for number in range(ROUNDS)
    }


@contextmanager
def ordinary_clients(url: str, token: str, photo: Picture, name: str) -> Iterator[list[int]]:
    """Three clients upload a photo of 3 MB and read the list repeatedly. Yields the statuses that they get."""
    statuses: list[int] = []
    is_over = threading.Event()

    def client(number: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Token {token}"
            while not is_over.is_set():
                statuses.append(session.put(f"{url}{number}-{name}", photo.content, timeout=90).status_code)
                statuses.append(session.get(url, timeout=90).status_code)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
