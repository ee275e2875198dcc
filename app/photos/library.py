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
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, TypeVar

from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from photos import deadline, freenames, images, names, pairing, quarantine, quota, sharing, storage
from photos.errors import BadName, EmptyBody, FileOfForm, NameTaken, NotOwner, Problem
from photos.models import FILES, Photo
from photos.storage import Incoming

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_ATTEMPTS: Final = 3  # at a name that others are taking at the same moment
# At free names: of all that want the same one at once, one gets it each time. More than a stack has threads.
_ATTEMPTS_AT_FREE_NAMES: Final = 50
_QUESTION: Final = 500  # names in one question to the database; SQLite takes 999 parameters in old builds
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
Check = Callable[["Photo | None"], None]  # raises what speaks against touching the photo as it is now


def _nothing_against(_: "Photo | None") -> None:
    """The check of those who set no condition."""


@dataclass(frozen=True)
class _PublishedFiles:
    """Files under their final names, and what a row has to say about them."""

    upload: Incoming
    made: list[Incoming]  # from it: the thumbnail and others
    columns: dict[str, str | int | bool]

    @property
    def suffix(self) -> str:
        return PurePosixPath(str(self.columns["original"])).suffix

    def keep(self) -> None:
        for file in (self.upload, *self.made):
            file.keep()

    @property
    def storage_keys(self) -> list[str]:
        return [str(self.columns[column]) for column in FILES if self.columns.get(column)]

    @property
    def is_kept(self) -> bool:
        """Otherwise no commit was begun, and who holds the files discards them."""
        return self.upload.is_kept


def stored_name(name: str) -> str:
    """What a photo is called that a client calls so; or is going to be. Photos that an older version took keep their
    names, whatever names.clean makes of those now. Raises BadName.
    """
    before = names.as_before(name)
    try:
        cleaned = names.clean(name)
    except BadName:
        if before and Photo.objects.filter(name=before).exists():
            return before
        raise
    if before and before != cleaned and Photo.objects.filter(name=before).exists():
        return before
    return cleaned


def put(
    owner: "User", name: str, upload: Incoming, check: Check = _nothing_against, *, shares_position: bool = False
) -> tuple[Photo, bool]:
    """Store `upload` as the photo called `name`, in place of the owner's photo of that name if there is one.
    Others get its position only with `shares_position`.

    Returns the photo and whether it is new. Raises NotOwner when the name is somebody else's, QuotaExceeded, and what
    `check`, images.inspect and storage raise. The caller's `with` discards the upload when anything is raised.
    """
    refuse_early(owner, name, upload.size, check)  # before the work
    pairing.announce()
    with ExitStack() as files:
        published = _publish_files(upload, files, shares_position=shares_position)
        photo, is_new, outdated = _committed(
            [published], lambda: lambda: _insert_or_update(owner, name, published, check)
        )
    for key in outdated:
        storage.retire(key)
    _log_stored(photo)
    return photo, is_new


def add(owner: "User", uploads: Sequence[tuple[str, Incoming]], *, shares_position: bool = False) -> list[Photo]:
    """Store new photos, all of them or none, each under its file's name or the next free variant of it."""
    quota.refuse_beyond(owner, sum(upload.size for _, upload in uploads))  # before the work
    pairing.announce()
    with ExitStack() as files:
        published = [
            _publish_one_of_several(number, uploads, files, shares_position=shares_position)
            for number in range(len(uploads))
        ]
        wanted = [
            names.sanitised(filename, f"photo{item.suffix}")
            for (filename, _), item in zip(uploads, published, strict=True)
        ]

        def plan() -> Callable[[], list[Photo]]:
            free = freenames.free(wanted, _taken)  # outside of the transaction, which holds up others
            return lambda: _insert(owner, free, published)

        photos = _committed(published, plan, _ATTEMPTS_AT_FREE_NAMES)
    for photo in photos:
        _log_stored(photo)
    return photos


