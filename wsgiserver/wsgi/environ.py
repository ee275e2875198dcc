"""A request as the `environ` of PEP 3333.

Nothing of the process's own environment gets in: it holds secrets. Names with an underscore are dropped,
since CGI could not tell `X_Forwarded_For` from `X-Forwarded-For`, and so is `Proxy`, which CGI programs take
for HTTP_PROXY (httpoxy, CVE-2016-5385). Which proxies are believed about a client is decided in `forwarded.py`.
"""

import itertools
import re
import secrets
from functools import partial
from typing import Any, BinaryIO, Final, TextIO
from urllib.parse import unquote_to_bytes

from wsgiserver.http1.fields import Fields, NameCache
from wsgiserver.http1.head import Head
from wsgiserver.wsgi.filewrapper import FileWrapper
from wsgiserver.wsgi.forwarded import Trust, apply_forwarded, is_from_proxy

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")  # of a client that is taken over


def _cgi_key(name: str, *, trusted: bool) -> str:
    """Lower-case field name -> environ key (RFC 3875, section 4.1.18), or "" for one that must not get in."""
    dropped = "_" in name or (not trusted and is_from_proxy(name))
    return "" if dropped else "HTTP_" + name.upper().replace("-", "_")


_SPECIAL: Final = {
    "content-type": "CONTENT_TYPE",
    "content-length": "",  # set from what was received, not from what was said
    "transfer-encoding": "",  # undone: the application sees a body with a length
    "trailer": "",  # its fields are offered apart
    "expect": "",  # answered
    "proxy": "",
}
_FROM_PROXY: Final = NameCache(partial(_cgi_key, trusted=True), _SPECIAL)
_FROM_CLIENT: Final = NameCache(partial(_cgi_key, trusted=False), _SPECIAL)


class RequestIds:
    """What a request is called in every log: what the client or the proxy called it, where that is fit to be
    repeated, else a name of our own, different in every process.
    """

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count()

    def of(self, head: Head | None) -> str:
        sent = head.fields.get("x-request-id", "") if head is not None else ""
        return sent if sent and REQUEST_ID.fullmatch(sent) else f"{self._prefix}{next(self._numbers):016x}"


def template(
    name: str, port: int, errors: TextIO, *, threads: bool, processes: bool, scheme: str = "http"
) -> dict[str, Any]:
    """Return what is the same in every environ of a listening socket (PEP 3333, "environ Variables")."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": name,
        "SERVER_PORT": str(port),
        "SERVER_SOFTWARE": "wsgiserver",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.errors": errors,
        "wsgi.multithread": threads,
        "wsgi.multiprocess": processes,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,  # reading to the end of wsgi.input is safe
    }


def build(base: dict[str, Any], head: Head, client: tuple[str, int], trust: Trust | None) -> dict[str, Any]:
    """Return the environ of one request but for its body. `client` is the peer's address and port; there is `trust`
    only if it covers that peer.
    """
    method, target, minor, fields = head
    path, _, query = target.partition("?")
    if path == "*":  # OPTIONS of the server as a whole; a path begins with a slash (RFC 3875, section 4.1.5)
        path = ""
    address, port = client
    return {
        **base,
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") if "%" in path else path,
        "QUERY_STRING": query,
        "RAW_URI": target,
        "SERVER_PROTOCOL": "HTTP/1.1" if minor else "HTTP/1.0",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": str(port),
        **((fields.derived and fields.derived.get(trust)) or _derive(fields, trust)),
    }


def _derive(fields: Fields, trust: Trust | None) -> dict[str, str]:
    """Translate a field section; kept with it, if it is kept."""
    keys = _FROM_PROXY if trust else _FROM_CLIENT
    derived = {key: value for name, value in fields.items() if (key := keys[name])}
    if trust:
        apply_forwarded(derived, fields, trust)
    fields.remember(trust, derived)
    return derived


def add_body(environ: dict[str, Any], body: BinaryIO, size: int, trailers: dict[str, str]) -> None:
    """Add the body and its true length, however it was framed: the reason this server exists."""
    environ["wsgi.input"] = body
    environ["CONTENT_LENGTH"] = str(size)
    if trailers:
        environ["wsgiserver.trailers"] = trailers
