"""Headers that list what the project's pages may do; the browser blocks everything else.

The settings CONTENT_SECURITY_POLICY_HEADER and PERMISSIONS_POLICY_HEADER are the values of these headers; without the
setting the header is not sent. (Django 6 has its own setting for the first, Django 5.2 does not.) A response that
already has a policy keeps it.
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

    The scheme comes from the WSGI server (`wsgi.url_scheme`), which knows which proxies to trust. Because the decision
    is made for each request, one build serves http://localhost and https://photos.example without a setting.
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
