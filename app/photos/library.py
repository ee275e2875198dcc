"""Photos in and out: the order in which file and row come and go, so that a crash at any moment does no harm.

    in:   files written, synced and renamed  ->  row committed  ->  201
    out:  row deleted, committed             ->  files removed  ->  204

So a row always has its files, and the worst a crash leaves behind is a file without a row, which sweep.py removes.
Replacing is both at once: new files, then the row points to them, then the old files go; whoever was told their names
just before finds them for some minutes (storage.retire). No file changes its content under a name that a row has.

A file is taken away on the word of this database, which has to show first that it belongs to the media folder
(pairing.py). If it cannot, the file stays where it is.

Knows the database, storage.py and images.py; no HTTP. Everything raised is a Problem, or a broken machine's OSError or
DatabaseError.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from django.db import DatabaseError, IntegrityError, transaction

from photos import deadline, images, names, pairing, quarantine, storage
from photos.errors import EmptyBody, NameTaken, NotOwner, Problem
from photos.models import Photo
from photos.storage import Incoming

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_ATTEMPTS: Final = 3  # at a name that others are taking at the same moment
_VARIANTS_MAX: Final = 1000  # of one name
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Shelved:
    """Two files under their final names, and what a row has to say about them."""

    upload: Incoming
    thumbnail: Incoming
    columns: dict[str, str | int]

    def keep(self) -> None:
        self.upload.keep()
        self.thumbnail.keep()

    @property
    def is_kept(self) -> bool:
        """Otherwise no commit was begun, and who holds the files discards them."""
        return self.upload.is_kept


def put(owner: "User", name: str, upload: Incoming) -> tuple[Photo, bool]:
    """Store `upload` as the photo called `name`, in place of the owner's photo of that name if there is one.

    Returns the photo and whether it is new. Raises NotOwner when the name is somebody else's, and what images.inspect
    and storage raise. The caller's `with` discards the upload when anything is raised.
    """
    refuse_foreign(owner, name)  # before the work; asked again in the transaction
    with ExitStack() as files:
        shelved = _shelve(upload, files)
        photo, is_new, outdated = _committed([shelved], lambda: _insert_or_update(owner, name, shelved))
    for place in outdated:
        storage.retire(place)
    _log_stored(photo)
    return photo, is_new


def add(owner: "User", uploads: Sequence[tuple[str, Incoming]]) -> list[Photo]:
    """Store new photos, all of them or none, each under its file's name or the next free variant of it."""
    with ExitStack() as files:
        shelved = [(names.sanitised(filename), _shelve(upload, files)) for filename, upload in uploads]
        photos = _committed(
            [item for _, item in shelved],
            lambda: [_insert_under_free_name(owner, name, item) for name, item in shelved],
        )
    for photo in photos:
        _log_stored(photo)
    return photos


def delete(owner: "User", name: str) -> None:
    """Take the photo away, then its files. Raises Photo.DoesNotExist, or NotOwner."""
    with transaction.atomic(durable=True):
        photo = Photo.objects.select_for_update().get(name=name)
        _refuse_foreign_photo(owner, photo)
        outdated = _not_needed_without(photo)
        photo.delete()
    for place in outdated:
        storage.remove(place)
    _log.info("photo deleted", extra={"fields": {"photo": photo.name}})


def refuse_foreign(owner: "User", name: str) -> None:
    """Raise NotOwner if the name is taken by somebody else's photo."""
    if photo := Photo.objects.filter(name=name).first():
        _refuse_foreign_photo(owner, photo)


def _refuse_foreign_photo(owner: "User", photo: Photo) -> None:
    if photo.owner_id != owner.pk:
        raise NotOwner(f"The photo {photo.name} belongs to somebody else. Use another name.")


