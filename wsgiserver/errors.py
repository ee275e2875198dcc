"""What can go wrong with a request, and the status that says so.

    Exception
    +-- Refusal            the client sent what the server will not take; carries name, status and a sentence
    +-- ClientGone         the client went away, or stopped reading, before its answer was sent
    +-- ApplicationError   the application broke a rule of PEP 3333

The name of a refusal is stable: logs, metrics and documentation use it. This module does not know how an
answer looks; `http1/response.py` does.
"""

from http import HTTPStatus
from typing import Final

INTERNAL_ERROR: Final = "internal-error"  # an answer of 500: the application failed, which is no refusal

REFUSALS: Final[dict[str, tuple[HTTPStatus, str]]] = {
    # Before the head (PROXY protocol)
    "proxy-header-invalid": (HTTPStatus.BAD_REQUEST, "the connection does not begin with a PROXY protocol header"),
    "proxy-not-trusted": (HTTPStatus.FORBIDDEN, "only trusted proxies may connect here"),
    # The head (RFC 9112, sections 2 to 5)
    "head-malformed": (HTTPStatus.BAD_REQUEST, "the request line or a header line is not HTTP/1.1"),
    "target-invalid": (HTTPStatus.BAD_REQUEST, "the request target does not fit the method"),
    "host-missing": (HTTPStatus.BAD_REQUEST, "an HTTP/1.1 request needs a Host header"),
    "host-invalid": (HTTPStatus.BAD_REQUEST, "the Host header is not host[:port]"),
    "field-repeated": (
        HTTPStatus.BAD_REQUEST,
        "a header that can have only one value was sent twice, as Host or Content-Type",
    ),
    "version-unsupported": (
        HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
        "this server speaks HTTP/1.0 and HTTP/1.1",
    ),
    "method-unsupported": (
        HTTPStatus.NOT_IMPLEMENTED,
        "the method is CONNECT, which is for proxies, or no method at all: it is too long",
    ),
    "uri-too-long": (HTTPStatus.REQUEST_URI_TOO_LONG, "the request line is too long"),
    "headers-too-large": (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the header fields are too large or too many",
    ),
    "head-timeout": (HTTPStatus.REQUEST_TIMEOUT, "the request head did not arrive in time"),
    "expectation-unknown": (HTTPStatus.EXPECTATION_FAILED, "only 100-continue can be expected"),
    # Where the body ends (RFC 9112, section 6)
    "content-length-invalid": (HTTPStatus.BAD_REQUEST, "Content-Length is not a decimal number"),
    "length-ambiguous": (HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other"),
    "transfer-encoding-invalid": (
        HTTPStatus.BAD_REQUEST,
        "chunked must be the last transfer coding, once, in HTTP/1.1",
    ),
    "transfer-encoding-unknown": (
        HTTPStatus.NOT_IMPLEMENTED,
        "chunked is the only transfer coding understood",
    ),
    # The body itself (RFC 9112, section 7)
    "chunk-size-invalid": (HTTPStatus.BAD_REQUEST, "a chunk does not begin with a hexadecimal size and CRLF"),
    "chunk-end-invalid": (HTTPStatus.BAD_REQUEST, "a chunk does not end with CRLF where its size says"),
    "chunk-overhead-too-large": (HTTPStatus.BAD_REQUEST, "the chunks are mostly framing"),
    "trailer-invalid": (
        HTTPStatus.BAD_REQUEST,
        "the trailer section is not made of header lines, or has some that do not belong there",
    ),
    "trailer-too-large": (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the trailer section is too large"),
    "body-incomplete": (HTTPStatus.BAD_REQUEST, "the connection ended before the body did"),
    "body-timeout": (HTTPStatus.REQUEST_TIMEOUT, "the rest of the body did not arrive in time"),
    "body-too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than this server takes"),
    "body-too-slow": (HTTPStatus.REQUEST_TIMEOUT, "the body came more slowly than this server waits for"),
    "spool-full": (HTTPStatus.INSUFFICIENT_STORAGE, "there is no room to store the body"),
    # Not the request's fault
    "too-many-connections": (HTTPStatus.TOO_MANY_REQUESTS, "too many connections from this address"),
    "overloaded": (HTTPStatus.SERVICE_UNAVAILABLE, "there is no room left to wait for the rest of this request"),
    "application-timeout": (HTTPStatus.GATEWAY_TIMEOUT, "the application took too long"),
}


class Refusal(Exception):
    """A request the server will not hand to the application: `name` is a key of `REFUSALS`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.status, self.detail = REFUSALS[name]


class ClientGone(Exception):
    """Nobody is there to read the rest of the answer."""


class ApplicationError(Exception):
    """The application did what PEP 3333 forbids; the message says what."""
