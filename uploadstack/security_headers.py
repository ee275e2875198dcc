"""Headers that tell the browser what the project's pages never do, so that it can refuse it if they seem to.

Settings: CONTENT_SECURITY_POLICY_HEADER and PERMISSIONS_POLICY_HEADER, each the value of the header of that name;
without one the header is not sent. Django 6 has a setting of its own for the first, 5.2 has not. A response that brings
its own policy keeps it.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

_SETTINGS = {
    "Content-Security-Policy": "CONTENT_SECURITY_POLICY_HEADER",
    "Permissions-Policy": "PERMISSIONS_POLICY_HEADER",
}


class SecurityHeaders:
    """Middleware: adds the policies, and the Secure attribute to cookies that travel over HTTPS.

    The scheme is the WSGI server's word (`wsgi.url_scheme`), which knows whose X-Forwarded-Proto to believe. Deciding
    per request lets one build serve http://localhost and https://photos.example without a switch to forget.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        wanted = {header: str(getattr(settings, name, "")) for header, name in _SETTINGS.items()}
        self._headers = {header: value for header, value in wanted.items() if value}

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        for header, value in self._headers.items():
            response.headers.setdefault(header, value)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response
