"""One row per photo. The bytes lie in files; see storage.py for where, library.py for the order of file and row."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from photos import names


class Photo(models.Model):
    name = models.CharField(max_length=names.MAX_LENGTH, unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="photos")
    # The original, byte for byte as it was uploaded.
    size = models.PositiveBigIntegerField(help_text="bytes")
    sha256 = models.CharField(max_length=64, help_text="of the original, in lower-case hexadecimal")
    content_type = models.CharField(max_length=40, help_text="found in the bytes, not believed from the request")
    # As it is shown: a portrait photo of a phone lies on its side in the file and says so in its EXIF data.
    width = models.PositiveIntegerField(help_text="pixels")
    height = models.PositiveIntegerField(help_text="pixels")
    # Below MEDIA_ROOT, with new random names whenever the content changes.
    original = models.CharField(max_length=60, unique=True)
    thumbnail = models.CharField(max_length=60, unique=True)
    created = models.DateTimeField(default=timezone.now)
    # With a default in the database, too: while a new version is deployed, the one before writes rows without it.
    modified = models.DateTimeField(
        default=timezone.now, db_default=Now(), help_text="when the content came that it has now"
    )

    class Meta:
        ordering = ["-created", "-id"]
        indexes = [models.Index(fields=["-created", "-id"], name="newest_first")]

    def __str__(self) -> str:
        return self.name

    @property
    def etag(self) -> str:
        """The strong validator of the original: other bytes, another ETag. RFC 9110, section 8.8.3."""
        return f'"{self.sha256}"'


class Library(models.Model):
    """One row: the id by which this database shows that it belongs to a media folder. See pairing.py."""

    identity = models.CharField(max_length=32, help_text="random, in lower-case hexadecimal; never changes")
    sweeps = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="sweeps that could take published files away; only grows"
    )

    def __str__(self) -> str:
        return self.identity


class LoginAttempts(models.Model):
    """Those since the last login of an account, or of one browser that is known for it. See logins.py."""

    key = models.CharField(max_length=64, primary_key=True)
    number = models.PositiveIntegerField(default=0)
    last = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class TokenBinding(models.Model):
    """The password that a token belongs to. See tokens.py."""

    # No constraint: while a new version is deployed, the one before deletes tokens and knows nothing of this.
    token = models.OneToOneField("knox.AuthToken", models.CASCADE, primary_key=True, db_constraint=False)
    password = models.CharField(max_length=64, help_text="SHA-256 of the hash that Django stores, in hexadecimal")

    def __str__(self) -> str:
        return str(self.pk)