def delete(owner: "User", name: str, check: Check = _nothing_against) -> None:
    """Take the photo away, then its files. Raises Photo.DoesNotExist, NotOwner, and what `check` raises."""
    with transaction.atomic(durable=True):
        photo = Photo.objects.select_for_update().get(name=name)
        _refuse_foreign_photo(owner, photo)
        check(photo)
        outdated = _not_needed_without(photo)
        photo.delete()
    for key in outdated:
        storage.remove(key)
    _log.info("photo deleted", extra={"fields": {"photo": photo.name}})


def share_position(owner: "User", name: str, check: Check = _nothing_against, *, is_wished: bool) -> Photo:
    """Let others have the original, with its position, or no longer. Raises as `delete` does."""
    with transaction.atomic(durable=True):
        photo = Photo.objects.select_for_update().get(name=name)
        _refuse_foreign_photo(owner, photo)
        check(photo)
        if photo.shares_position is not is_wished:
            photo.shares_position = is_wished
            photo.modified = _after(photo.modified)  # others get other bytes
            photo.save(update_fields=["shares_position", "modified"])
    return photo


def refuse_early(owner: "User", name: str, size: int, check: Check = _nothing_against) -> None:
    """Raise what `put` would, so far as it can be known before the body is read. All is asked again in the transaction,
    because it may change until then.
    """
    photo = Photo.objects.filter(name=name).first()
    if photo:
        _refuse_foreign_photo(owner, photo)
    check(photo)
    quota.refuse_beyond(owner, size - (photo.size if photo else 0))


def _refuse_foreign_photo(owner: "User", photo: Photo) -> None:
    if photo.owner_id != owner.pk:
        raise NotOwner(
            f"The photo {photo.name} belongs to another user. Nothing was stored or changed; use another name."
        )


def _publish_one_of_several(
    number: int, uploads: Sequence[tuple[str, Incoming]], files: ExitStack, *, shares_position: bool
) -> _PublishedFiles:
    """Publish one file of a form; what is wrong with it says which one it is."""
    filename, upload = uploads[number]
    try:
        return _publish_files(upload, files, shares_position=shares_position)
    except Problem as problem:
        problem.file = FileOfForm(names.sanitised(filename, "without a name"), number + 1, len(uploads))
        raise


def _publish_files(upload: Incoming, files: ExitStack, *, shares_position: bool) -> _PublishedFiles:
    """Check the upload, make its renditions and what others download, and give all files their final names."""
    if upload.size == 0:
        raise EmptyBody("The file is empty. Nothing was stored. Choose another file.")
    upload.flush()
    picture = images.inspect(upload.file, deadline.left())
    copies = [sharing.without_position(upload.file, picture.patches, files)] if picture.patches else []
    original = upload.publish(storage.ORIGINALS, picture.kind.suffix)
    made, columns = _renditions(picture, files)
    return _PublishedFiles(
        upload,
        [*made, *copies],
        {
            "examined": original,
            "shared": "".join(copy.publish(storage.SHARED, picture.kind.suffix) for copy in copies),
            "shared_sha256": "".join(copy.sha256 for copy in copies),
            "shares_position": shares_position,
            "size": upload.size,
            "sha256": upload.sha256,
            "content_type": picture.kind.content_type,
            "width": picture.width,
            "height": picture.height,
            "original": original,
            **columns,
        },
    )


def _renditions(
    picture: images.Picture, files: ExitStack, thumbnail: str = ""
) -> tuple[list[Incoming], dict[str, str]]:
    """Files under their final names, and the columns that name them. With `thumbnail`, there is one already."""
    columns = {"thumbnail": thumbnail, "thumbnail_2x": "", "preview": ""}
    made = []
    for column, key in columns.items():
        if not key and (data := getattr(picture, column)):
            file = files.enter_context(Incoming())
            file.write(data)
            columns[column] = file.publish(FILES[column], images.THUMBNAIL_SUFFIX, columns["thumbnail"])
            made.append(file)
    return made, columns


def add_renditions(photo: Photo) -> bool:
    """Make those that the photo lacks; whether its row is still there to name them. Raises what `put` raises."""
    with ExitStack() as files:
        file = files.enter_context((storage.root() / photo.original).open("rb"))
        picture = images.inspect(file)
        pairing.announce()
        made, columns = _renditions(picture, files, photo.thumbnail)
        with transaction.atomic(durable=True):
            is_there = Photo.objects.filter(pk=photo.pk, thumbnail=photo.thumbnail).update(**columns)
            for rendition in made if is_there else ():
                rendition.keep()
    return bool(is_there)


