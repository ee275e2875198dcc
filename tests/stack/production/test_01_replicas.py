"""Several containers of web behind one nginx."""

import re

from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.wire import CHUNKED, exchange


def test_all_of_them_get_requests(production: Stack, photo: Picture, name: str) -> None:
    containers = production.replicas("web")
    assert len(containers) == 3
    for number in range(12):
        with production.nginx("web") as wire:
            answer = exchange(wire, CHUNKED(f"{number}-{name}", photo.content), production.token)
        assert (answer.status, answer.json()["sha256"]) == (201, photo.sha256)
    # One that was sent on, because nobody was there, has a list.
    asked = {address for line in production.requests() for address in re.findall(r"[0-9.]+:8000", line["upstream"])}
    assert len(asked) == 3
