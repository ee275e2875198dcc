"""The API. Each view translates: request -> library.py -> JSON. Errors are raised and become answers in problems.py."""

from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from rest_framework.exceptions import MethodNotAllowed, NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from photos import bodylimit, documentation, library, multipart, names, paging, receive, storage, sweep
from photos.errors import BadName, BadRequest
from photos.models import Photo
from photos.permissions import LoggedIn
from photos.preconditions import Preconditions, validators
from photos.serializers import PhotoSerializer

if TYPE_CHECKING:
    from django.contrib.auth.models import User


_ON_ONE = {"PUT", "PATCH", "DELETE"}


class PhotoList(GenericAPIView[Photo]):
    queryset = Photo.objects.select_related("owner")
    serializer_class = PhotoSerializer
    pagination_class = paging.PhotoPages
    parser_classes = [MultiPartParser]

    @extend_schema(**documentation.LIST)
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(**documentation.POST)
    def post(self, request: Request) -> Response:
        photos = library.add(cast("User", request.user), multipart.files(request))
        sweep.sweep_if_due()
        one = photos[0] if len(photos) == 1 else None  # what a header says is of one resource
        headers = {"Location": _address(one), **validators(one)} if one else {}
        return Response(self.get_serializer(photos, many=True).data, status=201, headers=headers)

    def http_method_not_allowed(self, request: Any, *args: object, **kwargs: object) -> Any:
        name = " A photo has a name, also when it is sent: /api/photos/NAME." if request.method in _ON_ONE else ""
        raise MethodNotAllowed(str(request.method), f"{request.method} is not possible here.{name}")


class PhotoDetail(APIView):
    @extend_schema(**documentation.GET)
    def get(self, request: Request, name: str) -> Response:
        photo = Photo.objects.select_related("owner").filter(name=_existing(name)).first()
        if photo is None:
            raise NotFound(f"There is no photo called {name}.")
        # Asked anew each time: a date alone would let caches reckon for how long it is good (RFC 9111, section 4.2.2).
        fresh = "no-cache" if settings.GALLERY_PUBLIC else "private, no-cache"
        headers = {**validators(photo), "Cache-Control": fresh}
        if Preconditions(request).is_known(photo):
            return Response(status=304, headers=headers)
        return Response(PhotoSerializer(photo).data, headers=headers)

    @extend_schema(**documentation.PUT)
    def put(self, request: Request, name: str) -> Response:
        name = names.clean(name)
        owner = cast("User", request.user)
        receive.refuse_odd_headers(request)
        check = Preconditions(request).check
        library.refuse_early(owner, name, bodylimit.content_length(request) or 0, check)
        with storage.Incoming() as incoming:
            receive.receive(request, incoming)
            photo, is_new = library.put(owner, name, incoming, check)
        sweep.sweep_if_due()
        return Response(
            PhotoSerializer(photo).data,
            status=201 if is_new else 200,
            headers={"Location": _address(photo), **validators(photo)},
        )

    @extend_schema(**documentation.DELETE)
    def delete(self, request: Request, name: str) -> Response:
        try:
            library.delete(cast("User", request.user), _existing(name), Preconditions(request).check)
        except Photo.DoesNotExist as error:
            raise NotFound(f"There is no photo called {name}.") from error
        return Response(status=204)


class Token(APIView):
    """The token of the request. Not in the schema: a program that tries out all of that would end its own."""

    permission_classes = [LoggedIn]

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        if not isinstance(request.auth, AuthToken):
            raise BadRequest("There is no token in this request. DELETE /api/tokens ends all that you have.")
        request.auth.delete()
        return Response(status=204)


class Tokens(APIView):
    """All tokens of the user."""

    permission_classes = [LoggedIn]

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        AuthToken.objects.filter(user=request.user).delete()
        return Response(status=204)


def _address(photo: Photo) -> str:
    return reverse("api-photo", args=[photo.name])


def _existing(name: str) -> str:
    """A name to look up: one that could not be stored is simply not there."""
    try:
        return names.clean(name)
    except BadName as error:
        raise NotFound(str(error)) from error
