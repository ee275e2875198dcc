"""Lists the columns that name files: FILES of the models, which are not FileFields. Extends uploadstack's command."""

from collections.abc import Iterable

from photos.models import FILES, Photo
from uploadstack.management.commands.media_columns import Command as BaseCommand
from uploadstack.management.commands.media_columns import MediaColumn


class Command(BaseCommand):
    def columns(self) -> Iterable[MediaColumn]:
        return [MediaColumn(Photo._meta.db_table, name) for name in FILES]  # noqa: SLF001 - Django's documented name
