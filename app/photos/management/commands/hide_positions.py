"""Examines the photos that an older version stored; see photos/sharing.py. May be stopped and started again."""

from django.core.management.base import BaseCommand, CommandError
from django.db.models import F

from photos import sharing
from photos.errors import Problem
from photos.models import Photo

_STEP = 100  # photos between two lines of progress


class Command(BaseCommand):
    help = (
        "Examine photos stored before positions were hidden, and make the files without a position that others "
        "download. Until then a photo is examined when somebody else first asks for it."
    )

    def handle(self, *args: object, **options: object) -> None:
        waiting = list(Photo.objects.exclude(examined=F("original")).order_by("pk").values_list("pk", flat=True))
        failed = 0
        for number, key in enumerate(waiting, 1):
            failed += not self._examine(key)
            if number % _STEP == 0 or number == len(waiting):
                self.stderr.write(f"{number} of {len(waiting)} photos")
        self.stderr.write(f"{len(waiting) - failed} examined.")
        if failed:
            raise CommandError(f"{failed} could not be examined; others do not get these. Run it again later.")

    def _examine(self, key: int) -> bool:
        photo = Photo.objects.filter(pk=key).first()
        try:
            if photo:
                sharing.settled(photo)
        except Photo.DoesNotExist:  # deleted meanwhile
            return True
        except (Problem, OSError) as error:
            self.stderr.write(f"{photo}: {error}")
            return False
        return True
