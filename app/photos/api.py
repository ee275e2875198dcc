"""The API. Each view translates a request into a call of library.py, and its result into JSON.

Errors are raised; problems.py turns them into responses.
"""

from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import MethodNotAllowed, NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from photos import bodylimit, library, multipart, pagination, receive, schema, sharing, storage, sweep
from photos.errors import BadName, BadRequest, Problem, TooLarge
from photos.models import Photo
from photos.preconditions import Preconditions, validators
from photos.serializers import PhotoSerializer

if TYPE_CHECKING:
    from django.contrib.auth.models import User


_WISH_MAX = 1024  # bytes
_ON_ONE = {"PUT", "PATCH", "DELETE"}


class PhotoList(GenericAPIView[Photo]):
    queryset = Photo.objects.select_related("owner")
    serializer_class = PhotoSerializer
    pagination_class = pagination.PhotoPagination
    parser_classes = [MultiPartParser]

    @extend_schema(**schema.LIST)
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        page = [_examined(photo, request) for photo in page or []]
        response = self.get_paginated_response(self.get_serializer(page, many=True).data)
        patch_vary_headers(response, ("Cookie", "Authorization"))  # each user sees the file that this user downloads
        return response

    @extend_schema(**schema.POST)
    def post(self, request: Request) -> Response:
        uploads = multipart.files(request)
        wish = sharing.wish(request.POST.get("share_position"))
        photos = library.add(cast("User", request.user), uploads, shares_position=wish)
        sweep.sweep_if_due()
        one = photos[0] if len(photos) == 1 else None  # headers describe one resource
        headers = {"Location": _address(one), **validators(one, one.etag)} if one else {}
        return Response(self.get_serializer(photos, many=True).data, status=201, headers=headers)

    def http_method_not_allowed(self, request: Any, *args: object, **kwargs: object) -> Any:
        name = " Add the photo's name to the address: /api/photos/NAME." if request.method in _ON_ONE else ""
        raise MethodNotAllowed(str(request.method), f"{request.method} is not allowed here.{name}")


class PhotoDetail(APIView):
    parser_classes = [JSONParser]  # for PATCH; PUT reads the body itself

    @extend_schema(**schema.GET)
    def get(self, request: Request, name: str) -> Response:
        photo = Photo.objects.select_related("owner").filter(name=_existing(name)).first()
        if photo is None:
            raise NotFound(f"There is no photo called {name}.")
        # Caches must revalidate: with a date alone they would guess how long it is fresh (RFC 9111, section 4.2.2).
        photo = _examined(photo, request)
        is_private = photo.owner_id == request.user.pk and photo.position != "none"  # others get different details
        fresh = "no-cache" if settings.GALLERY_PUBLIC and not is_private else "private, no-cache"
        etag = sharing.download(photo, {request.user.pk}).etag
        headers = {**validators(photo, etag), "Cache-Control": fresh, "Vary": "Cookie, Authorization"}
        # Whether the position is shared, which only the owner sees, may change while the ETag does not.
        is_known = Preconditions(request).is_known(photo, etag)
        if is_known and not is_private:
            return Response(status=304, headers=headers)
        return Response(_facts(photo, request), headers=headers)

    @extend_schema(**schema.PUT)
    def put(self, request: Request, name: str) -> Response:
        name = library.stored_name(name)
        owner = cast("User", request.user)
        wish = sharing.wish(request.query_params.get("share_position"))
        receive.check_headers(request)
        check = Preconditions(request).check
        library.refuse_early(owner, name, bodylimit.content_length(request) or 0, check)
        with storage.Incoming() as incoming:
            receive.receive(request, incoming)
            photo, is_new = library.put(owner, name, incoming, check, shares_position=wish)
        sweep.sweep_if_due()
        return Response(
            _facts(photo, request),
            status=201 if is_new else 200,
            headers={"Location": _address(photo), **validators(photo, photo.etag)},
        )

    @extend_schema(**schema.PATCH)
    def patch(self, request: Request, name: str) -> Response:
        name = _existing(name)
        if (bodylimit.content_length(request) or 0) > _WISH_MAX:
            raise TooLarge(
                f"The body of this PATCH is larger than {_WISH_MAX} bytes. Nothing was changed. PUT sends a picture.",
                visitor_text="The request is too large. Nothing was changed. Reload the page and try again.",
            )
        data = request.data
        wish = data.get("share_position") if isinstance(data, dict) and len(data) == 1 else None
        if not isinstance(wish, bool):
            raise BadRequest(
                'The body must be {"share_position": true} or {"share_position": false}. Nothing was changed.'
            )
        owner, check = cast("User", request.user), Preconditions(request).check
        try:
            photo = library.share_position(owner, name, check, is_wished=wish)
        except Photo.DoesNotExist as error:
            raise NotFound(f"There is no photo called {name}.") from error
        return Response(_facts(photo, request), headers=validators(photo, photo.etag))

    @extend_schema(**schema.DELETE)
    def delete(self, request: Request, name: str) -> Response:
        try:
            library.delete(cast("User", request.user), _existing(name), Preconditions(request).check)
        except Photo.DoesNotExist as error:
            raise NotFound(f"There is no photo called {name}.") from error
        return Response(status=204)


def _facts(photo: Photo, request: Request) -> Any:
    return PhotoSerializer(photo, context={"request": request}).data


def _examined(photo: Photo, request: Request) -> Photo:
    """Examine the photo for others than its owner. Its details are shown even if it cannot be examined now."""
    if photo.owner_id == request.user.pk:
        return photo
    try:
        return sharing.examined(photo)
    except (Problem, OSError, Photo.DoesNotExist):
        return photo


def _address(photo: Photo) -> str:
    return reverse("api-photo", args=[photo.name])


def _existing(name: str) -> str:
    """Return a name to look up; a name that could never be stored raises NotFound."""
    try:
        return library.stored_name(name)
    except BadName as error:
        raise NotFound(str(error)) from error
