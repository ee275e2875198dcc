"""Lets an administrator declare that this database and this media folder belong together; see photos/pairing.py."""

from django.core.management.base import BaseCommand, CommandError, CommandParser

from photos import pairing, storage, sweep
from photos.models import Photo


class Command(BaseCommand):
    help = (
        "Report whether the database and the media folder belong together, and how many files and rows match. With "
        "--yes, declare that they belong together: from then on sweeps remove files that this database does not know."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--yes", action="store_true", help="declare that they belong together; without it nothing is changed"
        )

    def handle(self, *args: object, **options: object) -> None:
        published = sweep.scan()
        total, unknown = published.files, len(published.unknown)
        self.stdout.write(f"{total} published files: {total - unknown} have a row, {unknown} have none.")
        self.stdout.write(f"{Photo.objects.count()} rows: {_rows_without_file()} lack a file.")
        mismatch = pairing.mismatch()
        if mismatch and not options["yes"]:
            raise CommandError(f"{mismatch}. Nothing was changed.")
        if mismatch:
            pairing.adopt()
        self.stdout.write("The database and the media folder belong together.")


def _rows_without_file() -> int:
    photos = Photo.objects.order_by().iterator()
    return sum(not all((storage.root() / key).is_file() for key in photo.storage_keys) for photo in photos)
