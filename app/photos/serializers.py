"""The JSON of the API: one photo, and (for the schema only) what a form and an error look like."""

from django.urls import reverse
from rest_framework import serializers

from photos import names
from photos.models import Photo


class PhotoSerializer(serializers.ModelSerializer[Photo]):
    # The model's validators do not apply to what is only read; the schema should still tell.
    name = serializers.CharField(read_only=True, max_length=names.MAX_LENGTH)
    owner = serializers.CharField(source="owner.get_username", read_only=True)
    url = serializers.SerializerMethodField(help_text="the original; a path on this server")
    thumbnail = serializers.SerializerMethodField(help_text="a WebP of at most 480 x 480 pixels; a path on this server")

    class Meta:
        model = Photo
        fields = (
            "name",
            "owner",
            "size",
            "content_type",
            "width",
            "height",
            "sha256",
            "created",
            "url",
            "thumbnail",
        )
        read_only_fields = fields

    def get_url(self, photo: Photo) -> str:
        return reverse("original", args=[photo.name])

    def get_thumbnail(self, photo: Photo) -> str:
        return reverse("thumbnail", args=[photo.thumbnail])


class UploadSerializer(serializers.Serializer[None]):
    """A multipart form."""

    file = serializers.ListField(
        child=serializers.FileField(), min_length=1, help_text="one or several pictures: all are stored, or none"
    )


class ErrorSerializer(serializers.Serializer[None]):
    """Every error of the API."""

    error = serializers.CharField(help_text="a stable short name, for programs")
    detail = serializers.CharField(help_text="what is wrong and what to do, for people")
    request_id = serializers.CharField(help_text="finds the log lines of this request")
