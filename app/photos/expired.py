"""Removes expired rows: sessions, API tokens and login attempts.

These rows have no effect: Django, knox and logins.py check the time themselves. Sweeps remove them (sweep.py), so no
scheduler is needed. Each call removes a limited number, the oldest first; after the upgrade of an old site it takes
several sweeps.
"""

from datetime import datetime

from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone
from knox.models import AuthToken

from photos import logins
from photos.models import LoginAttempts

BATCH = 500  # rows of each kind; old builds of SQLite accept 999 parameters


def remove() -> int:
    """Return how many rows were removed. Raises DatabaseError."""
    return sum(_delete(rows) for rows in _expired(timezone.now()))


def _expired(now: datetime) -> list[QuerySet[Session] | QuerySet[AuthToken] | QuerySet[LoginAttempts]]:
    return [
        Session.objects.filter(expire_date__lt=now).order_by("expire_date"),
        AuthToken.objects.filter(expiry__lt=now).order_by("expiry"),  # with its binding
        LoginAttempts.objects.filter(last__lt=now - logins.FORGET_AFTER).order_by("last"),
    ]


def _delete(rows: QuerySet[Session] | QuerySet[AuthToken] | QuerySet[LoginAttempts]) -> int:
    keys = list(rows.values_list("pk", flat=True)[:BATCH])
    if keys:
        rows.model.objects.filter(pk__in=keys).delete()
    return len(keys)
