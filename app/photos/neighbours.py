"""Where a photo is in the gallery: the one before it, the one after it, the page it is on.

The order is the model's: newest first, and of two of one moment the one that was stored last. Each question is answered
by the index of that order, without going through all photos.
"""

from django.db.models import Q, QuerySet
from django.urls import reverse

from photos.models import Photo
from photos.pagination import PAGE_SIZE


def newer(photo: Photo) -> Photo | None:
    """The one before it in the gallery."""
    return _before(photo).order_by("created", "id").first()


def older(photo: Photo) -> Photo | None:
    """The one after it in the gallery."""
    after = Q(created__lt=photo.created) | Q(created=photo.created, id__lt=photo.pk)
    return Photo.objects.filter(after).first()


def address(photo: Photo | None) -> str:
    """Of the gallery, opened at this photo; with None, at its start."""
    if photo is None:
        return reverse("gallery")
    page = _before(photo).count() // PAGE_SIZE + 1
    return f"{reverse('gallery')}{f'?page={page}' if page > 1 else ''}#photo-{photo.pk}"


def _before(photo: Photo) -> QuerySet[Photo]:
    return Photo.objects.filter(Q(created__gt=photo.created) | Q(created=photo.created, id__gt=photo.pk))