def _shelve(upload: Incoming, files: ExitStack) -> _Shelved:
    """Check the upload, make its thumbnail, and give both files their final names."""
    if upload.size == 0:
        raise EmptyBody("The file is empty. Choose another one.")
    upload.flush()
    picture = images.inspect(upload.file, deadline.left())
    pairing.announce()
    thumbnail = files.enter_context(Incoming())
    thumbnail.write(picture.thumbnail)
    return _Shelved(
        upload,
        thumbnail,
        {
            "size": upload.size,
            "sha256": upload.sha256,
            "content_type": picture.kind.content_type,
            "width": picture.width,
            "height": picture.height,
            "original": upload.publish(storage.ORIGINALS, picture.kind.suffix),
            "thumbnail": thumbnail.publish(storage.THUMBS, images.THUMBNAIL_SUFFIX),
        },
    )


def _committed(shelved: Sequence[_Shelved], write_rows: Callable[[], _Result]) -> _Result:
    """Run `write_rows` in one transaction, again if another request took one of its names in between.

    From just before the commit the files are nobody's to discard: a commit can succeed and still raise (a lost
    connection, a worker told to exit). When the database says that it did fail, the files go into quarantine, because
    another one may be answering now; when nobody can tell, the sweep finds out later.
    """
    for _ in range(_ATTEMPTS):
        try:
            with transaction.atomic(durable=True):
                result = write_rows()
                deadline.check()  # nobody waits for the answer any more: nothing is stored
                for item in shelved:
                    item.keep()
        except IntegrityError:
            continue  # only where two transactions can insert at once: on PostgreSQL, not on SQLite
        except DatabaseError:
            _put_aside_unless_rows(shelved)
            raise
        return result
    _put_aside_unless_rows(shelved)
    raise NameTaken("Others are taking this name at this very moment. Try again, or use another name.")


def _put_aside_unless_rows(shelved: Iterable[_Shelved]) -> None:
    kept = [item.columns for item in shelved if item.is_kept]
    try:
        if Photo.objects.filter(original__in=[columns["original"] for columns in kept]).exists() or pairing.trouble():
            return
    except DatabaseError:
        return
    for columns in kept:
        _put_aside(str(columns["original"]))
        _put_aside(str(columns["thumbnail"]))


def _put_aside(place: str) -> None:
    try:
        quarantine.put(place)
    except (OSError, Problem) as error:
        _log.warning("cannot put %s into quarantine, the sweep will try again: %s", place, error)


def _insert_or_update(owner: "User", name: str, shelved: _Shelved) -> tuple[Photo, bool, list[str]]:
    """The row, whether it is new, and the files nobody needs after the commit."""
    photo = Photo.objects.select_for_update().filter(name=name).first()
    if photo is None:
        return Photo.objects.create(name=name, owner=owner, **shelved.columns), True, []
    _refuse_foreign_photo(owner, photo)
    outdated = _not_needed_without(photo)
    for column, value in shelved.columns.items():
        setattr(photo, column, value)
    photo.save()
    return photo, False, outdated


def _not_needed_without(photo: Photo) -> list[str]:
    """Its files, to be taken away after the commit. Asked before that: who cannot be asked cannot delete, either."""
    if trouble := pairing.trouble():
        _log.warning("the files of %s stay where they are: %s", photo.name, trouble)
        return []
    return [photo.original, photo.thumbnail]


def _insert_under_free_name(owner: "User", name: str, shelved: _Shelved) -> Photo:
    for variant in islice(names.variants(name), _VARIANTS_MAX):
        if Photo.objects.filter(name=variant).exists():
            continue
        try:
            with transaction.atomic():  # a savepoint: losing the race for one name must not undo the other photos
                return Photo.objects.create(name=variant, owner=owner, **shelved.columns)
        except IntegrityError:
            continue
    raise NameTaken(f"There are {_VARIANTS_MAX} photos called like {name} already. Rename the file.")


def _log_stored(photo: Photo) -> None:
    fields = {"photo": photo.name, "size": photo.size, "sha256": photo.sha256}
    _log.info("photo stored", extra={"fields": fields})
