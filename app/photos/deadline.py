"""How much time a request has left. What is not done by then is not done at all.

The server in front answers 504 when a request takes too long, and cannot take back what the application does after
that. So the application has a limit of its own, UPLOAD_SECONDS, below the server's: an upload that was given up is not
stored afterwards.

The clock runs from where the server's does: from the call of the application, if the body was there by then
(wsgiserver hands it out as a file that can be sought in); else from the moment the whole body has come, because until
then a slow client is at work, not this site.
"""

from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from photos.errors import OutOfTime

_began: ContextVar[float | None] = ContextVar("began", default=None)  # None: no request, no limit


class Deadline:
    """Middleware; outermost, so that it counts all there is."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = _began.set(monotonic())
        try:
            return self._get_response(request)
        finally:
            _began.reset(token)


def body_has_come(request: HttpRequest) -> None:
    if _began.get() is not None and not hasattr(request.META.get("wsgi.input"), "seek"):
        _began.set(monotonic())


def left() -> float:
    """Seconds; UPLOAD_SECONDS where there is no request."""
    began = _began.get()
    limit = float(settings.UPLOAD_SECONDS)
    return limit if began is None else limit - (monotonic() - began)


def check() -> None:
    """Raise OutOfTime when none is left. Called last before what cannot be taken back."""
    if left() <= 0:
        raise OutOfTime("The server took too long for this upload. Nothing was stored. Try again.")
