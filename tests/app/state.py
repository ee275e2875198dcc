"""What must hold of rows and files together, whatever happened before."""

import hashlib
from pathlib import Path

from photos.models import Photo


def files(media: Path) -> set[str]:
    """Every file below the media folder, relative to it, but for what begins with a dot, which is nobody's photo."""
    found = (path.relative_to(media) for path in media.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not path.parts[0].startswith(".")}


def check(media: Path, names: set[str] | None = None) -> None:
    """Every row has its files, the original is what the row says, and no file is without a row.

    With `names`, those are the photos there are.
    """
    photos = list(Photo.objects.all())
    if names is not None:
        assert {photo.name for photo in photos} == names
    for photo in photos:
        data = (media / photo.original).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (photo.size, photo.sha256)
    assert files(media) == {place for photo in photos for place in photo.storage_keys}
