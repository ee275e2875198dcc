"""The only module that turns errors into responses.

Below /api/ every error is a JSON object: `error` is a stable short name for programs; `detail` is a sentence that says
what to do; `request_id` identifies the log lines. Elsewhere an error is a small page. The short names are those of
errors.py and of _CODES below.

A problem has two texts (errors.py). Visitors get the text for visitors, on pages and through the page's script.
Programs that use the API get the technical text. If visitors get another text, the technical text is logged.
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
_CODES = {  # of requests that the framework itself refuses
    400: "bad-request",
    401: "login-needed",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    500: "internal-error",
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
# Marks JSON with a text for visitors. The page's script shows no other JSON: nginx and proxies also respond with JSON.
_FOR_VISITORS = {"X-Text-For": "people"}


def is_visitor(request: HttpRequest) -> bool:
    """Return whether a visitor reads the response. The page's script sends the form's CSRF token to the API, even when
    the session has ended; programs send an API token, or nothing.
    """
    if not request.path.startswith("/api/"):
        return True
    return "X-CSRFToken" in request.headers and "Authorization" not in request.headers


def answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Return the response to an error outside of an API view: JSON below /api/, otherwise a page."""
    note(problem)
    return _rendered(request, problem, request)


def _rendered(request: HttpRequest, problem: Problem, context: HttpRequest | None) -> HttpResponse:
    """`context` lets the page look up who is logged in; None if that lookup itself may be broken."""
    response: HttpResponse
    if request.path.startswith("/api/"):
        response = JsonResponse(_payload(request, problem), status=problem.status)
        return _with_headers(response, {**problem.headers, **_mark(request)})
    payload = _body(problem.code, about_files(problem))
    response = render(context, "photos/problem.html", payload, status=problem.status)
    return _with_headers(response, problem.headers)


def about_files(problem: Problem) -> str:
    """Return the text for a page that does not list files: the file it is about, and what happened to the others."""
    file, text = problem.file, problem.for_visitors
    if file is None:
        return text
    stored = "" if "othing was stored" in text else " Nothing was stored."
    if file.count == 1:
        return f"{file.name}: {text}{stored}"
    others = "The other files were not stored either. Send them again without this one."
    return f"{file.name} (file {file.number} of {file.count}): {text}{stored} {others}"


def note(problem: Problem) -> None:
    """Log the technical text that a visitor does not get. Errors of the server are logged with their traceback."""
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error(problem.code, exc_info=problem, extra=_logged(problem))
    elif problem.visitor_text:
        _log.warning("%s: %s", problem.code, problem, extra=_logged(problem))


def _logged(problem: Problem) -> dict[str, dict[str, str]]:
    """The log has the name under the same key as the answer."""
    return {"fields": {"error": problem.code}}


def _body(code: str, detail: str) -> dict[str, str]:
    return {"error": code, "detail": detail, "request_id": request_id.current()}


def _payload(request: HttpRequest, problem: Problem) -> dict[str, str]:
    return _body(problem.code, problem.for_visitors if is_visitor(request) else str(problem))


def _mark(request: HttpRequest) -> dict[str, str]:
    return _FOR_VISITORS if is_visitor(request) else {}


def as_problem(error: BaseException | None) -> Problem | None:
    """Return the Problem behind an exception of the layers below; None if the exception is a bug."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UnreadablePostError):
        return BodyIncomplete(
            "The connection was lost before the body was complete. Nothing was stored; send it again."
        )
    if isinstance(error, SuspiciousOperation):  # too many fields or files, a form that makes the parser loop
        return BadRequest(f"The request cannot be read: {error}")
    if isinstance(error, OperationalError | InterfaceError):  # InterfaceError: the connection was lost earlier
        return DatabaseUnavailable("The database is busy or cannot be reached. Try again in a moment.")
    return None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Hook of Django REST framework. For None, Django handles the exception: it logs it and calls server_error."""
    problem = as_problem(error) or _of_django(error) or _of_the_framework(error)
    if problem is None:
        return None
    request = context["request"]
    if as_problem(error):
        set_rollback()
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # the server's fault, not the client's
        _log.error(problem.code, exc_info=error, extra=_logged(problem))
    elif is_visitor(request):
        note(problem)
    headers = {**problem.headers, **_mark(request)}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    return Response(_payload(request, problem), status=problem.status, headers=headers)


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
        problem.code = _CODES[403]  # the name that programs know
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
    """Respond to an exception that no view has caught, including an unreachable database. Django has logged the
    exception and is handling it.

    The page must not use anything that may be broken (database, session), so it is rendered without the request.
    """
    return _rendered(request, as_problem(sys.exception()) or Problem(_SERVER_ERROR), None)


def with_headers(response: HttpResponse, problem: Problem) -> HttpResponse:
    return _with_headers(response, problem.headers)


def _with_headers(response: HttpResponse, headers: dict[str, str]) -> HttpResponse:
    for name, value in headers.items():
        response.headers[name] = value
    return response
