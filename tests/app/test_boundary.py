"""What a client says in a proxy's name does not reach Django, whatever it is called."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.signals import request_started

# A header, as CGI has it -> whether Django may see it.
ARRIVES = {
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
    "X_FORWARDED_USER": True,  # no header, so no client
}


@contextmanager
def environs() -> Iterator[list[dict[str, Any]]]:
    """What Django is given meanwhile."""
    given: list[dict[str, Any]] = []

    def remember(environ: dict[str, Any], **_: object) -> None:
        given.append(environ)

    request_started.connect(remember)
    yield given
    request_started.disconnect(remember)


@pytest.mark.parametrize("name", ARRIVES)
def test_only_what_nginx_sets_reaches_django(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")  # or the module does, for good
    environ: dict[str, Any] = {"PATH_INFO": "/healthz", name: "said by a client", "HTTP_X_OWN": "arrives"}
    setup_testing_defaults(environ)
    answered = []
    with environs() as given:
        application = importlib.import_module("config.wsgi").application
        body = application(environ, lambda status, _: answered.append(status))
    assert (answered, list(body)) == (["200 OK"], [b'{"status": "ok"}'])
    (seen,) = given
    assert (name in seen) is ARRIVES[name]
    assert seen["HTTP_X_OWN"] == "arrives"
