"""Writes the raw body of a request to a file: in pieces, counted and hashed, never as a whole in memory.

Django reads exactly CONTENT_LENGTH bytes, and nothing without that header: PEP 3333 has no other framing. If a server
passes on a chunked body without counting it, the body is lost. This module cannot recover it, but explains the cause.
"""

from django.conf import settings
from django.http import HttpRequest

from photos import bodylimit, deadline, storage
from photos.errors import BadRequest, BodyIncomplete, EmptyBody, WrongMediaType

_EMPTY = "The body is empty. Send the picture's bytes."
_LOST = (
    " The request has no Content-Length: it was probably sent chunked, and the WSGI server in front of Django dropped "
    "the body. Send a Content-Length, or use a server that receives chunked bodies (see the README)."
)
_NOTHING_CAME = (
    "No data arrived. Nothing was stored. Try again. If it fails again, tell the administrator of this site."
)


def check_headers(request: HttpRequest) -> None:
    """Called before the body is read. Raises WrongMediaType or BadRequest unless the body is a whole picture."""
    media_type = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        raise WrongMediaType(
            "PUT takes the picture's bytes, not a form. Nothing was stored; send a form with POST to /api/photos/."
        )
    if "Content-Range" in request.headers:  # RFC 9110, section 14.5
        raise BadRequest(
            "A part of a picture cannot be stored. Nothing was stored; send all of it, without Content-Range."
        )


def receive(request: HttpRequest, incoming: storage.Incoming) -> None:
    """Stream the body into `incoming`.

    Raises EmptyBody, BodyIncomplete, TooLarge, DiskFull, StorageUnavailable; UnreadablePostError if the client has
    disconnected.
    """
    while piece := request.read(storage.CHUNK):
        incoming.write(piece)
        if incoming.size > settings.UPLOAD_MAX:
            raise bodylimit.too_large()
    deadline.body_has_come(request)
    if incoming.size == 0:
        refuse_lost(request)
        raise EmptyBody(_EMPTY, visitor_text=_NOTHING_CAME)
    claimed = bodylimit.content_length(request)
    if claimed is not None and incoming.size != claimed:
        raise BodyIncomplete(
            f"The Content-Length is {claimed}, but {incoming.size} bytes arrived. Nothing was stored; send it again."
        )


def refuse_lost(request: HttpRequest) -> None:
    """Called if the body is empty: raise EmptyBody with an explanation, if the server has probably lost the body."""
    if "Transfer-Encoding" in request.headers or not request.META.get("CONTENT_LENGTH"):
        raise EmptyBody(_EMPTY + _LOST, visitor_text=_NOTHING_CAME)
