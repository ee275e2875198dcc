"""Two questions a supervisor asks: does the process answer (/healthz), can it do its work (/readyz).

Answered in a middleware, before sessions, the Host header and everything else that can fail: a health check speaks to
127.0.0.1 whatever ALLOWED_HOSTS says. `/healthz` touches nothing; `/readyz` tries the database, the media folder and
the space left on its disk. The body names what failed; the log says why.
"""

import logging
import os
import tempfile
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse

_log = logging.getLogger(__name__)


class NotReady(Exception):
    """A check's verdict; the text is for the log."""


def _check_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM photos_photo LIMIT 1")
    except DatabaseError as error:
        raise NotReady(f"{error}. Is the database up, and did `manage.py migrate` run?") from error


def _check_media() -> None:
    folder = settings.MEDIA_ROOT / "incoming"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise NotReady(f"{error}. {folder} must be writable for user id {os.getuid()}.") from error


def _check_disk() -> None:
    """One more upload of the largest size has to fit."""
    try:
        disk = os.statvfs(settings.MEDIA_ROOT)
    except OSError as error:
        raise NotReady(str(error)) from error
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < settings.UPLOAD_MAX:
        raise NotReady(f"{free_bytes} bytes left for {settings.MEDIA_ROOT}, less than UPLOAD_MAX. Make space.")


_CHECKS: dict[str, Callable[[], None]] = {"database": _check_database, "media": _check_media, "disk": _check_disk}


def _verdict(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except NotReady as error:
        _log.error("not ready: %s: %s", name, error)
        return "failed"
    return "ok"


def _ready() -> JsonResponse:
    verdicts = {name: _verdict(name, check) for name, check in _CHECKS.items()}
    is_ready = set(verdicts.values()) == {"ok"}
    return JsonResponse({"status": "ok" if is_ready else "failed", **verdicts}, status=200 if is_ready else 503)


class HealthChecks:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path == "/healthz":
            return JsonResponse({"status": "ok"})
        if request.path == "/readyz":
            return _ready()
        return self._get_response(request)
