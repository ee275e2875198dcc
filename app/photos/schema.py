"""The part of the OpenAPI schema that cannot be derived from the code: for each operation, keyword arguments of
drf-spectacular's `extend_schema`.
"""

from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from photos import images, names
from photos.serializers import (
    ErrorSerializer,
    LoginSerializer,
    PhotoSerializer,
    TokenFactsSerializer,
    TokenSerializer,
    UploadSerializer,
    WishSerializer,
)

_LOGIN: list[dict[str, list[str]]] = [{"knoxApiToken": []}, {"cookieAuth": []}]
_LOOK = [*_LOGIN, {}] if settings.GALLERY_PUBLIC else _LOGIN
# Each operation names its schemes itself, so the framework does not find them.
_SCHEMES = {
    "knoxApiToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The header `Authorization: Token 1f0c...`. `POST /api/token` returns a token.",
    },
    "cookieAuth": {
        "type": "apiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "The session of the web page. Requests that change something also need the header "
        "`X-CSRFToken`, with the token that each form of the page contains.",
    },
}
_NAME = OpenApiParameter(
    "name",
    {"type": "string", "minLength": 1, "maxLength": names.MAX_LENGTH, "pattern": names.PATTERN},
    OpenApiParameter.PATH,
    description="visible characters, without a slash; it is stored in Unicode's form C, with plain spaces, and without "
    "invisible characters, except joiners and the like where they are needed",
)
_TAGS = {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$'}


def _condition(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, _TAGS, OpenApiParameter.HEADER, description=description)


_IF_MATCH = _condition("If-Match", "only if the photo's ETag is one of these (*: if there is a photo); otherwise 412")
_IF_NONE_MATCH = _condition(
    "If-None-Match", "only if the photo's ETag is none of these (*: if there is no photo); otherwise 412"
)
_IF_UNMODIFIED = OpenApiParameter(
    "If-Unmodified-Since",
    str,
    OpenApiParameter.HEADER,
    description="only if the photo has not changed since this date; otherwise 412",
)
_CONDITIONS = [_IF_MATCH, _IF_NONE_MATCH, _IF_UNMODIFIED]
_WISH = OpenApiParameter(
    "share_position",
    bool,
    description="whether others get the position stored in the picture; the default is false",
)
_UNLESS_KNOWN = _condition("If-None-Match", "304 if the photo's ETag is one of these")
_VALIDATORS = [
    OpenApiParameter(
        "ETag",
        str,
        OpenApiParameter.HEADER,
        response=True,
        description="the SHA-256 of the file that you download, in double quotes",
    ),
    OpenApiParameter("Last-Modified", str, OpenApiParameter.HEADER, response=True),
]
_PICTURES = [*(kind.content_type for kind in images.KINDS), "application/octet-stream"]
_ERRORS = {
    400: "the request is malformed, or the picture cannot be used",
    401: "a login is needed, or the token (or the name and password) is wrong or no longer valid",
    403: "the photo belongs to another user, or a session's CSRF token is missing",
    404: "there is no such photo or page",
    405: "the method is not allowed at this address",
    409: "other uploads are taking this name right now",
    412: "a condition of the request (If-Match and others) is not fulfilled; nothing was changed",
    413: "the upload is larger than UPLOAD_MAX, or exceeds USER_QUOTA",
    415: "the media type of the body is not supported",
    429: "too many requests in progress, or too many attempts to log in: wait as long as Retry-After says",
    503: "the server is too busy or took too long, the database cannot be reached, or photos cannot be written",
    507: "the disk is full",
}


def _errors(*statuses: int) -> dict[Any, Any]:
    return {status: OpenApiResponse(ErrorSerializer, _ERRORS[status]) for status in sorted({*statuses, 429, 503})}


LIST: dict[str, Any] = {
    "summary": "List photos, newest first",
    "auth": _LOOK,
    "responses": {200: PhotoSerializer(many=True), **_errors(400, 401, 404)},
}
POST: dict[str, Any] = {
    "summary": "Store new pictures from a form",
    "description": "If a name is taken, a number is added: cat.jpg, cat-2.jpg. Either all files are stored or none. "
    "The fields may have any name.",
    "auth": _LOGIN,
    "request": {"multipart/form-data": UploadSerializer},
    # Spelled out, because `many=True` would describe pages.
    "responses": {
        201: OpenApiResponse(
            {"type": "array", "items": {"$ref": "#/components/schemas/Photo"}}, "all files were stored"
        ),
        **_errors(400, 401, 403, 409, 413, 415, 507),
    },
}
GET: dict[str, Any] = {
    "summary": "Get the details of one photo",
    "auth": _LOOK,
    "parameters": [_NAME, _UNLESS_KNOWN, *_VALIDATORS],
    "responses": {
        200: OpenApiResponse(PhotoSerializer, "the photo's details"),
        304: OpenApiResponse(None, "the photo has not changed"),
        **_errors(400, 401, 404, 412),
    },
}
PUT: dict[str, Any] = {
    "summary": "Store a picture under this name",
    "description": "The body is the picture's bytes, with a Content-Length or chunked. Your own photo of that name is "
    "replaced, unless a condition forbids it: with `If-None-Match: *` nothing is ever replaced. The server detects the "
    "format from the bytes and ignores the Content-Type, but refuses forms.",
    "auth": _LOGIN,
    "parameters": [_NAME, _WISH, *_CONDITIONS, *_VALIDATORS],
    "request": dict.fromkeys(_PICTURES, OpenApiTypes.BINARY),
    "responses": {
        200: OpenApiResponse(PhotoSerializer, "the photo was replaced"),
        201: OpenApiResponse(PhotoSerializer, "the photo was stored"),
        **_errors(400, 401, 403, 409, 412, 413, 415, 507),
    },
}
PATCH: dict[str, Any] = {
    "summary": "Share or hide the position of your photo",
    "auth": _LOGIN,
    "parameters": [_NAME, *_CONDITIONS, *_VALIDATORS],
    "request": WishSerializer,
    "responses": {
        200: OpenApiResponse(PhotoSerializer, "the photo's new details"),
        **_errors(400, 401, 403, 404, 412, 413, 415),
    },
}
DELETE: dict[str, Any] = {
    "summary": "Delete your photo",
    "auth": _LOGIN,
    "parameters": [_NAME, *_CONDITIONS],
    "responses": {204: OpenApiResponse(None, "the photo was deleted"), **_errors(400, 401, 403, 404, 412)},
}


LOGIN: dict[str, Any] = {
    "summary": "Get a token for a name and a password",
    "description": "Send the token with each request: `Authorization: Token ...`. It is valid for 30 days, unless the "
    "password changes or the token is revoked: `DELETE /api/token` revokes the token of the request, "
    "`DELETE /api/tokens/KEY` another token of yours, and `DELETE /api/tokens` all of them (each answers 204).",
    "auth": [{}],
    "request": {"application/json": LoginSerializer, "application/x-www-form-urlencoded": LoginSerializer},
    "responses": {
        200: OpenApiResponse(TokenSerializer, "a token, which is shown only once"),
        **_errors(400, 401, 413, 415),
    },
}
TOKENS: dict[str, Any] = {
    "summary": "List your tokens, newest first",
    "auth": _LOGIN,
    "responses": {200: TokenFactsSerializer(many=True), **_errors(401)},
}


def declare_schemes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Hook of drf-spectacular: add the ways to log in."""
    result["components"]["securitySchemes"] = _SCHEMES
    return result


def require_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Hook of drf-spectacular: make bodies required, because it treats bodies of bare bytes as optional."""
    for methods in result["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = True
    return result
