"""One gigabyte through nginx, wsgiserver and Django under a read-only root, in little memory.

Needs about 4 GB of disk for a moment (nginx's spool, web's spool, the photo); `-m "not large"` leaves it out.
"""

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import pytest
import requests

from tests.stack.pictures import MEGABYTE, Picture
from tests.stack.programs import program
from tests.stack.stack import Stack, run
from tests.stack.wire import ANSWER_WITHIN, Request, exchange
from tests.wire.building import chunk
from tests.wire.polling import poll

pytestmark = pytest.mark.large

GIGABYTE = 1024**3
NEEDED = 8 * GIGABYTE  # of disk; twice as much as the test uses
# All processes together; measured: 38. The process that decodes the picture has 30 of them, and shares 13 of these with
# its parent, which count twice.
MAY_GROW = 48 * MEGABYTE


@pytest.fixture
def stack_with_room(stack: Stack) -> Iterator[Stack]:
    """A limit of 1 GB for nginx and web inside the test."""
    folder = run("docker", "info", "--format", "{{.DockerRootDir}}").strip()
    free = shutil.disk_usage(folder).free
    if free < NEEDED:
        pytest.skip(f"{folder} has {free // GIGABYTE} GB free, this needs {NEEDED // GIGABYTE}")
    stack.compose("up", "-d", "--no-deps", "nginx", "web", UPLOAD_MAX="1g")
    stack.wait_until_healthy("nginx", "web")
    yield stack
    stack.compose("up", "-d", "--no-deps", "nginx", "web")
    stack.wait_until_healthy("nginx", "web")


@contextmanager
def memory_watched(stack: Stack, service: str) -> Iterator[dict[str, int]]:
    """Yields a dictionary that gets the growth of the service's memory in bytes at the end."""
    command = ["docker", "exec", "-i", stack.container(service)["Id"], *program("memory.py")]
    grown: dict[str, int] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watch:
        assert watch.stdin
        assert watch.stdout
        assert watch.stdout.readline() == b"ready\n"
        yield grown
        watch.stdin.close()
        first, largest = json.loads(watch.stdout.read())
    grown["bytes"] = largest - first


def blocks(picture: Picture) -> Iterator[bytes]:
    """A photo with noise behind its end, exactly one gigabyte. Decoders stop at the end of the photo."""
    yield picture.content
    noise = Picture(picture.content * 4).content[:MEGABYTE]
    missing = GIGABYTE - picture.size
    yield from itertools.repeat(noise, missing // MEGABYTE)
    yield noise[: missing % MEGABYTE]


def test_a_gigabyte_needs_no_memory(stack_with_room: Stack, api: requests.Session, photo: Picture, name: str) -> None:
    stack = stack_with_room
    digest = sha256()

    def body() -> Iterator[bytes]:
        for block in blocks(photo):
            digest.update(block)
            yield chunk(block)
        yield b"0\r\n\r\n"

    for number in range(6):  # so that both workers have allocated what a first upload needs
        assert api.put(f"{stack.url}/api/photos/{number}-{name}", data=photo.content, timeout=20).status_code == 201
    request = Request("PUT", f"/api/photos/{name}", {"Transfer-Encoding": "chunked"}, body())
    with memory_watched(stack, "web") as grown, stack.nginx("web") as wire:
        answer = exchange(wire, request, stack.token)
    assert (answer.status, answer.json().get("size")) == (201, GIGABYTE), answer.body
    stored = stack.probe("photo", name)
    assert stored["file_sha256"] == answer.json()["sha256"] == digest.hexdigest()
    assert grown["bytes"] < MAY_GROW
    poll(lambda: not stack.leftovers(), "no half-received body is left", 20)
    assert api.delete(f"{stack.url}/api/photos/{name}", timeout=ANSWER_WITHIN).status_code == 204
