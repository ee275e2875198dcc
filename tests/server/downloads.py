"""The ways frameworks have of answering with a file, each an application: the file is that of TEST_DOWNLOAD."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.files import File
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpRequest
from django.urls import path

PATH = Path(os.environ["TEST_DOWNLOAD"])

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="test",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
    ],
)
django.setup()


def file_response(_: HttpRequest) -> FileResponse:
    return FileResponse(PATH.open("rb"))


def field_response(_: HttpRequest) -> FileResponse:
    """As from a FileField: the file is within Django's own."""
    return FileResponse(File(PATH.open("rb")), as_attachment=True)


urlpatterns = [path("file", file_response), path("field", field_response)]
django_application = WSGIHandler()


def werkzeug_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    from werkzeug.utils import send_file  # noqa: PLC0415 - the other application does without
    from werkzeug.wrappers import Request, Response  # noqa: PLC0415
    from werkzeug.wsgi import wrap_file  # noqa: PLC0415

    request = Request(environ)
    if request.path == "/file":
        response = send_file(PATH, environ)
    else:
        response = Response(wrap_file(environ, PATH.open("rb")), direct_passthrough=True)
    return response(environ, start_response)
