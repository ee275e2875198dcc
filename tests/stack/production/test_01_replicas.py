"""Several containers of web behind one nginx."""

import re

from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.wire import CHUNKED, exchange
from tests.wire.polling import poll


def test_all_replicas_of_web_get_requests(production: Stack, photo: Picture, name: str) -> None:
    containers = production.replicas("web")
    assert len(containers) == 3
    sent = set()
    for number in range(12):
        with production.nginx("web") as wire:
            answer = exchange(wire, CHUNKED(f"{number}-{name}", photo.content), production.token)
        assert (answer.status, answer.json()["sha256"]) == (201, photo.sha256)
        sent.add(answer.headers["X-Request-ID"])
    poll(lambda: len(servers_of(production, sent)) == len(sent), "nginx has logged them", 30)
    assert len(set(servers_of(production, sent))) == 3


def servers_of(production: Stack, sent: set[str]) -> list[str]:
    """The server that answered each request: the last of a list, if nginx had to try several."""
    lines = [line for line in production.requests() if line["request_id"] in sent and line["status"] == 201]
    return [re.findall(r"[0-9.]+:8000", line["upstream"])[-1] for line in lines]
