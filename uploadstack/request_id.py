"""One identifier per request: in the log lines, in error bodies and in the answer's X-Request-ID.

nginx sets the header (and overwrites a client's). Where no nginx is in front, or the value looks odd, a new one is
made, so that nobody writes lines of their own choosing into the log.
"""

import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponseBase

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # of a client that is taken over, by the server, too
_current: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """The identifier of the request this thread works on; empty outside of one."""
    return _current.get()


def of(request: object) -> str:
    """The identifier that a request got from the middleware below; empty for whatever else it may be."""
    return str(getattr(request, "request_id", ""))


class RequestId:
    """Middleware, the outermost: whatever the others log or answer already has the identifier."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get("X-Request-ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]  # a request takes what middleware adds to it
        token = _current.set(request_id)
        try:
            response = self._get_response(request)
            response.headers["X-Request-ID"] = request_id
            return response
        finally:
            _current.reset(token)
