"""Refuses a body that says it is larger than UPLOAD_MAX, before anybody reads it.

A body that does not say (no Content-Length) reaches Django empty unless the server in front has counted it; the view
that streams counts again for itself, because a header is only a claim.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.template.defaultfilters import filesizeformat

from photos import problems
from photos.errors import TooLarge


def for_people() -> str:
    """The limit as a person writes it: 100 MB."""
    return filesizeformat(settings.UPLOAD_MAX).replace("\xa0", " ").replace(".0 ", " ")


def too_large() -> TooLarge:
    return TooLarge(
        f"The upload is larger than {for_people()} (UPLOAD_MAX). Nothing was stored. Send a smaller one.",
        people=f"The upload is larger than {for_people()}, all its photos together. Nothing was stored. Send "
        "fewer photos at a time, or smaller ones.",
    )


def content_length(request: HttpRequest) -> int | None:
    """What the request claims, in bytes; None when it claims nothing or nonsense."""
    value = request.META.get("CONTENT_LENGTH") or ""
    if not (value.isascii() and value.isdigit()):
        return None
    return int(value[:20])  # the first 20 digits are more than any disk holds; Python refuses to read thousands


class BodyLimit:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if (content_length(request) or 0) > settings.UPLOAD_MAX:
            return problems.answer(request, too_large())
        return self._get_response(request)
