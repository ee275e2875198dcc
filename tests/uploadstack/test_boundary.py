"""Proxy headers of a client do not reach the application, whatever their name."""

from typing import Any

import pytest

from uploadstack.boundary import guarded

# Name of a header in CGI -> whether the application gets it.
VISIBLE = {
    "HTTP_X_FORWARDED_FOR": True,
    "HTTP_X_FORWARDED_HOST": True,
    "HTTP_X_FORWARDED_PORT": True,
    "HTTP_X_FORWARDED_PROTO": True,
    "HTTP_X_FORWARDED_USER": False,
    "HTTP_X_FORWARDED_FOR_2": False,
    "HTTP_X_FORWARDED_": False,
    "HTTP_X_FORWARDED_8F3A_NOBODY_HAS_THOUGHT_OF": False,
    "HTTP_X_ACCEL_REDIRECT": False,
    "HTTP_X_ACCEL_8F3A": False,
    "HTTP_X_FORWARDER": True,
    "HTTP_X_ACCELERATION": True,
    "HTTP_FORWARDED": True,  # nginx empties it
    "X_FORWARDED_USER": True,  # not a header, so not from a client
}


@pytest.mark.parametrize("name", VISIBLE)
def test_only_proxy_headers_set_by_nginx_reach_the_application(name: str) -> None:
    received: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        received.append(environ)
        start_response("200 OK", [])
        return [b"answered"]

    statuses: list[str] = []

    def start_response(status: str, *_: Any) -> Any:
        statuses.append(status)

    body = guarded(application)({name: "said by a client", "HTTP_X_OWN": "arrives"}, start_response)
    assert (statuses, list(body)) == (["200 OK"], [b"answered"])
    assert (name in received[0]) is VISIBLE[name]
    assert received[0]["HTTP_X_OWN"] == "arrives"
