"""What the OpenAPI schema says about each operation beyond what the code itself tells: keyword arguments of
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
# The operations name them one by one, so the framework does not see that they are needed.
_SCHEMES = {
    "knoxApiToken": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The header `Authorization: Token 1f0c...` with a token, which `POST /api/token` gives.",
    },
    "cookieAuth": {
        "type": "apiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "The session of the web page. What changes something needs the header `X-CSRFToken` as well: "
        "the token that is in each form of the page.",
    },
}
_NAME = OpenApiParameter(
    "name",
    {"type": "string", "minLength": 1, "maxLength": names.MAX_LENGTH, "pattern": names.PATTERN},
    OpenApiParameter.PATH,
    description="characters that can be seen, without a slash; Unicode is brought to form C, any space becomes a plain "
    "one, and what is not seen is left out, but for joiners and the like where they belong",
)
_TAGS = {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$'}


def _condition(name: str, description: str) -> OpenApiParameter:
    return OpenApiParameter(name, _TAGS, OpenApiParameter.HEADER, description=description)


_IF_MATCH = _condition("If-Match", "only if the photo's ETag is one of these (*: if there is a photo); else 412")
_IF_NONE_MATCH = _condition("If-None-Match", "only if its ETag is none of these (*: if there is no photo); else 412")
_IF_UNMODIFIED = OpenApiParameter(
    "If-Unmodified-Since", str, OpenApiParameter.HEADER, description="only if it is no newer than this; else 412"
)
_CONDITIONS = [_IF_MATCH, _IF_NONE_MATCH, _IF_UNMODIFIED]
_WISH = OpenApiParameter(
    "share_position",
    bool,
    description="whether others get the position that the picture tells; false if it is not there",
)
_UNLESS_KNOWN = _condition("If-None-Match", "304 if the photo's ETag is one of these")
_VALIDATORS = [
    OpenApiParameter(
        "ETag", str, OpenApiParameter.HEADER, response=True, description="the SHA-256 of what you download, quoted"
    ),
    OpenApiParameter("Last-Modified", str, OpenApiParameter.HEADER, response=True),
]
_PICTURES = [*(kind.content_type for kind in images.KINDS), "application/octet-stream"]
_ERRORS = {
    400: "the request or its picture is unusable",
    401: "a login is needed, or the token (or name and password) is wrong or too old",
    403: "somebody else's photo, or a session without its CSRF token",
    404: "no such photo or page",
    405: "not at this address",
    409: "others are taking this name right now",
    412: "a condition of the request (If-Match and others) does not hold; nothing was changed",
    413: "larger than UPLOAD_MAX, or more than USER_QUOTA leaves room for",
    415: "a body of another kind",
    429: "too many requests under way, or too many attempts to log in: wait as long as Retry-After says",
    503: "too busy, out of time, the database is away, or photos cannot be written",
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
    "description": "A name that is taken gets a number: cat.jpg, cat-2.jpg. Either all files are stored or none, "
    "whatever their fields are called.",
    "auth": _LOGIN,
    "request": {"multipart/form-data": UploadSerializer},
    # Spelled out, because `many=True` would promise pages.
    "responses": {
        201: OpenApiResponse({"type": "array", "items": {"$ref": "#/components/schemas/Photo"}}, "all are stored"),
        **_errors(400, 401, 403, 409, 413, 415, 507),
    },
}
GET: dict[str, Any] = {
    "summary": "One photo's facts",
    "auth": _LOOK,
    "parameters": [_NAME, _UNLESS_KNOWN, *_VALIDATORS],
    "responses": {
        200: OpenApiResponse(PhotoSerializer, "as it is now"),
        304: OpenApiResponse(None, "it has not changed"),
        **_errors(400, 401, 404, 412),
    },
}
PUT: dict[str, Any] = {
    "summary": "Store a picture under this name",
    "description": "The body is the picture's bytes in any framing. Your own photo of that name is replaced, unless a "
    "condition forbids it: with `If-None-Match: *` nothing is ever replaced. The "
    "format is found in the bytes, so the Content-Type does not matter, except that a form is refused.",
    "auth": _LOGIN,
    "parameters": [_NAME, _WISH, *_CONDITIONS, *_VALIDATORS],
    "request": dict.fromkeys(_PICTURES, OpenApiTypes.BINARY),
    "responses": {
        200: OpenApiResponse(PhotoSerializer, "replaced"),
        201: OpenApiResponse(PhotoSerializer, "stored"),
        **_errors(400, 401, 403, 409, 412, 413, 415, 507),
    },
}
PATCH: dict[str, Any] = {
    "summary": "Let others have your photo's position, or no longer",
    "auth": _LOGIN,
    "parameters": [_NAME, *_CONDITIONS, *_VALIDATORS],
    "request": WishSerializer,
    "responses": {
        200: OpenApiResponse(PhotoSerializer, "as it is from now on"),
        **_errors(400, 401, 403, 404, 412, 413, 415),
    },
}
DELETE: dict[str, Any] = {
    "summary": "Take your photo away",
    "auth": _LOGIN,
    "parameters": [_NAME, *_CONDITIONS],
    "responses": {204: OpenApiResponse(None, "deleted"), **_errors(400, 401, 403, 404, 412)},
}


LOGIN: dict[str, Any] = {
    "summary": "Get a token for a name and a password",
    "description": "Send it with each request: `Authorization: Token ...`. It lasts 30 days, unless the password "
    "changes or somebody ends it: `DELETE /api/token` ends the one of the request, `DELETE /api/tokens/KEY` another "
    "one of yours, and `DELETE /api/tokens` all (204 each).",
    "auth": [{}],
    "request": {"application/json": LoginSerializer, "application/x-www-form-urlencoded": LoginSerializer},
    "responses": {200: OpenApiResponse(TokenSerializer, "a token, told this once"), **_errors(400, 401, 413, 415)},
}
TOKENS: dict[str, Any] = {
    "summary": "List your tokens, the newest first",
    "auth": _LOGIN,
    "responses": {200: TokenFactsSerializer(many=True), **_errors(401)},
}


def declare_schemes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: how to log in."""
    result["components"]["securitySchemes"] = _SCHEMES
    return result


def require_bodies(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular, which takes a body of bare bytes for one that may be left out."""
    for methods in result["paths"].values():
        for operation in methods.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = True
    return result
