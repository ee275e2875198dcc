"""The Django project under measurement, in one file: what a site has, without a database to wait for.

The usual middleware runs on every request, sessions live in signed cookies, and the page is a template with a loop.
`project:application` is the WSGI application; it is the same object for every server.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

READ: Final = 64 * 1024  # bytes at once, as Django's own upload handlers read
NAP: Final = 0.1  # seconds
BLOCK: Final = b"\0" * READ
ROWS: Final = [{"name": f"Photo {number}", "size": number * 4096, "public": number % 3 == 0} for number in range(5)]
PAGE: Final = """<!doctype html>
<html lang="en"><head><title>{{ title }}</title></head><body>
<p>{% if user.is_authenticated %}{{ user.username }}{% else %}<a href="{% url 'page' %}">Sign in</a>{% endif %}</p>
<ul>{% for row in rows %}
<li class="{% cycle 'odd' 'even' %}">{{ row.name }}: {{ row.size }} bytes{% if row.public %} (public){% endif %}</li>
{% endfor %}</ul>
</body></html>
"""

settings.configure(
    SECRET_KEY="known to everyone, and good for nothing but this measurement",  # noqa: S106 - it protects nothing
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                ],
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [("django.template.loaders.locmem.Loader", {"page.html": PAGE})],
                    )
                ],
            },
        }
    ],
)


def page(request: HttpRequest) -> HttpResponse:
    """A page that looks who asks, and lists things."""
    return render(request, "page.html", {"title": "Photos", "rows": ROWS})


def fast(_: HttpRequest) -> HttpResponse:
    return HttpResponse("fast")


def slow(_: HttpRequest) -> HttpResponse:
    """Wait for something else, as a view does that asks another context."""
    time.sleep(NAP)
    return HttpResponse("slow")


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """Read the body; answer its SHA-256, and the seconds of CPU time that this alone has cost."""
    digest, spent = hashlib.sha256(), 0.0
    while piece := request.read(READ):
        began = time.thread_time()
        digest.update(piece)
        spent += time.thread_time() - began
    return HttpResponse(f"{digest.hexdigest()} {spent:.9f}")


def stream(_: HttpRequest, size: int) -> StreamingHttpResponse:
    """Make a download while it is sent."""
    return StreamingHttpResponse(_blocks(size), content_type="application/octet-stream")


def file(_: HttpRequest) -> FileResponse:
    """Send a file, by `wsgi.file_wrapper` where the server has one."""
    return FileResponse(Path(os.environ["BENCH_FILE"]).open("rb"), content_type="application/octet-stream")


def _blocks(size: int) -> Iterator[bytes]:
    for start in range(0, size, READ):
        yield BLOCK[: size - start]


urlpatterns = [
    path("page", page, name="page"),
    path("fast", fast),
    path("slow", slow),
    path("upload", upload),
    path("stream/<int:size>", stream),
    path("file", file),
]

application = get_wsgi_application()
