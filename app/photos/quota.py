"""The bytes of originals that each user may store: USER_QUOTA; 0 disables the limit.

Thumbnails do not count. Two simultaneous uploads of one user cannot both get the last free bytes: a transaction locks
the user's row before it writes rows. (SQLite allows only one writing transaction at a time.)
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Sum
from django.template.defaultfilters import filesizeformat

from photos.errors import QuotaExceeded
from photos.models import Photo

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def hold(owner: "User") -> None:
    """Lock the user's row, first in a transaction: other transactions that store for this user wait for its end."""
    if settings.USER_QUOTA:
        get_user_model().objects.select_for_update().filter(pk=owner.pk).first()


def refuse_beyond(owner: "User", added: int) -> None:
    """Raise QuotaExceeded if `added` more bytes exceed the user's quota. Not adding any is always allowed."""
    if not settings.USER_QUOTA or added <= 0:
        return
    used = Photo.objects.filter(owner=owner).aggregate(bytes=Sum("size"))["bytes"] or 0
    if used + added > settings.USER_QUOTA:
        quota, there = (filesizeformat(size).replace("\xa0", " ") for size in (settings.USER_QUOTA, used))
        raise QuotaExceeded(
            f"The upload exceeds your quota: your photos use {there} of {quota} (USER_QUOTA). Nothing was stored. "
            "Delete some first.",
            visitor_text=f"You do not have enough space left: your photos use {there} of {quota}. Nothing was stored. "
            "Delete some first.",
        )
