"""UPLOAD_MAX, the largest body of a request: what the client claims, and the error for a body that is larger.

`middleware.BodyLimit` refuses a body by its Content-Length. Without that header the body reaches Django empty, unless
the server in front has counted it; the view that streams a body counts it again, because a header is only a claim.
"""

from django.conf import settings
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat

from photos.errors import TooLarge


def human_limit() -> str:
    """The limit in words: 100 MB."""
    return filesizeformat(settings.UPLOAD_MAX).replace("\xa0", " ").replace(".0 ", " ")


def too_large() -> TooLarge:
    return TooLarge(
        f"The upload is larger than {human_limit()} (UPLOAD_MAX). Nothing was stored. Send a smaller one.",
        visitor_text=f"The upload is larger than {human_limit()}, all its photos together. Nothing was stored. Send "
        "fewer photos at a time, or smaller ones.",
    )


def content_length(request: HttpRequest) -> int | None:
    """The Content-Length in bytes; None if it is missing or malformed."""
    value = request.META.get("CONTENT_LENGTH") or ""
    if not (value.isascii() and value.isdigit()):
        return None
    return int(value[:20])  # the first 20 digits exceed any disk; Python refuses to read thousands of digits
