"""One application for each way in which frameworks send a file. TEST_DOWNLOAD names the file."""

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
    """As from a FileField: Django's own file object wraps the file."""
    return FileResponse(File(PATH.open("rb")), as_attachment=True)


def part_response(request: HttpRequest) -> FileResponse:
    """As django-ranged-response and similar packages do: a file at the start of the range, and the range's length."""
    first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
    file = PATH.open("rb")
    response = FileResponse(file, status=206)
    file.seek(first)
    response.headers["Content-Length"] = str(last - first + 1)
    return response


urlpatterns = [path("file", file_response), path("field", field_response), path("part", part_response)]
django_application = WSGIHandler()


def werkzeug_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    from werkzeug.utils import send_file  # noqa: PLC0415 - the other application does not need it
    from werkzeug.wrappers import Request, Response  # noqa: PLC0415
    from werkzeug.wsgi import wrap_file  # noqa: PLC0415

    request = Request(environ)
    if request.path in {"/file", "/part"}:
        response = send_file(PATH, environ, conditional=True)
    else:
        response = Response(wrap_file(environ, PATH.open("rb")), direct_passthrough=True)
    return response(environ, start_response)


def whitenoise_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Files of a folder; /part and /file are the same file."""
    from whitenoise import WhiteNoise  # noqa: PLC0415

    def nothing(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("404 Not Found", [])
        return []

    whitenoise = WhiteNoise(nothing)
    for url in ("/file", "/field", "/part"):
        whitenoise.add_file_to_dictionary(url, str(PATH))
    blocks: Iterable[bytes] = whitenoise(environ, start_response)
    return blocks
