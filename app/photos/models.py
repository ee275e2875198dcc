"""One row per photo. The bytes are in files: see storage.py for where, library.py for the order of file and row."""

from collections.abc import Collection
from typing import Any, Final, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from photos import names, storage

# The columns of a photo that contain storage keys, and the folders of the files. Empty columns: there is no such file.
# Storing, sweeping and deleting use this; `manage.py media_columns` reports it to `make backup`.
FILES: Final = {
    "original": storage.ORIGINALS,
    "thumbnail": storage.THUMBS,
    "thumbnail_2x": storage.RENDITIONS,
    "preview": storage.RENDITIONS,
    "shared": storage.SHARED,
}
_RENDITIONS: Final = ("thumbnail_2x", "preview")


class Photo(models.Model):
    name = models.CharField(max_length=names.MAX_LENGTH, unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="photos")
    # The original, byte for byte as it was uploaded.
    size = models.PositiveBigIntegerField(help_text="bytes")
    sha256 = models.CharField(max_length=64, help_text="of the original, in lower-case hexadecimal")
    content_type = models.CharField(max_length=40, help_text="found in the bytes, not believed from the request")
    # As displayed: a phone stores a portrait photo on its side, with an orientation in its EXIF data.
    width = models.PositiveIntegerField(help_text="pixels")
    height = models.PositiveIntegerField(help_text="pixels")
    # Storage keys, with new random names whenever the content changes.
    original = models.CharField(max_length=60, unique=True)
    thumbnail = models.CharField(max_length=60, unique=True)
    # With a default in the database, like `modified` below.
    thumbnail_2x = models.CharField(
        max_length=60, default="", db_default="", blank=True, help_text="for dense screens; empty if the photo is small"
    )
    preview = models.CharField(
        max_length=60, default="", db_default="", blank=True, help_text="for browsers that do not show the original"
    )
    # What others download: sharing.py. All have a default in the database, like `modified` below.
    shared = models.CharField(
        max_length=60,
        default="",
        db_default="",
        blank=True,
        help_text="the original without its position; empty if it has none",
    )
    shared_sha256 = models.CharField(max_length=64, default="", db_default="", blank=True)
    # An older version that replaces the original does not change this column.
    examined = models.CharField(
        max_length=60, default="", db_default="", blank=True, help_text="the original that `shared` is of"
    )
    shares_position = models.BooleanField(
        default=False, db_default=False, help_text="the owner's wish: others get the original, too"
    )
    created = models.DateTimeField(default=timezone.now)
    # Has a default in the database as well: during a deploy the old version writes rows without it.
    modified = models.DateTimeField(
        default=timezone.now, db_default=Now(), help_text="when the content came that it has now"
    )

    class Meta:
        ordering = ["-created", "-id"]
        indexes = [
            models.Index(fields=["-created", "-id"], name="newest_first"),
            models.Index(fields=["thumbnail_2x"], name="by_thumbnail_2x"),
            models.Index(fields=["preview"], name="by_preview"),
            models.Index(fields=["shared"], name="by_shared"),
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Ignore renditions of previous content: during a deploy the old version replaces a photo's thumbnail and does
        not change these columns.
        """
        photo = super().from_db(*args, **kwargs)
        for column in _RENDITIONS:
            if photo.__dict__.keys() >= {column, "thumbnail"} and not storage.is_beside(
                photo.__dict__[column], photo.thumbnail
            ):
                setattr(photo, column, "")
        return photo

    @property
    def storage_keys(self) -> list[str]:
        """The storage keys of its files."""
        return [getattr(self, column) for column in FILES if getattr(self, column)]

    @property
    def is_examined(self) -> bool:
        """Whether the original was checked for a position."""
        return self.examined == self.original

    @property
    def position(self) -> str:
        """What others get: "none" without a position, "hidden" or "shared"; "unknown" if it was not examined."""
        if not self.is_examined:
            return "unknown"
        if not self.shared:
            return "none"
        return "shared" if self.shares_position else "hidden"

    @property
    def etag(self) -> str:
        """The strong validator of the original: other bytes have another ETag. RFC 9110, section 8.8.3."""
        return f'"{self.sha256}"'

    @property
    def shape(self) -> str:
        """Width divided by height, one CSS class for each digit: `w1 w_3 w__3 w___3` is 1.333.

        The layout of photo rows uses it. A style attribute would be shorter, but the page's policy forbids it.
        """
        digits = f"{min(9999, max(100, 1000 * self.width // self.height)):04}"
        return " ".join(f"w{'_' * index}{digit}" for index, digit in enumerate(digits))


def known(keys: Collection[str]) -> set[str]:
    """Return those of at most some hundred storage keys that a row names."""
    found: set[str] = set()
    for column, folder in FILES.items():
        if candidates := [key for key in keys if key.startswith(f"{folder}/")]:
            rows = Photo.objects.filter(**{f"{column}__in": candidates}).order_by()
            found.update(rows.values_list(column, flat=True))
    return found


class Library(models.Model):
    """The only row has the id that links this database to a media folder. See pairing.py."""

    identity = models.CharField(max_length=32, help_text="random, in lower-case hexadecimal; never changes")
    sweeps = models.PositiveBigIntegerField(
        default=0, db_default=0, help_text="sweeps that could take published files away; only grows"
    )

    def __str__(self) -> str:
        return self.identity


class LoginAttempts(models.Model):
    """Login attempts since the last login to an account, or from one known browser of it. See logins.py."""

    key = models.CharField(max_length=64, primary_key=True)
    number = models.PositiveIntegerField(default=0)
    last = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key


class TokenBinding(models.Model):
    """The password with which a token was created. See tokens.py."""

    # No constraint: during a deploy the old version deletes tokens without knowing this table.
    token = models.OneToOneField("knox.AuthToken", models.CASCADE, primary_key=True, db_constraint=False)
    password = models.CharField(max_length=64, help_text="SHA-256 of the hash that Django stores, in hexadecimal")

    def __str__(self) -> str:
        return str(self.pk)
