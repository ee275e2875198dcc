"""The API. Each view translates: request -> library.py -> JSON. Errors are raised and become answers in problems.py."""

from typing import TYPE_CHECKING, cast

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from photos import documentation, library, multipart, names, paging, receive, storage, sweep
from photos.errors import BadName
from photos.models import Photo
from photos.serializers import PhotoSerializer

if TYPE_CHECKING:
    from django.contrib.auth.models import User


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
        return Response(self.get_serializer(photos, many=True).data, status=201)


class PhotoDetail(APIView):
    @extend_schema(**documentation.GET)
    def get(self, request: Request, name: str) -> Response:
        photo = Photo.objects.select_related("owner").filter(name=_existing(name)).first()
        if photo is None:
            raise NotFound(f"There is no photo called {name}.")
        return Response(PhotoSerializer(photo).data)

    @extend_schema(**documentation.PUT)
    def put(self, request: Request, name: str) -> Response:
        name = names.clean(name)
        owner = cast("User", request.user)
        receive.refuse_odd_headers(request)
        library.refuse_foreign(owner, name)  # before the body is read
        with storage.Incoming() as incoming:
            receive.receive(request, incoming)
            photo, is_new = library.put(owner, name, incoming)
        sweep.sweep_if_due()
        return Response(
            PhotoSerializer(photo).data,
            status=201 if is_new else 200,
            headers={"Location": reverse("api-photo", args=[photo.name])},
        )

    @extend_schema(**documentation.DELETE)
    def delete(self, request: Request, name: str) -> Response:
        try:
            library.delete(cast("User", request.user), _existing(name))
        except Photo.DoesNotExist as error:
            raise NotFound(f"There is no photo called {name}.") from error
        return Response(status=204)


def _existing(name: str) -> str:
    """A name to look up: one that could not be stored is simply not there."""
    try:
        return names.clean(name)
    except BadName as error:
        raise NotFound(str(error)) from error
