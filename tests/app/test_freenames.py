"""Free names for a form: correct, and found in few queries however many photos have similar names."""

from collections.abc import Collection

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from photos import freenames, names
from photos.models import Photo
from tests.app.pictures import picture
from tests.app.test_forms import form, part, post
from tests.app.test_library import run_concurrently

PNG = picture(8, 8, "PNG")


class UsedNames:
    """A set of used names that counts its queries."""

    def __init__(self, used: Collection[str]) -> None:
        self.used = set(used)
        self.queries = 0

    def __call__(self, wanted: Collection[str]) -> set[str]:
        self.queries += 1
        return self.used & set(wanted)


def row(name: str, count: int) -> list[str]:
    return [names.variant(name, number) for number in range(1, count + 1)]


LONG = "x" * names.MAX_LENGTH


@pytest.mark.parametrize(
    ("used", "wanted", "expected"),
    [
        ([], ["a.jpg"], ["a.jpg"]),
        ([], ["a.jpg"] * 3, ["a.jpg", "a-2.jpg", "a-3.jpg"]),
        ([], ["a.jpg", "A.jpg"], ["a.jpg", "A.jpg"]),
        ([], ["a-2.jpg", "a.jpg", "a.jpg"], ["a-2.jpg", "a.jpg", "a-3.jpg"]),
        ([], ["a.jpg", "a.jpg", "a-2.jpg"], ["a.jpg", "a-2.jpg", "a-2-2.jpg"]),
        (["a.jpg"], ["a.jpg", "b.jpg"], ["a-2.jpg", "b.jpg"]),
        (["A.jpg", "a%.jpg", "a_2.jpg"], ["a.jpg"], ["a.jpg"]),
        (row("a.jpg", 2000), ["a.jpg"], ["a-2001.jpg"]),
        (row("a.jpg", 2000), ["a.jpg"] * 2, ["a-2001.jpg", "a-2002.jpg"]),
        (row("a.jpg", 999_999), ["a.jpg"], ["a-1000000.jpg"]),
        (row(LONG, 2000), [LONG], ["x" * (names.MAX_LENGTH - 5) + "-2001"]),
    ],
)
def test_the_next_free_names_are_found_in_few_queries(used: list[str], wanted: list[str], expected: list[str]) -> None:
    used_names = UsedNames(used)
    assert freenames.free(wanted, used_names) == expected
    assert used_names.queries <= 7


@given(st.sets(st.integers(1, 300)), st.lists(st.sampled_from(["a.jpg", "a-2.jpg", "b"]), max_size=30))
def test_free_names_are_unused_and_distinct(taken: set[int], wanted: list[str]) -> None:
    used = {names.variant("a.jpg", number) for number in taken}
    found = freenames.free(wanted, UsedNames(used))
    assert len(set(found)) == len(wanted)
    assert not used & set(found)


def store(owner: User, stored: list[str]) -> None:
    Photo.objects.bulk_create(
        Photo(name=name, owner=owner, size=1, width=1, height=1, original=f"o{number}", thumbnail=f"t{number}")
        for number, name in enumerate(stored)
    )


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("name", ["image.jpg", "Größe 100%_.jpg", LONG])
def test_an_upload_beside_two_thousand_photos_of_its_name_takes_few_queries(
    api: Client, ada: User, count: int, name: str
) -> None:
    """Few queries, and only writes inside the transaction, because other uploads wait for its end."""
    store(ada, row(name, 2000))
    assert post(api, form(part(b'name="file"; filename="first.png"', PNG))).status_code == 201  # what is done once
    body = form(*[part(b'name="file"; filename="%s"' % name.encode(), PNG)] * count)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        response = post(api, body)
    assert response.status_code == 201, response.json()
    expected = [names.variant(name, number) for number in range(2001, 2001 + count)]
    assert [photo["name"] for photo in response.json()] == expected
    statements = [query["sql"] for query in queries]
    begin, end = (next(n for n, sql in enumerate(statements) if sql.startswith(word)) for word in ("BEGIN", "COMMIT"))
    assert {sql.split()[0] for sql in statements[begin + 1 : end]} == {"INSERT"}
    assert len(statements) < 20


def test_a_hundred_used_names_take_few_queries(api: Client, ada: User) -> None:
    wanted = [f"{number}.jpg" for number in range(100)]
    store(ada, wanted)
    with CaptureQueriesContext(connection) as queries:
        response = post(api, form(*(part(f'name="file"; filename="{name}"'.encode(), PNG) for name in wanted)))
    assert [photo["name"] for photo in response.json()] == [f"{number}-2.jpg" for number in range(100)]
    assert len(queries) < 30


def test_concurrent_forms_with_the_same_names_get_distinct_names(api: Client, ada: User) -> None:
    store(ada, row("image.jpg", 1500))
    body = form(*(part(f'name="file"; filename="{name}"'.encode(), PNG) for name in ["image.jpg"] * 10 + ["b.jpg"]))
    backwards = form(
        *(part(f'name="file"; filename="{name}"'.encode(), PNG) for name in ["b.jpg"] + ["image.jpg"] * 10)
    )
    assert run_concurrently(
        *[lambda body=body: str(post(api, body).status_code) for body in [body, backwards] * 4]
    ) == {"201": 8}
    assert Photo.objects.count() == 1500 + 8 * 11
    assert set(Photo.objects.values_list("name", flat=True)) == {*row("image.jpg", 1580), *row("b.jpg", 8)}
