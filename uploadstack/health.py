"""Health checks: does the process answer (/healthz), and can it do its work (/readyz)?

A middleware answers them, before sessions, the Host header and everything else that can fail: a health check connects
to 127.0.0.1, which need not be in ALLOWED_HOSTS. `/healthz` uses nothing else. `/readyz` runs the checks in the setting
HEALTH_CHECKS, a mapping of names to functions (dotted paths) that raise NotReady. Without the setting it runs the
checks below: database, media folder, free disk space. The body names the checks that failed; the log has the reasons.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.module_loading import import_string

_Check = Callable[[], None]  # raises NotReady
_log = logging.getLogger(__name__)


class NotReady(Exception):
    """Raised by a check that fails; the text is for the log."""


def check_database() -> None:
    """Raise NotReady unless the database answers and has Django's own table."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
    except DatabaseError as error:
        raise NotReady(f"{error}. Is the database up, and did `manage.py migrate` run?") from error


def check_media() -> None:
    """Raise NotReady unless MEDIA_ROOT can be written to."""
    folder = Path(settings.MEDIA_ROOT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise NotReady(f"{error}. {folder} must be writable for user id {os.getuid()}.") from error


def check_disk() -> None:
    """Raise NotReady unless one more upload of the largest size fits: UPLOAD_MAX bytes, a setting of the project."""
    try:
        disk = os.statvfs(settings.MEDIA_ROOT)
    except OSError as error:
        raise NotReady(str(error)) from error
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < getattr(settings, "UPLOAD_MAX", 0):
        raise NotReady(f"{free_bytes} bytes are free for {settings.MEDIA_ROOT}, less than UPLOAD_MAX. Free some space.")


_DEFAULT_CHECKS = {name: f"{__name__}.check_{name}" for name in ("database", "media", "disk")}


def _verdict(name: str, check: _Check) -> str:
    try:
        check()
    except NotReady as error:
        _log.error("not ready: %s: %s", name, error)
        return "failed"
    return "ok"


def _ready(checks: Mapping[str, _Check]) -> JsonResponse:
    verdicts = {name: _verdict(name, check) for name, check in checks.items()}
    is_ready = set(verdicts.values()) == {"ok"}
    return JsonResponse({"status": "ok" if is_ready else "failed", **verdicts}, status=200 if is_ready else 503)


class HealthChecks:
    """Middleware. Raises ImportError when the server starts, if a check does not exist."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        checks = getattr(settings, "HEALTH_CHECKS", _DEFAULT_CHECKS)
        self._checks: dict[str, _Check] = {name: import_string(path) for name, path in checks.items()}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path == "/healthz":
            return JsonResponse({"status": "ok"})
        if request.path == "/readyz":
            return _ready(self._checks)
        return self._get_response(request)
