"""The neighbours of a photo in the gallery: the photo before it, the photo after it, and the page it is on.

The order is the model's: newest first; of two photos with the same time, the one stored last. Each query uses the index
of that order and does not read all photos.
"""

from django.db.models import Q, QuerySet
from django.urls import reverse

from photos.models import Photo
from photos.pagination import PAGE_SIZE


def newer(photo: Photo) -> Photo | None:
    """Return the photo before it in the gallery."""
    return _before(photo).order_by("created", "id").first()


def older(photo: Photo) -> Photo | None:
    """Return the photo after it in the gallery."""
    after = Q(created__lt=photo.created) | Q(created=photo.created, id__lt=photo.pk)
    return Photo.objects.filter(after).first()


def address(photo: Photo | None) -> str:
    """Return the address of the gallery, at this photo; for None, at its start."""
    if photo is None:
        return reverse("gallery")
    page = _before(photo).count() // PAGE_SIZE + 1
    return f"{reverse('gallery')}{f'?page={page}' if page > 1 else ''}#photo-{photo.pk}"


def _before(photo: Photo) -> QuerySet[Photo]:
    return Photo.objects.filter(Q(created__gt=photo.created) | Q(created=photo.created, id__gt=photo.pk))
