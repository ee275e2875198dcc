"""The one place where errors become answers.

Below /api/ every error is JSON of one shape: `error`, a stable short name for programs; `detail`, a sentence for
people that says what to do; `request_id`, which finds the log lines. Elsewhere it is a small page with the same
sentence. The short names are those of errors.py and of _CODES below.
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

from config import requestid
from photos.errors import BadRequest, BodyIncomplete, DatabaseUnavailable, Problem

_log = logging.getLogger(__name__)
_CODES = {
    400: "bad-request",
    401: "login-needed",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    500: "server-error",
}
_NOT_FOUND = "There is nothing at this address. Check the name; GET /api/photos/ lists what there is."
_NO_PAGE = "There is nothing at this address. It may be misspelt, or the photo may have been deleted."
_SERVER_ERROR = "Something broke on the server. Try again; if it stays, give the request id to whoever runs it."
_LOGIN = "A login is needed. Send `Authorization: Token ...`; `make token` prints a token of the sample user."
_WRONG_LOGIN = "This token is wrong, or too old. `make token` prints a new one."
_CSRF = (
    "The form's token does not match. Reload the page and try again. If it stays: the proxy has to pass the Host "
    "header with its port, or CSRF_TRUSTED_ORIGINS has to name this site's address."
)


def body(code: str, detail: str) -> dict[str, str]:
    return {"error": code, "detail": detail, "request_id": requestid.current()}


def answer(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    """An error outside of an API view: JSON below /api/, else a page."""
    if request.path.startswith("/api/"):
        return JsonResponse(body(code, detail), status=status)
    return render(request, "photos/problem.html", body(code, detail), status=status)


def on_a_page(request: HttpRequest, problem: Problem) -> HttpResponse:
    """A problem that a view of pages.py met."""
    return with_headers(answer(request, problem.status, problem.code, str(problem)), problem)


def as_problem(error: BaseException | None) -> Problem | None:
    """The Problem behind an exception of the layers below; None when there is none, and it is a bug."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnreadablePostError):
        return BodyIncomplete("The connection broke before the body was complete. Nothing was stored; send it again.")
    if isinstance(error, SuspiciousOperation):  # too many fields or files, a form that makes the parser loop
        return BadRequest(f"The request cannot be read: {error}")
    if isinstance(error, OperationalError | InterfaceError):  # the second: a connection that was lost before
        return DatabaseUnavailable("The database is busy or away. Try again in a moment.")
    return None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's hook. None lets the exception go on to Django, which logs it and calls server_error."""
    if problem := as_problem(error):
        set_rollback()
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # ours, not the client's
            _log.error(problem.code, exc_info=error)
        return Response(body(problem.code, str(problem)), status=problem.status, headers=problem.headers)
    if isinstance(error, Http404):
        return Response(body(_CODES[404], _NOT_FOUND), status=404)
    if isinstance(error, PermissionDenied):
        return Response(body(_CODES[403], str(error) or "You may not do this."), status=403)
    if isinstance(error, exceptions.APIException):
        return _of_the_framework(error)
    return None


def _of_the_framework(error: exceptions.APIException) -> Response:
    headers: dict[str, str] = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.NotAuthenticated):
        return Response(body(_CODES[401], _LOGIN), status=error.status_code, headers=headers)
    if isinstance(error, exceptions.AuthenticationFailed):
        return Response(body("bad-token", _WRONG_LOGIN), status=error.status_code, headers=headers)
    code = _CODES.get(error.status_code, str(error.default_code).replace("_", "-"))
    return Response(body(code, f"{str(error.detail).rstrip('.')}."), status=error.status_code, headers=headers)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    problem = as_problem(exception) or BadRequest("The request cannot be understood.")
    return with_headers(answer(request, problem.status, problem.code, str(problem)), problem)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 403, _CODES[403], str(exception) or "You may not do this.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    _log.warning("CSRF check failed: %s", reason)
    return answer(request, 403, "csrf", _CSRF)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    is_api = request.path.startswith("/api/")
    return answer(request, 404, _CODES[404], _NOT_FOUND if is_api else _NO_PAGE)


def server_error(request: HttpRequest) -> HttpResponse:
    """What no view has caught, a database that is away included: Django calls this while it handles the exception.

    The page must not need what may be broken (database, session), so it is rendered without the request.
    """
    problem = as_problem(sys.exception()) or Problem(_SERVER_ERROR)
    said = body(problem.code, str(problem))
    response: HttpResponse
    if request.path.startswith("/api/"):
        response = JsonResponse(said, status=problem.status)
    else:
        response = render(None, "photos/problem.html", said, status=problem.status)
    return with_headers(response, problem)


def with_headers(response: HttpResponse, problem: Problem) -> HttpResponse:
    for name, value in problem.headers.items():
        response.headers[name] = value
    return response
