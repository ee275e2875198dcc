"""Removes what crashes left behind; see photos/sweep.py. Uploads start the same sweep, so no scheduler is needed."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from photos import expired, sweep


class Command(BaseCommand):
    help = (
        "Remove incomplete files, and move published files that no row names into quarantine, unless a process is "
        "working on them; published files only if the database and the media folder belong together, and if they are "
        "few."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--age",
            type=int,
            default=settings.SWEEP_AGE,
            help="leave files alone that were written to in the last AGE seconds",
        )
        parser.add_argument(
            "--no-brake",
            action="store_true",
            help="also if more files have no row than crashes can leave; check the database first",
        )

    def handle(self, *args: object, **options: object) -> None:
        rows = expired.remove()
        age = options["age"]
        removed = sweep.sweep(age if isinstance(age, int) else settings.SWEEP_AGE, has_brake=not options["no_brake"])
        for path in removed:
            self.stdout.write(str(path))
        self.stderr.write(f"Files removed: {len(removed)}")
        if rows:
            self.stderr.write(f"Expired sessions, tokens and login attempts removed: {rows}")
