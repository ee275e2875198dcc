"""One gigabyte: through nginx, our server and Django under a read-only root, with memory for none of it.

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
from tests.stack.stack import Stack, eventually, run
from tests.stack.wire import ANSWER_WITHIN, Request, chunk, exchange

pytestmark = pytest.mark.large

GIGABYTE = 1024**3
NEEDED = 8 * GIGABYTE  # of disk; twice what it takes
MAY_GROW = 24 * MEGABYTE  # both workers together: buffers, and decoding the picture; measured: 11

# Adds up the anonymous memory of all of this container's processes but this one, until stdin ends; prints the first and
# the largest sum. Anonymous: what a process made itself. Pages of the file that it writes are the kernel's to drop.
_WATCH_MEMORY = """
import json, os, select, sys
from pathlib import Path
def anonymous():
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        if int(lines["Pid"]) != os.getpid():
            total += int(lines.get("RssAnon", "0 kB").split()[0]) * 1024
    return total
first = largest = anonymous()
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    largest = max(largest, anonymous())
print(json.dumps([first, largest]))
"""


@pytest.fixture
def stack_with_room(stack: Stack) -> Iterator[Stack]:
    """The limit set to 1 GB, for nginx and web alone, and back again."""
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
    """Filled at the end: by how many bytes the service's memory grew."""
    command = ["docker", "exec", "-i", stack.container(service)["Id"], "python", "-c", _WATCH_MEMORY]
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
    """A photo, and noise behind it until it is a gigabyte to the byte. Decoders stop at the photo's end."""
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

    for number in range(6):  # so that what a first upload needs is there in both workers
        assert api.put(f"{stack.url}/api/photos/{number}-{name}", data=photo.content, timeout=20).status_code == 201
    request = Request("PUT", f"/api/photos/{name}", {"Transfer-Encoding": "chunked"}, body())
    with memory_watched(stack, "web") as grown, stack.nginx("web") as wire:
        answer = exchange(wire, request, stack.token)
    assert (answer.status, answer.json().get("size")) == (201, GIGABYTE), answer.body
    kept = stack.probe("photo", name)
    assert kept["file_sha256"] == answer.json()["sha256"] == digest.hexdigest()
    assert grown["bytes"] < MAY_GROW
    eventually(lambda: not stack.leftovers(), 20, "no half-received body is left")
    assert api.delete(f"{stack.url}/api/photos/{name}", timeout=ANSWER_WITHIN).status_code == 204
