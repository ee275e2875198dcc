"""The JSON of the API: one photo, and (for the schema only) what a form and an error look like."""

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from knox.models import AuthToken
from rest_framework import serializers

from photos import names, sharing
from photos.models import Photo


class PhotoSerializer(serializers.ModelSerializer[Photo]):
    # The model's validators do not apply to what is only read; the schema should still tell.
    name = serializers.CharField(read_only=True, max_length=names.MAX_LENGTH)
    owner = serializers.CharField(source="owner.get_username", read_only=True)
    url = serializers.SerializerMethodField(help_text="the original; a path on this server")
    sha256 = serializers.SerializerMethodField(
        help_text="of the file that you download from `url`, in lower-case hexadecimal"
    )
    position = serializers.SerializerMethodField(
        help_text="for the owner: whether the original contains its position, and others get it; null for others"
    )
    thumbnail = serializers.SerializerMethodField(help_text="a WebP of at most 480 x 480 pixels; a path on this server")

    thumbnail_2x = serializers.SerializerMethodField(
        help_text="the same, of at most 960 x 960 pixels; null if the photo is not larger than the thumbnail"
    )
    preview = serializers.SerializerMethodField(
        help_text="a WebP of at most 2048 x 2048 pixels of a format that browsers cannot show (HEIC); otherwise null"
    )

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
            "position",
            "created",
            "url",
            "thumbnail",
            "thumbnail_2x",
            "preview",
        )
        read_only_fields = fields

    def get_url(self, photo: Photo) -> str:
        return reverse("original", args=[photo.name])

    def get_sha256(self, photo: Photo) -> str:
        return sharing.download(photo, {self._asker()}).sha256

    @extend_schema_field({"type": "string", "nullable": True, "enum": ["none", "hidden", "shared", "unknown", None]})
    def get_position(self, photo: Photo) -> str | None:
        return photo.position if photo.owner_id == self._asker() else None

    def _asker(self) -> object:
        return self.context["request"].user.pk

    def get_thumbnail(self, photo: Photo) -> str:
        return reverse("thumbnail", args=[photo.thumbnail])

    def get_thumbnail_2x(self, photo: Photo) -> str | None:
        return reverse("thumbnail", args=[photo.thumbnail_2x]) if photo.thumbnail_2x else None

    def get_preview(self, photo: Photo) -> str | None:
        return reverse("thumbnail", args=[photo.preview]) if photo.preview else None


class WishSerializer(serializers.Serializer[None]):
    """What an owner can change about a photo."""

    share_position = serializers.BooleanField(help_text="whether others get the position stored in the original")


class UploadSerializer(serializers.Serializer[None]):
    """A multipart form."""

    file = serializers.ListField(
        child=serializers.FileField(), min_length=1, help_text="one or more pictures: all are stored, or none"
    )
    share_position = serializers.BooleanField(
        required=False, help_text="whether others get the position stored in the pictures; the default is false"
    )


class LoginSerializer(serializers.Serializer[None]):
    """The account for which to create a token."""

    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)


class TokenSerializer(serializers.Serializer[None]):
    token = serializers.CharField(help_text="send it as `Authorization: Token ...`; it is not shown again")
    expiry = serializers.DateTimeField(help_text="when it expires, unless it is revoked earlier")


class TokenFactsSerializer(serializers.Serializer[AuthToken]):
    """A token, without the part that is needed to use it. Context: `current`, the token of the request, or None."""

    key = serializers.CharField(source="token_key", help_text="its first characters; DELETE /api/tokens/KEY revokes it")
    created = serializers.DateTimeField()
    expiry = serializers.DateTimeField(allow_null=True)
    is_current = serializers.SerializerMethodField(help_text="whether this request was made with it")

    def get_is_current(self, token: AuthToken) -> bool:
        return bool(token == self.context["current"])


class ErrorSerializer(serializers.Serializer[None]):
    """Every error of the API."""

    error = serializers.CharField(help_text="a stable short name, for programs")
    detail = serializers.CharField(help_text="what is wrong and what to do, for people")
    request_id = serializers.CharField(help_text="finds the log lines of this request")
