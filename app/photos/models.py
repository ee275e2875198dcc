"""One row per photo. The bytes lie in files; see storage.py for where, library.py for the order of file and row."""

from collections.abc import Collection
from typing import Any, Final, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from photos import names, storage

# The columns of a photo that name a file below MEDIA_ROOT, and the folder it lies in. "" in a column: there is no such
# file. Whoever stores, sweeps or deletes files reads this; `manage.py media_columns` tells `make backup`.
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
    # As it is shown: a portrait photo of a phone lies on its side in the file and says so in its EXIF data.
    width = models.PositiveIntegerField(help_text="pixels")
    height = models.PositiveIntegerField(help_text="pixels")
    # Below MEDIA_ROOT, with new random names whenever the content changes.
    original = models.CharField(max_length=60, unique=True)
    thumbnail = models.CharField(max_length=60, unique=True)
    # With a default in the database, as `modified` below.
    thumbnail_2x = models.CharField(
        max_length=60, default="", db_default="", blank=True, help_text="for dense screens; empty if the photo is small"
    )
    preview = models.CharField(
        max_length=60, default="", db_default="", blank=True, help_text="for browsers that do not show the original"
    )
    # What others download: sharing.py. All with a default in the database, as `modified` below.
    shared = models.CharField(
        max_length=60,
        default="",
        db_default="",
        blank=True,
        help_text="the original without its position; empty if it has none",
    )
    shared_sha256 = models.CharField(max_length=64, default="", db_default="", blank=True)
    # A version before replaces the original and leaves this as it is.
    examined = models.CharField(
        max_length=60, default="", db_default="", blank=True, help_text="the original that `shared` is of"
    )
    shares_position = models.BooleanField(
        default=False, db_default=False, help_text="the owner's wish: others get the original, too"
    )
    created = models.DateTimeField(default=timezone.now)
    # With a default in the database, too: while a new version is deployed, the one before writes rows without it.
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
        """Without renditions of the content before: while a new version is deployed, the one before replaces a photo's
        thumbnail and leaves these columns as they are.
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
        """Its files, below MEDIA_ROOT."""
        return [getattr(self, column) for column in FILES if getattr(self, column)]

    @property
    def is_examined(self) -> bool:
        """Whether it is known if the original tells its position."""
        return self.examined == self.original

    @property
    def position(self) -> str:
        """What others get of it: "none" if there is none, "hidden", "shared"; "unknown" if it was not examined."""
        if not self.is_examined:
            return "unknown"
        if not self.shared:
            return "none"
        return "shared" if self.shares_position else "hidden"

    @property
    def etag(self) -> str:
        """The strong validator of the original: other bytes, another ETag. RFC 9110, section 8.8.3."""
        return f'"{self.sha256}"'

    @property
    def shape(self) -> str:
        """Width by height in digits, one class of the style sheet for each: `w1 w_3 w__3 w___3` is 1.333.

        Rows of photos grow by it. A style attribute would say it more shortly, but the page's policy allows none.
        """
        digits = f"{min(9999, max(100, 1000 * self.width // self.height)):04}"
        return " ".join(f"w{'_' * index}{digit}" for index, digit in enumerate(digits))


def known(keys: Collection[str]) -> set[str]:
    """The storage keys that a row names, of some hundreds at most."""
    found: set[str] = set()
    for column, folder in FILES.items():
        if candidates := [key for key in keys if key.startswith(f"{folder}/")]:
            rows = Photo.objects.filter(**{f"{column}__in": candidates}).order_by()
            found.update(rows.values_list(column, flat=True))
    return found


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
