"""The middleware of this project, in the order in which the settings list it. Each applies one rule to all requests."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control

from photos import bodylimit, deadline, problems

_GetResponse = Callable[[HttpRequest], HttpResponseBase]


class Deadline:
    """Starts the clock of the request (deadline.py). Among the outermost, so that all the work counts."""

    def __init__(self, get_response: _GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with deadline.running():
            return self._get_response(request)


class PrivateAnswers:
    """With GALLERY_PUBLIC=false no shared cache may store a response, whichever view made it (RFC 9111, section
    5.2.2.7).
    """

    def __init__(self, get_response: _GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if not settings.GALLERY_PUBLIC:
            patch_cache_control(response, private=True)
        return response


class LowerCaseMediaType:
    """Writes the media type of the request in lower case. Case does not matter in it (RFC 9110, section 8.3.1), but it
    does to the form parsers of Django and of REST framework. Must come before everything that reads a form.
    """

    def __init__(self, get_response: _GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        media_type, semicolon, parameters = request.META.get("CONTENT_TYPE", "").partition(";")
        request.META["CONTENT_TYPE"] = media_type.lower() + semicolon + parameters
        return self._get_response(request)


class BodyLimit:
    """Refuses a body whose Content-Length is above UPLOAD_MAX, before anything reads the body (bodylimit.py)."""

    def __init__(self, get_response: _GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if (bodylimit.content_length(request) or 0) > settings.UPLOAD_MAX:
            return problems.answer(request, bodylimit.too_large())
        return self._get_response(request)
