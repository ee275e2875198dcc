"""Headers that tell the browser what our pages never do, so that it can refuse it if they seem to.

Django 6 has a Content-Security-Policy of its own, 5.2 has not; this project runs on both, so these few lines do it.
A response that brings its own policy (an original, see photos/downloads.py) keeps it.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

# No inline script or style anywhere; `blob:` is for previews of files the visitor has just chosen.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class SecurityHeaders:
    """Middleware: adds the policy, and the Secure attribute to cookies that travel over HTTPS.

    The scheme is the WSGI server's word (`wsgi.url_scheme`), which knows whose X-Forwarded-Proto to believe. Deciding
    per request lets one build serve http://localhost and https://photos.example without a switch to forget.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        response.headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
        response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response
