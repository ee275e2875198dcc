"""The application that the stack serves: the project's own, behind the trust boundary."""

import importlib
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.core.signals import request_started


def test_the_project_is_served_behind_the_trust_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings")
    environs: list[dict[str, Any]] = []

    def remember(environ: dict[str, Any], **_: object) -> None:
        environs.append(environ)

    environ: dict[str, Any] = {"PATH_INFO": "/healthz", "HTTP_X_FORWARDED_USER": "root", "HTTP_X_OWN": "arrives"}
    setup_testing_defaults(environ)
    statuses: list[str] = []
    request_started.connect(remember)
    try:
        application = importlib.import_module("uploadstack.wsgi").application
        body = application(environ, lambda status, _: statuses.append(status))
    finally:
        request_started.disconnect(remember)
    assert (statuses, list(body)) == (["200 OK"], [b'{"status": "ok"}'])
    (received,) = environs
    assert ("HTTP_X_FORWARDED_USER" in received, received["HTTP_X_OWN"]) == (False, "arrives")
