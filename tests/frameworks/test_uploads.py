"""Frameworks without support for chunked bodies get them unchanged from this server: the purpose of the server."""

import hashlib
import json
import random
from pathlib import Path

import pytest

from tests.server.conftest import Serve, Server
from tests.wire.building import chunked, sized

FRAMEWORKS = sorted(path.stem for path in Path(__file__).parent.glob("*_app.py"))
FILE = random.Random(12).randbytes(300_000)
SMALL = b"\x89PNG\r\n\x1a\n\r\n--not-the-boundary\r\n"
JSON = {"note": "na\u00efve \u2603", "list": list(range(1000)), "nested": {"a": [None, True, 1.5]}}
BOUNDARY = "=-=boundary=-="


def form(file: bytes) -> bytes:
    lines = [
        f"--{BOUNDARY}",
        'Content-Disposition: form-data; name="note"',
        "",
        "two\r\nlines",
        f"--{BOUNDARY}",
        'Content-Disposition: form-data; name="file"; filename="a.png"',
        "Content-Type: image/png",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


def check(server: Server, target: str, kind: str, body: bytes, expected: object) -> None:
    """Send the body with a length, in large and in small chunks, on one connection, and check each response."""
    fields = ("Content-Type: " + kind, "Accept: application/json")
    ways = [sized(target, body, *fields)]
    ways += [chunked(target, body, *fields, size=size) for size in (65536, 1000, 7)]
    with server.client() as client:
        for data in ways:
            answer = client.send(data).answer()
            assert answer.status == 200, answer.body
            assert json.loads(answer.body) == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_chunked_uploads_arrive_unchanged(serve: Serve, framework: str) -> None:
    server = serve("--spool-memory", "64k", application=f"tests.frameworks.{framework}")
    check(server, "/json", "application/json", json.dumps(JSON).encode(), JSON)
    for file in (FILE, SMALL, b""):
        expected = {
            "note": "two\r\nlines",
            "name": "a.png",
            "size": len(file),
            "sha256": hashlib.sha256(file).hexdigest(),
        }
        check(server, "/form", f'multipart/form-data; boundary="{BOUNDARY}"', form(file), expected)
