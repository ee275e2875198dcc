"""Examines the photos that an older version stored; see photos/sharing.py. Can be stopped and restarted."""

from django.core.management.base import BaseCommand, CommandError
from django.db.models import F

from photos import sharing
from photos.errors import Problem
from photos.models import Photo

_STEP = 100  # photos between two lines of progress


class Command(BaseCommand):
    help = (
        "Examine photos that were stored before positions were hidden, and create the files without a position that "
        "others download. A photo that this command has not examined is examined when another user first requests it."
    )

    def handle(self, *args: object, **options: object) -> None:
        waiting = list(Photo.objects.exclude(examined=F("original")).order_by("pk").values_list("pk", flat=True))
        failed = 0
        for number, key in enumerate(waiting, 1):
            failed += not self._examine(key)
            if number % _STEP == 0 or number == len(waiting):
                self.stderr.write(f"{number} of {len(waiting)} photos")
        self.stderr.write(f"Photos examined: {len(waiting) - failed}")
        if failed:
            raise CommandError(
                f"Photos not examined: {failed}. Others cannot download these. Run this command again later."
            )

    def _examine(self, key: int) -> bool:
        photo = Photo.objects.filter(pk=key).first()
        try:
            if photo:
                sharing.examined(photo)
        except Photo.DoesNotExist:  # deleted in the meantime
            return True
        except (Problem, OSError) as error:
            self.stderr.write(f"{photo}: {error}")
            return False
        return True
