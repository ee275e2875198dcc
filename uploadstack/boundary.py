"""Removes headers that only a proxy may set, but a client has sent, before Django sees them.

nginx sets the headers that the application may trust, and empties other names one by one (nginx/proxy.conf), because it
cannot remove all names with one prefix. This module can. It works with any server, and does not import Django.
"""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_OF_A_PROXY = ("HTTP_X_FORWARDED_", "HTTP_X_ACCEL_")
_SET_BY_NGINX = {"HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_X_FORWARDED_PROTO"}


def guarded(application: WSGIApplication) -> WSGIApplication:
    def guard(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for name in [name for name in environ if name.startswith(_OF_A_PROXY) and name not in _SET_BY_NGINX]:
            del environ[name]
        return application(environ, start_response)

    return guard
