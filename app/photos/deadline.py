"""How much time a request has left. What is not done by then is not done at all.

The server in front answers 504 when a request takes too long, but cannot undo what the application does after that. So
the application has a shorter limit, UPLOAD_SECONDS: an upload that was answered 504 is not stored afterwards.

The clock starts when the server's clock does: when the server calls the application, if it has received the body by
then (wsgiserver passes the body as a file that supports seeking). Otherwise it starts when the body is complete,
because until then the request waits for a slow client, not for this site.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from django.conf import settings
from django.http import HttpRequest

from photos.errors import OutOfTime

_began: ContextVar[float | None] = ContextVar("began", default=None)  # None: no request, no limit


@contextmanager
def running() -> Iterator[None]:
    """Run the clock; used by `middleware.Deadline`."""
    token = _began.set(monotonic())
    try:
        yield
    finally:
        _began.reset(token)


def body_has_come(request: HttpRequest) -> None:
    """Restart the clock, unless the body was complete when the application was called."""
    if _began.get() is not None and not hasattr(request.META.get("wsgi.input"), "seek"):
        _began.set(monotonic())


def left() -> float:
    """Return the seconds that are left; UPLOAD_SECONDS outside of a request."""
    began = _began.get()
    limit = float(settings.UPLOAD_SECONDS)
    return limit if began is None else limit - (monotonic() - began)


def check() -> None:
    """Raise OutOfTime if no time is left. Called immediately before a step that cannot be undone."""
    if left() <= 0:
        raise OutOfTime("The server took too long for this upload. Nothing was stored. Try again.")
