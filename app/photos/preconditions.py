"""Conditions of a request, such as If-Match: RFC 9110, sections 13.1 and 13.2.

For PUT, PATCH and DELETE, library.py checks them inside the transaction, because the photo may change while the body
arrives. For GET they tell whether the client already has the photo's details.
"""

import re

from django.http import HttpRequest
from django.utils.http import http_date, parse_http_date_safe

from photos.errors import BadRequest, PreconditionFailed
from photos.models import Photo

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'  # section 8.8.3
# Each space can match in one way only; otherwise a header of many commas would take forever.
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*")
_ANY = ["*"]


class Preconditions:
    """The conditions of one request. Raises BadRequest for malformed tags, which were meant to protect a photo."""

    def __init__(self, request: HttpRequest) -> None:
        self._match = _tags(request, "If-Match")
        self._none_match = _tags(request, "If-None-Match")
        self._unmodified = _date(request, "If-Unmodified-Since")
        self._modified = _date(request, "If-Modified-Since")

    def check(self, photo: Photo | None) -> None:
        """For PUT, PATCH, DELETE: raise PreconditionFailed if the photo, or its absence, is not as expected."""
        etag = photo.etag if photo else None
        self._refuse_another(photo, etag)
        if _is_one_of(etag, self._none_match, is_weak_enough=True):
            raise _failed("If-None-Match", etag)

    def is_known(self, photo: Photo, etag: str) -> bool:
        """For GET, by a client that would get this ETag: return whether the client has it already. Raises
        PreconditionFailed.
        """
        self._refuse_another(photo, etag)
        if self._none_match is not None:  # section 13.1.3: then the date is ignored
            return _is_one_of(etag, self._none_match, is_weak_enough=True)
        return self._modified is not None and _seconds(photo) <= self._modified

    def _refuse_another(self, photo: Photo | None, etag: str | None) -> None:
        """The first two steps of section 13.2.2."""
        if self._match is not None:
            if not _is_one_of(etag, self._match, is_weak_enough=False):
                raise _failed("If-Match", etag)
        elif self._unmodified is not None and photo and _seconds(photo) > self._unmodified:
            raise _failed("If-Unmodified-Since", etag)


def validators(photo: Photo, etag: str) -> dict[str, str]:
    """Return the headers with which a client can refer to this content later."""
    return {"ETag": etag, "Last-Modified": http_date(_seconds(photo))}


def _seconds(photo: Photo) -> int:
    return int(photo.modified.timestamp())


def _tags(request: HttpRequest, header: str) -> list[str] | None:
    """Return the entity tags of a header; None without the header."""
    value = request.headers.get(header)
    if value is None:
        return None
    if value.strip() == "*":
        return _ANY
    if not _TAGS.fullmatch(value):
        raise BadRequest(
            f'{header} is malformed. Send * or entity tags in double quotes, such as "5b8bc37f", separated by commas.'
        )
    return re.findall(_TAG, value)


def _date(request: HttpRequest, header: str) -> int | None:
    """Return seconds since the epoch. Malformed dates are ignored, as sections 13.1.3 and 13.1.4 require."""
    return parse_http_date_safe(request.headers.get(header, ""))


def _is_one_of(etag: str | None, tags: list[str] | None, *, is_weak_enough: bool) -> bool:
    """Return whether the photo has one of these tags. Weak tags match only if weak comparison is allowed."""
    if etag is None or tags is None:
        return False
    return tags == _ANY or etag in ([tag.removeprefix("W/") for tag in tags] if is_weak_enough else tags)


def _failed(header: str, etag: str | None) -> PreconditionFailed:
    now = f"has the ETag {etag}" if etag else "does not exist"
    return PreconditionFailed(
        f"{header} is not fulfilled: the photo {now}. Nothing was changed; look at it, then decide."
    )
