"""Common client programs: their chunked uploads are stored whole, and they can read refusals.

The programs are in clients/ and in docs/uploading.md. Each prints the answer, and fails if it is a refusal.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stack import pictures
from tests.stack.pictures import Picture
from tests.stack.stack import Stack

CLIENTS = Path(__file__).with_name("clients")
PROGRAMS = {
    "curl": ["bash", "upload.sh"],
    "requests": [sys.executable, "upload_requests.py"],
    "httpx": [sys.executable, "upload_httpx.py"],
    "aiohttp": [sys.executable, "upload_aiohttp.py"],
    "node": ["node", "upload.mjs"],
    "java": ["java", "Upload.java"],
}
ROUTES = {"buffered": "", "streamed": "/streamed"}
FINISHES_WITHIN = 120  # seconds; Java compiles the program first

# Without the proxies of the environment.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}

pytestmark = [pytest.mark.parametrize("client", PROGRAMS), pytest.mark.parametrize("route", ROUTES)]


@pytest.fixture(scope="module")
def photo_file(photo: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(photo, tmp_path_factory)


@pytest.fixture(scope="module")
def large_file(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(pictures.sized(stack.limit + 1), tmp_path_factory)


def written(picture: Picture, folders: pytest.TempPathFactory) -> Path:
    path = folders.mktemp("clients") / "photo.jpg"
    path.write_bytes(picture.content)
    return path


def upload(stack: Stack, client: str, address: str, file: Path) -> tuple[bool, Any]:
    """Whether it succeeded, and the JSON that it printed; None if the library got no answer."""
    interpreter, program = PROGRAMS[client]
    if shutil.which(interpreter) is None:
        pytest.skip(f"{interpreter} is not installed")
    command = [interpreter, str(CLIENTS / program), address, stack.token, str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, timeout=FINISHES_WITHIN, check=False
    )
    try:
        return done.returncode == 0, json.loads(done.stdout)
    except json.JSONDecodeError:
        assert done.returncode != 0, done.stdout
        assert done.stderr, "no error on stderr"
        return False, None


def address(stack: Stack, server: str, route: str, name: str) -> str:
    return f"http://127.0.0.1:{stack.ports[server]}{ROUTES[route]}/api/photos/{name}"


@pytest.mark.parametrize("server", ["web", "gunicorn"])
def test_a_chunked_upload_of_a_common_client_is_stored_whole(
    stack: Stack, photo: Picture, photo_file: Path, name: str, client: str, route: str, server: str
) -> None:
    succeeded, reported = upload(stack, client, address(stack, server, route, name), photo_file)
    stored = stack.probe("take", name)
    if (server, route) == ("gunicorn", "streamed"):  # no buffer determines the length
        assert (succeeded, stored) == (False, {})
        assert reported is None or reported["error"] in {"empty-body", "application-unreachable"}, reported
    else:
        assert succeeded, reported
        assert (reported["sha256"], stored) == (photo.sha256, {name: photo.sha256})


def test_a_common_client_can_read_why_a_photo_is_too_large(
    stack: Stack, large_file: Path, name: str, client: str, route: str
) -> None:
    """Some clients read while they send (curl, aiohttp, Node); for the others, nginx waits until they have sent."""
    succeeded, reported = upload(stack, client, address(stack, "web", route, name), large_file)
    assert not succeeded
    assert reported["error"] == "body-too-large"
    assert "UPLOAD_MAX" in reported["detail"]
    assert stack.probe("take", name) == {}
