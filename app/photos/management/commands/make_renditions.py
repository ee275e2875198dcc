"""Creates what photos stored by an older version lack: larger thumbnails, and previews of HEIC pictures."""

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from photos import images, kinds, library
from photos.errors import Problem
from photos.models import Photo

_NOT_SHOWN = [kind.content_type for kind in kinds.KINDS if not kind.is_shown]


class Command(BaseCommand):
    help = (
        "Create the missing larger thumbnails, and the missing previews of photos whose format browsers cannot show. "
        "It can be stopped at any time and continues where it stopped. Uploads can go on while it runs."
    )

    def handle(self, *args: object, **options: object) -> None:
        is_large = Q(width__gt=images.THUMBNAIL_MAX) | Q(height__gt=images.THUMBNAIL_MAX)
        candidates = Photo.objects.filter(is_large | Q(content_type__in=_NOT_SHOWN)).order_by("pk")
        done, failed = 0, 0
        for key in list(candidates.values_list("pk", flat=True)):
            photo = Photo.objects.filter(pk=key).first()
            if photo is None or not _lacks_some(photo):
                continue
            try:
                done += library.add_renditions(photo)
            except (Problem, OSError) as error:
                failed += 1
                self.stderr.write(f"{photo.name}: {error}")
        self.stderr.write(f"Photos completed: {done}")
        if failed:
            raise CommandError(f"Photos that failed: {failed}. Fix the errors above, then run this command again.")


def _lacks_some(photo: Photo) -> bool:
    is_large = max(photo.width, photo.height) > images.THUMBNAIL_MAX
    return (is_large and not photo.thumbnail_2x) or (photo.content_type in _NOT_SHOWN and not photo.preview)
