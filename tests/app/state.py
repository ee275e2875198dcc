"""The invariants of rows and files, which hold whatever happened before."""

import hashlib
from pathlib import Path

from photos.models import Photo


def files(media: Path) -> set[str]:
    """Return the relative paths of all files in the media folder; names with a leading dot are not photos."""
    found = (path.relative_to(media) for path in media.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not path.parts[0].startswith(".")}


def check(media: Path, names: set[str] | None = None) -> None:
    """Check that every row has its files, that the original matches the row, and that every file has a row.

    With `names`, also check that exactly these photos exist.
    """
    photos = list(Photo.objects.all())
    if names is not None:
        assert {photo.name for photo in photos} == names
    for photo in photos:
        data = (media / photo.original).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (photo.size, photo.sha256)
    assert files(media) == {key for photo in photos for key in photo.storage_keys}
