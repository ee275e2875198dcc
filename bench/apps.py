"""What the servers under measurement run. No framework: the server is what is measured."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

HELLO = b"Hello, World!"
PIECE = 64 * 1024  # bytes read at once, as Django's upload handlers do


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Greet; or, for a request with a body, answer with the SHA-256 of what arrived, read as Django reads it."""
    body = HELLO
    if environ["REQUEST_METHOD"] == "PUT":
        body = _digest(environ).encode("ascii")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _digest(environ: dict[str, Any]) -> str:
    """Read exactly CONTENT_LENGTH bytes, none without it: that is what Django does (core/handlers/wsgi.py)."""
    left = int(environ.get("CONTENT_LENGTH") or 0)
    digest = hashlib.sha256()
    while left and (piece := environ["wsgi.input"].read(min(left, PIECE))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()
