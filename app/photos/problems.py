"""The one place where errors become answers.

Below /api/ every error is JSON of one shape: `error`, a stable short name for programs; `detail`, a sentence that says
what to do; `request_id`, which finds the log lines. Elsewhere it is a small page. The short names are those of
errors.py and of _CODES below.

Who asks decides which of a problem's two texts (errors.py) is sent: visitors get the one for people, on pages and
through the page's script; programs that use the API get the technical one. What visitors are not told is in the log.
"""

import logging
import sys
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.shortcuts import render
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from photos.errors import (
    BadRequest,
    BodyIncomplete,
    CsrfFailed,
    DatabaseUnavailable,
    Forbidden,
    NotFound,
    NotLoggedIn,
    Problem,
    WrongToken,
)
from uploadstack import request_id

_log = logging.getLogger(__name__)
_CODES = {  # of what the framework refuses by itself
    400: "bad-request",
    401: "login-needed",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    500: "server-error",
}
_NOT_FOUND = "There is nothing at this address. Check the name; GET /api/photos/ lists all photos."
_SERVER_ERROR = (
    "The server has failed. Try again. If it fails again, give the request id to the administrator of this site."
)
_LOGIN = "This needs a login. Send `Authorization: Token ...`; `make token` prints a token of the sample user."
_WRONG_LOGIN = "This token is wrong or no longer valid. `make token` prints a new one."
_CSRF = (
    "The CSRF check failed: {}. Reload the page. If it fails again, make the proxy pass on the Host header with its "
    "port, or add this site's address to CSRF_TRUSTED_ORIGINS."
)
_REFUSED = "The server does not accept this request. Nothing was stored or changed. Reload the page and try again."
# Marks JSON with a text for people. The page's script shows no other: nginx and proxies answer with JSON, too.
_FOR_VISITORS = {"X-Text-For": "people"}


def is_visitor(request: HttpRequest) -> bool:
    """Whether a visitor reads the answer. The page's script sends the API the form's CSRF token, also when the session
    has ended; programs send a token of their own, or nothing.
    """
    if not request.path.startswith("/api/"):
        return True
    return "X-CSRFToken" in request.headers and "Authorization" not in request.headers


def answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """An error outside of an API view: JSON below /api/, else a page."""
    note(problem)
    return _rendered(request, problem, request)


def _rendered(request: HttpRequest, problem: Problem, context: HttpRequest | None) -> HttpResponse:
    """`context` is what the page may ask who is logged in; None where that may be what is broken."""
    response: HttpResponse
    if request.path.startswith("/api/"):
        response = JsonResponse(_said(request, problem), status=problem.status)
        return _with_headers(response, {**problem.headers, **_mark(request)})
    said = _body(problem.code, about_files(problem))
    response = render(context, "photos/problem.html", said, status=problem.status)
    return _with_headers(response, problem.headers)


def about_files(problem: Problem) -> str:
    """The text for a page that has no list of files: which of them it is about, and what became of the others."""
    file, text = problem.file, problem.for_visitors
    if file is None:
        return text
    stored = "" if "othing was stored" in text else " Nothing was stored."
    if file.count == 1:
        return f"{file.name}: {text}{stored}"
    others = "The other files were not stored either. Send them again without this one."
    return f"{file.name} (file {file.number} of {file.count}): {text}{stored} {others}"


def note(problem: Problem) -> None:
    """Write down what a visitor is not told. Errors of the server come with their traceback."""
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error(problem.code, exc_info=problem)
    elif problem.visitor_text:
        _log.warning("%s: %s", problem.code, problem)


def _body(code: str, detail: str) -> dict[str, str]:
    return {"error": code, "detail": detail, "request_id": request_id.current()}


def _said(request: HttpRequest, problem: Problem) -> dict[str, str]:
    return _body(problem.code, problem.for_visitors if is_visitor(request) else str(problem))


def _mark(request: HttpRequest) -> dict[str, str]:
    return _FOR_VISITORS if is_visitor(request) else {}


def as_problem(error: BaseException | None) -> Problem | None:
    """The Problem behind an exception of the layers below; None when there is none, and it is a bug."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnreadablePostError):
        return BodyIncomplete(
            "The connection was lost before the body was complete. Nothing was stored; send it again."
        )
    if isinstance(error, SuspiciousOperation):  # too many fields or files, a form that makes the parser loop
        return BadRequest(f"The request cannot be read: {error}")
    if isinstance(error, OperationalError | InterfaceError):  # the second: a connection that was lost before
        return DatabaseUnavailable("The database is busy or cannot be reached. Try again in a moment.")
    return None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's hook. None lets the exception go on to Django, which logs it and calls server_error."""
    problem = as_problem(error) or _of_django(error) or _of_the_framework(error)
    if problem is None:
        return None
    request = context["request"]
    if as_problem(error):
        set_rollback()
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # ours, not the client's
        _log.error(problem.code, exc_info=error)
    elif is_visitor(request):
        note(problem)
    headers = {**problem.headers, **_mark(request)}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    return Response(_said(request, problem), status=problem.status, headers=headers)


def _of_django(error: Exception) -> Problem | None:
    if isinstance(error, Http404):
        return NotFound(_NOT_FOUND)
    if isinstance(error, PermissionDenied):
        return Forbidden(str(error) or "You are not allowed to do this.")
    return None


def _of_the_framework(error: Exception) -> Problem | None:
    if not isinstance(error, exceptions.APIException):
        return None
    text = f"{str(error.detail).rstrip('.')}."
    if isinstance(error, exceptions.NotAuthenticated):
        return NotLoggedIn(_LOGIN)
    if isinstance(error, exceptions.AuthenticationFailed):
        return WrongToken(_WRONG_LOGIN)
    if isinstance(error, exceptions.PermissionDenied) and text.startswith("CSRF Failed: "):
        problem: Problem = CsrfFailed(_CSRF.format(text.removeprefix("CSRF Failed: ").rstrip(".")))
        problem.code = _CODES[403]  # as programs know it
        return problem
    if isinstance(error, exceptions.NotFound):
        return NotFound(text)
    problem = Problem(text, visitor_text=_REFUSED)
    problem.status = error.status_code
    problem.code = _CODES.get(error.status_code, str(error.default_code).replace("_", "-"))
    return problem


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, as_problem(exception) or BadRequest("The request is malformed."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, Forbidden(str(exception) or "You are not allowed to do this."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return answer(request, CsrfFailed(_CSRF.format(reason.rstrip("."))))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _rendered(request, NotFound(_NOT_FOUND), request)  # Django logs the address


def server_error(request: HttpRequest) -> HttpResponse:
    """What no view has caught, a database that is away included: Django calls this while it handles the exception,
    which it has logged.

    The page must not need what may be broken (database, session), so it is rendered without the request.
    """
    return _rendered(request, as_problem(sys.exception()) or Problem(_SERVER_ERROR), None)


def with_headers(response: HttpResponse, problem: Problem) -> HttpResponse:
    return _with_headers(response, problem.headers)


def _with_headers(response: HttpResponse, headers: dict[str, str]) -> HttpResponse:
    for name, value in headers.items():
        response.headers[name] = value
    return response
