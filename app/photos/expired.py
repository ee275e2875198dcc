"""Removes rows that count for nothing any more: sessions, API tokens and attempts to log in whose time is over.

Nothing reads them: Django, knox and logins.py look at the time themselves. A sweep does this on the side (sweep.py), so
no scheduler is needed. Each call takes a bounded number, the oldest first; after an upgrade of an old site several
sweeps share the work.
"""

from datetime import datetime

from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone
from knox.models import AuthToken

from photos import logins
from photos.models import LoginAttempts

BATCH = 500  # rows of each kind; SQLite takes 999 parameters in old builds


def remove() -> int:
    """Returns how many went. Raises DatabaseError."""
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
