"""Prevents redirects by which a request that changes something would lose its body.

After a 301 or 302, clients send GET without the body (RFC 9110, sections 15.4.2 and 15.4.3 allow it). They receive a
page with status 200, and assume that their upload was stored. Django redirects this way to add a slash (APPEND_SLASH)
or a language (i18n_patterns), to `www.`, to https (SECURE_SSL_REDIRECT), and to the login page. This middleware answers
with an error instead: JSON, or for browsers a page in everyday words. Redirects with 307 and 308 keep the body and
pass. So does the redirect to another page after a form was accepted (302 or 303).

Put it before Django's own middleware.
"""

import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, get_script_prefix, is_valid_path
from django.utils.encoding import escape_uri_path
from django.utils.html import format_html

from uploadstack import request_id

_log = logging.getLogger(__name__)
_CHANGE_NOTHING = {"GET", "HEAD", "OPTIONS", "TRACE"}  # RFC 9110, section 9.2.1
_TO_ANOTHER_PAGE = {HTTPStatus.FOUND, HTTPStatus.SEE_OTHER}
_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><title>That did not work</title>'
    '<h1>That did not work</h1><p>{}</p><p><a href="{}">{}</a></p><p>{} · request {}</p></html>'
)


class KeepBodies:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method in _CHANGE_NOTHING:
            return self._get_response(request)
        if address := _right_address(request):
            return _wrong_address(request, address)
        response = self._get_response(request)
        location = response.headers.get("Location", "")
        if response.status_code == HTTPStatus.MOVED_PERMANENTLY:  # never the response to an accepted form
            response.close()
            return _wrong_address(request, location)
        if response.status_code in _TO_ANOTHER_PAGE:
            if not _is_valid(request, request.path_info):  # a middleware redirects, as LocaleMiddleware does to /en/...
                response.close()
                return _wrong_address(request, location)
            if _is_login(request, location):
                response.close()
                return _login_needed(request, location)
        return response


def _right_address(request: HttpRequest) -> str:
    """Return the address that was probably meant, if the requested one has no view; otherwise an empty string."""
    if _is_valid(request, request.path_info):
        return ""
    single = re.sub("//+", "/", request.path_info)
    for near in (single, single.lower()):
        for candidate in (near, near.rstrip("/"), near.rstrip("/") + "/"):
            if candidate and _is_valid(request, candidate):
                return get_script_prefix().rstrip("/") + escape_uri_path(candidate)
    return ""


def _is_valid(request: HttpRequest, path: str) -> bool:
    """Return whether this path has a view, in the URLs that a middleware may have chosen for the request."""
    return bool(is_valid_path(path, getattr(request, "urlconf", None)))


def _is_login(request: HttpRequest, location: str) -> bool:
    """Return whether this is the redirect of `login_required`: to the login page, with a parameter of any name that
    leads back here. A view that has stored something may also redirect to the login page, but not back to itself.
    """
    target = urlsplit(location)
    try:
        login = resolve_url(settings.LOGIN_URL)
    except NoReverseMatch:  # the project has no login page; an accepted form must not become an error
        return False
    if target.path != urlsplit(login).path:
        return False
    return any(_is_here(request, value) for values in parse_qs(target.query).values() for value in values)


def _is_here(request: HttpRequest, address: str) -> bool:
    """Return whether an address, which may be absolute, is the address of the request."""
    here = request.get_full_path()
    return address == here or (
        address.startswith(("http://", "https://")) and address.split("/", 3)[3:] == [here.removeprefix("/")]
    )


def _wrong_address(request: HttpRequest, address: str) -> HttpResponse:
    detail = f"{request.path[:200]} does not accept {request.method}. Send it to {address} instead. "
    detail += "Nothing was stored or changed."
    people = f"There is nothing at this address. The right one is probably {address}. Nothing was stored or changed."
    return _answer(request, HTTPStatus.NOT_FOUND, "wrong-address", detail, _Page(people, "/", "Go to the site"))


def _login_needed(request: HttpRequest, location: str) -> HttpResponse:
    detail = "You are not logged in, or your login has ended. Nothing was stored or changed. Log in and send it again."
    login = urlsplit(location).path  # without the way back here: without its body the request is useless
    return _answer(request, HTTPStatus.FORBIDDEN, "login-needed", detail, _Page(detail, login, "Log in"))


class _Page(NamedTuple):
    """The text for visitors, who do not get the detail."""

    text: str
    link: str
    label: str


def _answer(request: HttpRequest, status: HTTPStatus, code: str, detail: str, page: _Page) -> HttpResponse:
    identifier = request_id.current()
    response: HttpResponse
    if "text/html" in request.headers.get("Accept", "").lower():
        if page.text != detail:
            _log.warning("%s: %s", code, detail, extra={"fields": {"error": code}})
        response = HttpResponse(format_html(_PAGE, *page, code, identifier), status=status)
        response.headers["Content-Security-Policy"] = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    else:
        response = JsonResponse({"error": code, "detail": detail, "request_id": identifier}, status=status)
    response.headers["X-Content-Type-Options"] = "nosniff"  # Django's middleware runs further inside
    return response
