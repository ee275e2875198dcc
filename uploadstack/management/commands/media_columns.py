"""Lists the columns of the database that name files in MEDIA_ROOT. `make backup` checks that these files exist."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db.models import FileField


class MediaColumn(NamedTuple):
    table: str
    column: str
    folder: str = ""  # in MEDIA_ROOT; the column's values are relative to it


class Command(BaseCommand):
    """Prints a JSON array of objects with the keys table, column and folder.

    It lists the project's FileFields and ImageFields whose storage is in MEDIA_ROOT. A project that names its files in
    other columns defines a command of the same name, derived from this one, in an application before `uploadstack`.
    """

    help = "Print which columns of the database name files in MEDIA_ROOT, as JSON. `make backup` uses it."

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(json.dumps([column._asdict() for column in self.columns()]))

    def columns(self) -> Iterable[MediaColumn]:
        return _file_fields()


def _file_fields() -> Iterator[MediaColumn]:
    for model in apps.get_models(include_auto_created=True):
        if model._meta.proxy:  # noqa: SLF001 - Django's documented name for it
            continue
        for field in model._meta.local_concrete_fields:  # noqa: SLF001
            if isinstance(field, FileField) and (folder := _in_media(field)) is not None:
                yield MediaColumn(model._meta.db_table, str(field.column), folder)  # noqa: SLF001


def _in_media(field: FileField) -> str | None:
    """Return the folder of a field's storage, relative to MEDIA_ROOT; None if it is outside."""
    location = getattr(field.storage, "location", None)
    media = Path(settings.MEDIA_ROOT).resolve()
    if location is None or not Path(location).resolve().is_relative_to(media):
        return None
    folder = Path(location).resolve().relative_to(media).as_posix()
    return "" if folder == "." else folder
