"""The project's own check for /readyz: see HEALTH_CHECKS in the settings."""

from django.db import DatabaseError

from photos.models import Photo
from uploadstack.health import NotReady


def check_photos() -> None:
    """Raise NotReady unless the table of photos exists."""
    try:
        Photo.objects.exists()
    except DatabaseError as error:
        raise NotReady(f"{error}. Did `manage.py migrate` run?") from error
