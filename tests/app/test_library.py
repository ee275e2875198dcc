import threading
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connections

from photos import library, storage
from photos.errors import EmptyBody, ImageTruncated, NotAnImage, NotOwner
from photos.models import Photo
from tests.app import state
from tests.app.pictures import picture


def put(owner: User, name: str, data: bytes) -> tuple[Photo, bool]:
    with storage.Incoming() as incoming:
        incoming.write(data)
        return library.put(owner, name, incoming)


def test_a_put_of_an_existing_name_replaces_the_photo(ada: User, media: Path) -> None:
    first, is_new = put(ada, "a.jpg", picture(20, 10))
    assert is_new
    second, is_new = put(ada, "a.jpg", picture(30, 10, "PNG"))
    assert not is_new
    assert (second.pk, second.created) == (first.pk, first.created)
    assert (second.width, second.content_type) == (30, "image/png")
    assert second.original != first.original
    assert second.thumbnail != first.thumbnail
    state.check(media, {"a.jpg"})


def test_a_photo_of_another_user_cannot_be_replaced_or_deleted(ada: User, bob: User, media: Path) -> None:
    put(ada, "a.jpg", picture())
    with pytest.raises(NotOwner):
        put(bob, "a.jpg", picture(5, 5))
    with pytest.raises(NotOwner):
        library.delete(bob, "a.jpg")
    state.check(media, {"a.jpg"})
    assert Photo.objects.get().owner == ada


@pytest.mark.parametrize(
    ("data", "error"), [(b"", EmptyBody), (b"no picture", NotAnImage), (picture()[:500], ImageTruncated)]
)
def test_a_refused_upload_leaves_no_file_and_no_row(
    ada: User, media: Path, data: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        put(ada, "a.jpg", data)
    state.check(media, set())


def test_files_with_the_same_name_get_free_names(ada: User, media: Path) -> None:
    put(ada, "a.jpg", picture())
    with storage.Incoming() as one, storage.Incoming() as two, storage.Incoming() as three:
        for incoming in (one, two, three):
            incoming.write(picture(8, 9))
        photos = library.add(ada, [("a.jpg", one), ("a.jpg", two), ("../b.jpg", three)])
    assert [photo.name for photo in photos] == ["a-2.jpg", "a-3.jpg", "b.jpg"]
    state.check(media, {"a.jpg", "a-2.jpg", "a-3.jpg", "b.jpg"})


def test_one_bad_file_of_several_stores_none(ada: User, media: Path) -> None:
    with storage.Incoming() as good, storage.Incoming() as bad:
        good.write(picture())
        bad.write(b"no picture")
        with pytest.raises(NotAnImage):
            library.add(ada, [("a.jpg", good), ("b.jpg", bad)])
    state.check(media, set())


def run_concurrently(*actions: Callable[[], str]) -> Counter[str]:
    """Run the actions in threads that start together; count what they return."""
    start = threading.Barrier(len(actions))
    results: list[str] = []

    def run(action: Callable[[], str]) -> None:
        try:
            start.wait(60)
            results.append(action())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(results)


@pytest.mark.parametrize("attempt", range(3))
def test_concurrent_puts_of_one_name_create_one_photo(ada: User, media: Path, attempt: int) -> None:
    def action(size: int) -> str:
        return "new" if put(ada, "a.jpg", picture(size, size))[1] else "replaced"

    results = run_concurrently(*(lambda size=size: action(size) for size in range(20, 28)))
    assert results == {"new": 1, "replaced": 7}
    state.check(media, {"a.jpg"})


def test_concurrent_puts_of_one_name_by_two_users_store_one(ada: User, bob: User, media: Path) -> None:
    def action(owner: User) -> str:
        try:
            put(owner, "a.jpg", picture())
        except NotOwner:
            return "refused"
        return "stored"

    assert run_concurrently(lambda: action(ada), lambda: action(bob)) == {"stored": 1, "refused": 1}
    state.check(media, {"a.jpg"})


def test_concurrent_uploads_of_one_file_name_get_distinct_names(ada: User, media: Path) -> None:
    def action() -> str:
        with storage.Incoming() as incoming:
            incoming.write(picture())
            return library.add(ada, [("a.jpg", incoming)])[0].name

    assert set(run_concurrently(*[action] * 6)) == {"a.jpg", *(f"a-{number}.jpg" for number in range(2, 7))}
    state.check(media)


def test_concurrent_put_and_delete_leave_a_consistent_state(ada: User, media: Path) -> None:
    def remove() -> str:
        try:
            library.delete(ada, "a.jpg")
        except Photo.DoesNotExist:
            return "was not there"
        return "deleted"

    for _ in range(3):
        put(ada, "a.jpg", picture())
        run_concurrently(lambda: put(ada, "a.jpg", picture(9, 9))[0].name, remove, remove)
        state.check(media)


def test_the_original_is_kept_byte_for_byte(ada: User, media: Path) -> None:
    data = picture() + b"and what a camera likes to put behind it"
    photo, _ = put(ada, "a.jpg", data)
    assert BytesIO(data).getvalue() == (media / photo.original).read_bytes()
