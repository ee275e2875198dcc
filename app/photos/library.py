"""Photos in and out: the order in which file and row come and go, so that a crash at any moment does no harm.

    in:   files written, synced and renamed  ->  row committed  ->  201
    out:  row deleted, committed             ->  files removed  ->  204

So a row always has its files. A crash can only leave a file without a row, which sweep.py removes. Replacing does both:
it publishes new files, lets the row name them, and then removes the old files; clients that know the old names can
still load them for two minutes (storage.retire). The content of a file never changes while a row names it.

Before this database may decide that a file is removed, it must show that it belongs to the media folder (pairing.py).
Otherwise the file stays where it is.

Knows the database, storage.py and images.py, but no HTTP. Raises Problems, and OSError or DatabaseError if the machine
is broken.
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

_ATTEMPTS: Final = 3  # at a name that others take at the same time
# At free names: of all requests for one name, one succeeds each time. More attempts than a stack has threads.
_ATTEMPTS_AT_FREE_NAMES: Final = 50
_QUESTION: Final = 500  # names in one query; old builds of SQLite accept 999 parameters
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
Check = Callable[["Photo | None"], None]  # raises a Problem if the photo must not be changed now


def _nothing_against(_: "Photo | None") -> None:
    """The check of a request without conditions."""


@dataclass(frozen=True)
class _PublishedFiles:
    """Files under their final names, and the columns of the row that names them."""

    upload: Incoming
    made: list[Incoming]  # created from it: the thumbnail and others
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
        """If not, no commit was begun, and the owner of the files discards them."""
        return self.upload.is_kept


def stored_name(name: str) -> str:
    """Return the name under which a photo is stored, or would be stored, for the name that a client sent. Photos stored
    by an older version keep their names, even if names.clean would change them now. Raises BadName.
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
    """Store `upload` as the photo called `name`, and replace the owner's photo of that name if there is one.
    Others get its position only with `shares_position`.

    Returns the photo and whether it is new. Raises NotOwner if the name belongs to another user, QuotaExceeded, and
    what `check`, images.inspect and storage raise. The caller's `with` discards the upload if anything is raised.
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
    """Store new photos, all of them or none, each under its file name or the next free variant of it."""
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
            free = freenames.free(wanted, _taken)  # outside of the transaction, which blocks others
            return lambda: _insert(owner, free, published)

        photos = _committed(published, plan, _ATTEMPTS_AT_FREE_NAMES)
    for photo in photos:
        _log_stored(photo)
    return photos


def delete(owner: "User", name: str, check: Check = _nothing_against) -> None:
    """Delete the photo, then its files. Raises Photo.DoesNotExist, NotOwner, and what `check` raises."""
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
    """Share the original with its position with others, or stop sharing it. Raises what `delete` raises."""
    with transaction.atomic(durable=True):
        photo = Photo.objects.select_for_update().get(name=name)
        _refuse_foreign_photo(owner, photo)
        check(photo)
        if photo.shares_position is not is_wished:
            photo.shares_position = is_wished
            photo.modified = _after(photo.modified)  # because others get other bytes now
            photo.save(update_fields=["shares_position", "modified"])
    return photo


def refuse_early(owner: "User", name: str, size: int, check: Check = _nothing_against) -> None:
    """Raise what `put` would raise, as far as it is known before the body is read. The transaction repeats all checks,
    because the answers may change until then.
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
    """Publish one file of a form; a Problem names the file."""
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
    """Publish renditions; return the files and the columns that name them. `thumbnail` names an existing one."""
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
    """Create the missing renditions; return whether the row still exists to name them. Raises what `put` raises."""
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

    Immediately before the commit, the files are marked to be kept: a commit can succeed and still raise (a lost
    connection, a worker that is stopped). If the database reports that the rows do not exist, the files are put into
    quarantine and not deleted, because another database may be answering now. If the database cannot be queried, the
    sweep decides later.
    """
    for _ in range(attempts):
        try:
            write_rows = plan()
            with transaction.atomic(durable=True):
                result = write_rows()
                deadline.check()  # raises if the client no longer waits for the response
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
        has_rows = Photo.objects.filter(original__in=[item.columns["original"] for item in kept]).exists()
        if has_rows or pairing.mismatch():
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
    """Return the row, whether it is new, and the files that are not needed after the commit."""
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
    """Return the time now, but in a later second than that of the previous content, even if the clock was set back.
    HTTP dates have a resolution of seconds: two contents with one date look the same (RFC 9110, section 8.8.2.2).
    """
    return max(timezone.now(), modified.replace(microsecond=0) + timedelta(seconds=1))


def _not_needed_without(photo: Photo) -> list[str]:
    """Return the files to remove after the commit. Called before it: if this check fails, the photo is not deleted."""
    if mismatch := pairing.mismatch():
        _log.warning("the files of %s stay where they are: %s", photo.name, mismatch)
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
    # All requests insert in the same order, so that two forms with the same names cannot deadlock.
    Photo.objects.bulk_create(sorted(rows, key=lambda photo: photo.name))
    return rows


def _log_stored(photo: Photo) -> None:
    fields = {"photo": photo.name, "size_bytes": photo.size, "sha256": photo.sha256}
    _log.info("photo stored", extra={"fields": fields})
