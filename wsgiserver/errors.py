"""The errors of a request, and the status of each.

    Exception
    +-- Refusal            the server does not accept the request; has a name, a status and a sentence
    +-- ClientGone         the client closed the connection, or stopped reading, before it had the whole answer
    +-- ApplicationError   the application broke a rule of PEP 3333

The name of a refusal is stable: logs, metrics and documentation use it. `http1/response.py` makes the answer.
"""

from http import HTTPStatus
from typing import Final

INTERNAL_ERROR: Final = "internal-error"  # the application failed (500); this is not a refusal

REFUSALS: Final[dict[str, tuple[HTTPStatus, str]]] = {
    # Before the head (PROXY protocol)
    "proxy-header-invalid": (
        HTTPStatus.BAD_REQUEST,
        "the connection does not begin with a valid PROXY protocol header",
    ),
    "proxy-not-trusted": (HTTPStatus.FORBIDDEN, "only trusted proxies may connect here"),
    # The head (RFC 9112, sections 2 to 5)
    "head-malformed": (HTTPStatus.BAD_REQUEST, "the request line or a header line is not valid HTTP/1.1"),
    "target-invalid": (
        HTTPStatus.BAD_REQUEST,
        "the request target is neither a path, nor an http or https address, nor * with OPTIONS",
    ),
    "host-missing": (HTTPStatus.BAD_REQUEST, "the Host header is missing; HTTP/1.1 requires it"),
    "host-invalid": (
        HTTPStatus.BAD_REQUEST,
        "the Host header is not valid; send a host name or an address, and a port if needed",
    ),
    "field-repeated": (
        HTTPStatus.BAD_REQUEST,
        "a header that may occur only once, such as Host or Content-Type, was sent twice",
    ),
    "version-unsupported": (
        HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
        "the HTTP version is not supported; use HTTP/1.0 or HTTP/1.1",
    ),
    "method-unsupported": (
        HTTPStatus.NOT_IMPLEMENTED,
        "the method is CONNECT, which is for proxies, or it is longer than 128 characters",
    ),
    "uri-too-long": (HTTPStatus.REQUEST_URI_TOO_LONG, "the request line is too long; the limit is 8 KB"),
    "headers-too-large": (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the headers are too large or too many; the limits are 64 KB and 100 fields",
    ),
    "head-timeout": (HTTPStatus.REQUEST_TIMEOUT, "the request line and headers did not arrive in time"),
    "expectation-unknown": (
        HTTPStatus.EXPECTATION_FAILED,
        "the Expect header is not supported; only 100-continue is allowed",
    ),
    # Where the body ends (RFC 9112, section 6)
    "content-length-invalid": (HTTPStatus.BAD_REQUEST, "Content-Length is not a decimal number of at most 18 digits"),
    "length-ambiguous": (
        HTTPStatus.BAD_REQUEST,
        "the request has both Content-Length and Transfer-Encoding; send only one of them",
    ),
    "transfer-encoding-invalid": (
        HTTPStatus.BAD_REQUEST,
        "Transfer-Encoding is not valid; send chunked, once, in HTTP/1.1",
    ),
    "transfer-encoding-unknown": (
        HTTPStatus.NOT_IMPLEMENTED,
        "the transfer coding is not supported; send chunked only",
    ),
    # The body itself (RFC 9112, section 7)
    "chunk-size-invalid": (HTTPStatus.BAD_REQUEST, "a chunk does not begin with a hexadecimal size and CRLF"),
    "chunk-end-invalid": (
        HTTPStatus.BAD_REQUEST,
        "a chunk does not end with CRLF after the number of bytes that its size says",
    ),
    "chunk-overhead-too-large": (
        HTTPStatus.BAD_REQUEST,
        "most of the chunked body is framing; send fewer chunk extensions, or larger chunks",
    ),
    "trailer-invalid": (
        HTTPStatus.BAD_REQUEST,
        "the trailer section has a line that is not a header, or a header that is not allowed there",
    ),
    "trailer-too-large": (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the trailer section is too large; the limit is 8 KB",
    ),
    "body-incomplete": (HTTPStatus.BAD_REQUEST, "the connection ended before the body was complete"),
    "body-timeout": (HTTPStatus.REQUEST_TIMEOUT, "no part of the body arrived for too long"),
    "body-too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than the limit of this server"),
    "body-too-slow": (HTTPStatus.REQUEST_TIMEOUT, "the body arrived too slowly"),
    "spool-full": (HTTPStatus.INSUFFICIENT_STORAGE, "the server has no space to store the body"),
    # The request may be correct
    "too-many-connections": (HTTPStatus.TOO_MANY_REQUESTS, "too many connections are open from this address"),
    "overloaded": (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the server is overloaded and cannot wait for the rest of this request",
    ),
    "application-timeout": (HTTPStatus.GATEWAY_TIMEOUT, "the application took too long"),
}


class Refusal(Exception):
    """The server does not pass the request on to the application. `name` is a key of `REFUSALS`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.status, self.detail = REFUSALS[name]


class ClientGone(Exception):
    """The client cannot receive the rest of the answer."""


class ApplicationError(Exception):
    """The application broke a rule of PEP 3333. The message says which."""
