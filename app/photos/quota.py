"""How many bytes of originals one user may have stored: USER_QUOTA, for each; 0 is no limit.

Thumbnails are not counted. Two uploads of one user at the same moment cannot both take the last free bytes: whoever
writes rows holds the user's row first. SQLite lets one transaction write at a time anyway.
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
    """Inside a transaction, before any other row of it: others that want to store for this user wait for its end."""
    if settings.USER_QUOTA:
        get_user_model().objects.select_for_update().filter(pk=owner.pk).first()


def refuse_beyond(owner: "User", added: int) -> None:
    """Raise QuotaExceeded if the user has no room for so many bytes more; what makes no difference is allowed."""
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