def _committed(
    published: Sequence[_PublishedFiles], plan: Callable[[], Callable[[], _Result]], attempts: int = _ATTEMPTS
) -> _Result:
    """Run what `plan` returns in one transaction; plan and run again if another request took a name in between.

    From just before the commit the files are nobody's to discard: a commit can succeed and still raise (a lost
    connection, a worker told to exit). When the database says that it did fail, the files go into quarantine, because
    another one may be answering now; when nobody can tell, the sweep finds out later.
    """
    for _ in range(attempts):
        try:
            write_rows = plan()
            with transaction.atomic(durable=True):
                result = write_rows()
                deadline.check()  # nobody waits for the answer any more: nothing is stored
                for item in published:
                    item.keep()
        except IntegrityError:
            continue
        except DatabaseError:
            _put_aside_unless_rows(published)
            raise
        return result
    _put_aside_unless_rows(published)
    raise NameTaken("Other uploads are taking this name right now. Nothing was stored. Try again, or use another name.")


def _put_aside_unless_rows(published: Iterable[_PublishedFiles]) -> None:
    kept = [item for item in published if item.is_kept]
    try:
        if Photo.objects.filter(original__in=[item.columns["original"] for item in kept]).exists() or pairing.trouble():
            return
    except DatabaseError:
        return
    for item in kept:
        for key in item.storage_keys:
            _put_aside(key)


def _put_aside(key: str) -> None:
    try:
        quarantine.put(key)
    except (OSError, Problem) as error:
        _log.warning("cannot move %s into quarantine, the sweep will try again: %s", key, error)


def _insert_or_update(
    owner: "User", name: str, published: _PublishedFiles, check: Check
) -> tuple[Photo, bool, list[str]]:
    """The row, whether it is new, and the files nobody needs after the commit."""
    quota.hold(owner)
    photo = Photo.objects.select_for_update().filter(name=name).first()
    if photo:
        _refuse_foreign_photo(owner, photo)
    check(photo)
    quota.refuse_beyond(owner, published.upload.size - (photo.size if photo else 0))
    if photo is None:
        return Photo.objects.create(name=name, owner=owner, **published.columns), True, []
    outdated = _not_needed_without(photo)
    for column, value in published.columns.items():
        setattr(photo, column, value)
    photo.modified = _after(photo.modified)
    photo.save()
    return photo, False, outdated


def _after(modified: datetime) -> datetime:
    """Now, but in a later second than the content before, also when a clock was set back: in HTTP dates have seconds,
    and two contents with one date could not be told apart (RFC 9110, section 8.8.2.2).
    """
    return max(timezone.now(), modified.replace(microsecond=0) + timedelta(seconds=1))


def _not_needed_without(photo: Photo) -> list[str]:
    """Its files, to be taken away after the commit. Asked before that: who cannot be asked cannot delete, either."""
    if trouble := pairing.trouble():
        _log.warning("the files of %s stay where they are: %s", photo.name, trouble)
        return []
    return photo.storage_keys


def _taken(wanted: Collection[str]) -> set[str]:
    found: set[str] = set()
    left = list(wanted)
    while left:
        batch, left = left[:_QUESTION], left[_QUESTION:]
        found.update(Photo.objects.filter(name__in=batch).order_by().values_list("name", flat=True))
    return found


def _insert(owner: "User", free: Sequence[str], published: Sequence[_PublishedFiles]) -> list[Photo]:
    quota.hold(owner)
    quota.refuse_beyond(owner, sum(item.upload.size for item in published))
    rows = [Photo(name=name, owner=owner, **item.columns) for name, item in zip(free, published, strict=True)]
    # In one order for all, so that two forms with the same names wait for each other, and not in a circle.
    Photo.objects.bulk_create(sorted(rows, key=lambda photo: photo.name))
    return rows


def _log_stored(photo: Photo) -> None:
    fields = {"photo": photo.name, "size": photo.size, "sha256": photo.sha256}
    _log.info("photo stored", extra={"fields": fields})
