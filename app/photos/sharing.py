"""What other users than the owner download: the original, or a copy without the position.

A photo's row names the original that was examined (`examined`), and the copy without a position (`shared`; empty if
the original has no position). If an older version wrote the row, or replaces the photo while both versions run,
`examined` is empty or names another original. Then the photo is examined before other users get it: when one of them
requests it, or by `manage.py hide_positions`, which examines all photos.
"""

import errno
import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Final

from django.db import transaction

from photos import images, pairing, patches, quarantine, storage
from photos.errors import BadRequest, DecoderBusy
from photos.models import Photo
from photos.patches import Patch
from photos.storage import Incoming

_ATTEMPTS: Final = 3  # at a photo that is replaced in the meantime
_WISHES: Final = {
    "true": True,
    "1": True,
    "on": True,
    "yes": True,
    "false": False,
    "0": False,
    "off": False,
    "no": False,
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """The file that a user gets."""

    key: str
    sha256: str
    is_private: bool  # others would get something else

    @property
    def etag(self) -> str:
        """A strong validator: other bytes have another ETag. RFC 9110, section 8.8.3."""
        return f'"{self.sha256}"'


def download(photo: Photo, askers: Iterable[object]) -> Download:
    """Return the file for a client with these user ids. Other users' file has no key until the photo is `examined`."""
    is_hidden = not photo.is_examined or bool(photo.shared and not photo.shares_position)
    if photo.owner_id in askers or not is_hidden:
        return Download(photo.original, photo.sha256, is_private=is_hidden)
    if not photo.is_examined:
        return Download("", photo.sha256, is_private=False)
    return Download(photo.shared, photo.shared_sha256, is_private=False)


def wish(value: str | None) -> bool:
    """Parse the owner's choice in a form or an address: whether others get the position. Raises BadRequest."""
    if not value:
        return False
    try:
        return _WISHES[value.lower()]
    except KeyError as error:
        raise BadRequest(
            f"share_position: {value[:20]!r} is neither true nor false. Nothing was stored or changed."
        ) from error


def without_position(source: IO[bytes], found: Sequence[Patch], files: ExitStack) -> Incoming:
    """Return a copy with these patches applied; `files` discards it unless it is kept."""
    copy = files.enter_context(Incoming())
    for piece in patches.patched(source, found):
        copy.write(piece)
    return copy


def examined(photo: Photo) -> Photo:
    """Return the photo after examining it, if it was not examined before.

    Raises Photo.DoesNotExist if it was deleted in the meantime, FileNotFoundError without its file, and what
    images.find_position and storage raise.
    """
    for _ in range(_ATTEMPTS):
        if photo.is_examined:
            return photo
        _examine(photo)
        photo = Photo.objects.select_related("owner").get(pk=photo.pk)
    raise DecoderBusy("This photo is being replaced. Try again in a moment.")


def _examine(photo: Photo) -> None:
    with ExitStack() as files:
        file = storage.opened(photo.original)
        if file is None and quarantine.restore(photo.original):
            file = storage.opened(photo.original)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "the original is missing", photo.original)
        files.enter_context(file)
        found = images.find_position(file)
        copy = without_position(file, found, files) if found else None
        _note(photo, copy)


def _note(photo: Photo, copy: Incoming | None) -> None:
    """Write the result into the row, unless the photo was replaced, or another process was faster."""
    columns = {"examined": photo.original, "shared": "", "shared_sha256": ""}
    if copy:
        pairing.announce()
        columns["shared"] = copy.publish(storage.SHARED, "." + photo.original.rpartition(".")[2])
        columns["shared_sha256"] = copy.sha256
    with transaction.atomic(durable=True):
        same = Photo.objects.filter(pk=photo.pk, original=photo.original, examined=photo.examined)
        is_noted = bool(same.update(**columns))
        outdated = photo.shared if is_noted and photo.shared and not pairing.mismatch() else ""
        if copy and is_noted:
            copy.keep()
    if outdated:  # of previous content
        storage.retire(outdated)
    _log.info("photo examined", extra={"fields": {"photo": photo.name, "has_position": bool(copy)}})
