"""The plain view of `make demo`: what Django reads of a body with a length, and of one without."""

import hashlib
from pathlib import Path
from typing import Any

from django.test import Client
from django.test.client import FakePayload

BODY = b"a picture" * 20_000


def test_a_body_with_a_length_is_stored_whole_and_does_not_stay(api: Client, media: Path) -> None:
    answer = api.put("/api/plain", BODY, content_type="image/jpeg")
    assert answer.status_code == 200
    assert answer.json() == {"stored_bytes": len(BODY), "sha256": hashlib.sha256(BODY).hexdigest()}
    assert list(media.iterdir()) == []


def test_a_body_without_a_length_is_lost_behind_a_200(api: Client) -> None:
    """As servers pass on a chunked body: the bytes are there, but Django does not read them."""
    environ: dict[str, Any] = {"wsgi.input": FakePayload(BODY), "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = api.generic("PUT", "/api/plain", **environ)
    assert answer.status_code == 200
    assert answer.json()["stored_bytes"] == 0


def test_an_anonymous_upload_is_refused(transactional_db: None) -> None:
    answer = Client().put("/api/plain", BODY, content_type="image/jpeg")
    assert (answer.status_code, answer.json()["error"]) == (401, "login-needed")
