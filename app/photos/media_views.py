"""Originals and thumbnails, for clients that may view the gallery. The owner gets the original as it was uploaded;
others get it without its position, unless the owner shares it (sharing.py).

Behind nginx (X_ACCEL_PREFIX is set) the response is empty and names an internal location; nginx sends the bytes and
supports ranges. Otherwise Django sends the bytes, and supports single ranges. The headers that make untrusted files
harmless are the same both ways. But nginx keeps only a few headers of an empty response, so its location for originals
has to repeat the policy, nosniff and the ETag.

Conditions (RFC 9110, section 13) are evaluated here, by the ETag, which changes with the content. There is no
Last-Modified: a photo can be replaced twice in one second, so a date would not be enough.
"""

import re
from collections.abc import Collection, Iterator
from typing import IO

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_safe
from rest_framework.exceptions import AuthenticationFailed

from photos import images, library, problems, quarantine, sharing, storage
from photos.errors import BadName, Problem
from photos.models import Photo, known
from photos.permissions import may_look
from photos.sharing import Download
from photos.tokens import BoundTokens

# Even if a browser interprets a picture as a page, that page may do nothing.
_SANDBOX = "default-src 'none'; sandbox"
# nginx would compare these with a date and an ETag that it does not have, and answer 412; so Django sends the bytes.
_NOT_FOR_NGINX = ("If-Match", "If-Unmodified-Since")
_OPEN_ATTEMPTS = 3  # if a file no longer exists when it is opened, the photo was replaced
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.IGNORECASE)


@require_safe
def original(request: HttpRequest, name: str) -> HttpResponseBase:
    if not _may_look(request):
        return redirect_to_login(request.get_full_path())
    try:
        photo, download, file = _found(name, _askers(request))
    except Problem as problem:  # the photo could not be examined, so other users cannot get it
        return problems.answer(request, problem)
    response = _answer(request, download.key, file, download.etag, photo.content_type)
    # The owner and others may get different bytes here.
    patch_vary_headers(response, ("Cookie", "Authorization"))
    # Browsers show it; if a user saves it, they suggest the photo's name.
    response.headers["Content-Disposition"] = str(content_disposition_header(as_attachment=False, filename=photo.name))
    is_public = settings.GALLERY_PUBLIC and not download.is_private
    # Another picture may get this name at any time, so clients revalidate each time; the ETag makes that cheap.
    response.headers["Cache-Control"] = "no-cache" if is_public else "private, no-cache"
    return response


def _askers(request: HttpRequest) -> set[object]:
    """Return the user ids of the client: of its session, and of its token."""
    ids: set[object] = {request.user.pk}
    try:
        if authenticated := BoundTokens().authenticate(request):
            ids.add(authenticated[0].pk)
    except AuthenticationFailed:
        pass
    return ids - {None}


def _found(name: str, askers: Collection[object]) -> tuple[Photo, Download, IO[bytes]]:
    """Return the photo and its opened file. Raises Http404, and what sharing.examined raises."""
    try:
        name = library.stored_name(name)
    except BadName as error:
        raise Http404 from error
    for _ in range(_OPEN_ATTEMPTS):
        photo = Photo.objects.filter(name=name).first()
        if photo is None:
            break
        try:
            photo = photo if photo.owner_id in askers else sharing.examined(photo)
        except (Photo.DoesNotExist, FileNotFoundError):  # deleted or replaced in the meantime
            continue
        download = sharing.download(photo, askers)
        if file := _opened(download.key):
            return photo, download, file
    raise Http404


@require_safe
def thumbnail(request: HttpRequest, key: str) -> HttpResponseBase:
    if not _may_look(request):
        return redirect_to_login(request.get_full_path())
    # The page that names it may be slightly out of date.
    file = _opened(key) if known([key]) else storage.opened_outdated(key)
    if file is None:
        raise Http404
    response = _answer(request, key, file, f'"{key}"', images.THUMBNAIL_TYPE)
    scope = "public" if settings.GALLERY_PUBLIC else "private"
    # The thumbnail of a new picture has a new address, so the content of an address never changes.
    response.headers["Cache-Control"] = f"{scope}, max-age=31536000, immutable"
    return response


def _opened(key: str) -> IO[bytes] | None:
    """Open a file that a row names: in its place, among the outdated files, or back from quarantine."""
    if file := storage.opened(key) or storage.opened_outdated(key):
        return file
    return storage.opened(key) if quarantine.restore(key) else None


def _may_look(request: HttpRequest) -> bool:
    """Return whether the client may view the gallery, by its session or its token."""
    if may_look(request.user):
        return True
    try:
        return BoundTokens().authenticate(request) is not None
    except AuthenticationFailed:
        return False


def _answer(request: HttpRequest, key: str, file: IO[bytes], etag: str, content_type: str) -> HttpResponseBase:
    is_for_nginx = settings.X_ACCEL_PREFIX and not any(name in request.headers for name in _NOT_FOR_NGINX)
    response = _conditional(request, etag) or _content(request, file, etag)
    if is_for_nginx and _is_plain(request, response):
        file.close()
        response = HttpResponse(headers={"X-Accel-Redirect": settings.X_ACCEL_PREFIX + key})
    if response.status_code in {200, 206}:
        response.headers["Content-Type"] = content_type
    else:
        file.close()
    response.headers["ETag"] = etag
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = _SANDBOX
    return response


def _is_plain(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Return whether the response is the whole file, or the requested range. For a range that cannot be
    satisfied, or must be ignored, nginx would answer 416, with each header twice.
    """
    return response.status_code == (206 if "Range" in request.headers else 200)


def _conditional(request: HttpRequest, etag: str) -> HttpResponseBase | None:
    """Return 304 if the client has the file, 412 if a condition fails, and None to send the file."""
    # Must be ignored without a date to compare with (RFC 9110, section 13.1.4); Django would answer 412.
    request.META.pop("HTTP_IF_UNMODIFIED_SINCE", None)
    return get_conditional_response(request, etag=etag)


def _content(request: HttpRequest, file: IO[bytes], etag: str) -> HttpResponseBase:
    size = file.seek(0, 2)
    try:
        window = _window(request, size, etag)
    except _NoSuchRange:
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
    """Return the bytes that a Range header requests, or None for all. RFC 9110, section 14: only GET has ranges.

    For several ranges, other units and malformed headers the whole file is sent, which is allowed and simple.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if not match or request.method != "GET" or request.headers.get("If-Range", etag) != etag:
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
