"""Originals and thumbnails, after the question whether this visitor may look.

With nginx in front (X_ACCEL_PREFIX set) the answer is empty and names an internal location; nginx sends the bytes,
with ranges and caching. Without, Django sends them itself, with single ranges. The headers that make a stranger's
file harmless are the same either way, but nginx passes on only a few of an empty answer's headers: its location for
originals has to repeat the policy and nosniff.
"""

import re
from collections.abc import Iterator
from typing import IO

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe
from rest_framework.exceptions import AuthenticationFailed

from photos import images, names, storage
from photos.errors import BadName
from photos.models import Photo
from photos.permissions import may_look
from photos.tokens import BoundTokens

# Even if a browser could be made to take a picture for a page, that page may do nothing.
_SANDBOX = "default-src 'none'; sandbox"
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")


@require_safe
def original(request: HttpRequest, name: str) -> HttpResponseBase:
    if not _may_look(request):
        return redirect_to_login(request.get_full_path())
    try:
        photo = Photo.objects.filter(name=names.clean(name)).first()
    except BadName as error:
        raise Http404 from error
    if photo is None:
        raise Http404
    response = _file(request, photo.original, photo.content_type, f'"{photo.sha256}"')
    # Shown, not saved; but saved under the photo's name, if somebody does.
    response.headers["Content-Disposition"] = str(content_disposition_header(as_attachment=False, filename=photo.name))
    # Another picture may take this name at any time, so every use asks again; the ETag makes asking cheap.
    response.headers["Cache-Control"] = "no-cache" if settings.GALLERY_PUBLIC else "private, no-cache"
    return response


@require_safe
def thumbnail(request: HttpRequest, place: str) -> HttpResponseBase:
    if not _may_look(request):
        return redirect_to_login(request.get_full_path())
    if not Photo.objects.filter(thumbnail=place).exists():
        raise Http404
    response = _file(request, place, images.THUMBNAIL_TYPE, f'"{place}"')
    scope = "public" if settings.GALLERY_PUBLIC else "private"
    # A new picture's thumbnail gets a new address, so this one never changes.
    response.headers["Cache-Control"] = f"{scope}, max-age=31536000, immutable"
    return response


def _may_look(request: HttpRequest) -> bool:
    """Whether the page's login, or the API's token, opens the gallery."""
    if may_look(request.user):
        return True
    try:
        return BoundTokens().authenticate(request) is not None
    except AuthenticationFailed:
        return False


def _file(request: HttpRequest, place: str, content_type: str, etag: str) -> HttpResponseBase:
    response: HttpResponseBase
    if settings.X_ACCEL_PREFIX:
        response = HttpResponse(headers={"X-Accel-Redirect": settings.X_ACCEL_PREFIX + place})
    else:
        # True to the If-* headers: 304 when the client has it already, 412, or None for "send it".
        response = get_conditional_response(request, etag=etag) or _bytes(request, place, etag)
        response.headers["ETag"] = etag
    response.headers["Content-Type"] = content_type
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = _SANDBOX
    return response


def _bytes(request: HttpRequest, place: str, etag: str) -> HttpResponseBase:
    try:
        file = (storage.root() / place).open("rb")
    except FileNotFoundError as error:  # replaced or taken away since the row was read
        raise Http404 from error
    size = file.seek(0, 2)
    try:
        window = _window(request, size, etag)
    except _NoSuchRange:
        file.close()
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    file.seek(0)
    if window is None:
        return FileResponse(file, headers={"Accept-Ranges": "bytes", "Content-Length": str(size)})
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(len(window)),
        "Content-Range": f"bytes {window.start}-{window.stop - 1}/{size}",
    }
    return StreamingHttpResponse(_pieces(file, window), status=206, headers=headers)


class _NoSuchRange(Exception):
    pass


def _window(request: HttpRequest, size: int, etag: str) -> range | None:
    """The bytes a Range header asks for, or None for all of them. RFC 9110, section 14.

    Several ranges, other units and what cannot be read are answered with the whole file, which is allowed and simple.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if not match or request.headers.get("If-Range", etag) != etag:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        window = range(max(0, size - int(suffix)), size)
    else:
        if last and int(last) < int(first):
            return None
        window = range(int(first), min(size, int(last) + 1) if last else size)
    if not window:
        raise _NoSuchRange
    return window


def _pieces(file: IO[bytes], window: range) -> Iterator[bytes]:
    with file:
        file.seek(window.start)
        left = len(window)
        while left and (piece := file.read(min(left, storage.CHUNK))):
            left -= len(piece)
            yield piece
