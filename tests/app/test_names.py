import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photos import names
from photos.errors import BadName


def is_clean(name: str) -> bool:
    try:
        names.clean(name)
    except BadName:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [
        ("cat.jpg", True),
        ("Катя и море.jpg", True),
        ("x" * names.MAX_LENGTH, True),
        ("...", True),
        ("100% sure?#&.png", True),
        ("", False),
        (".", False),
        ("..", False),
        ("a/b", False),
        ("a\\b", False),
        ("a\0b", False),
        ("a\nb", False),
        (" a", False),
        ("a\u202egpj", False),  # reverses the text, so that exe.jpg reads gpj.exe
        ("\ud800", False),
        ("x" * (names.MAX_LENGTH + 1), False),
    ],
)
def test_a_name_is_accepted_if_it_is_clean(name: str, is_allowed: bool) -> None:
    assert is_clean(name) is is_allowed


def test_composed_and_decomposed_letters_are_the_same_name() -> None:
    assert names.clean(unicodedata.normalize("NFD", "né.jpg")) == unicodedata.normalize("NFC", "né.jpg")


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=8))
def test_the_pattern_of_the_schema_matches_clean_names(name: str) -> None:
    if name == unicodedata.normalize("NFC", name):
        assert bool(re.match(names.PATTERN, name)) is is_clean(name) or not name.isprintable()


@given(st.text())
def test_any_file_name_is_sanitised_to_a_valid_name(filename: str) -> None:
    assert is_clean(names.sanitised(filename))


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("cat.jpg", "cat.jpg"),
        ("C:\\pictures\\cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a\nb.jpg", "a_b.jpg"),
        ("", "photo"),
        ("..", "photo"),
        ("x" * 200 + ".jpeg", "x" * (names.MAX_LENGTH - 5) + ".jpeg"),
    ],
)
def test_a_file_name_is_sanitised_readably(filename: str, name: str) -> None:
    assert names.sanitised(filename) == name


@pytest.mark.parametrize(
    ("name", "first_three"),
    [
        ("cat.jpg", ["cat.jpg", "cat-2.jpg", "cat-3.jpg"]),
        ("cat", ["cat", "cat-2", "cat-3"]),
        ("x" * names.MAX_LENGTH, ["x" * names.MAX_LENGTH, "x" * (names.MAX_LENGTH - 2) + "-2"]),
    ],
)
def test_the_numbered_variants_of_a_name_keep_its_extension(name: str, first_three: list[str]) -> None:
    assert [names.variant(name, number) for number in (1, 2, 3)][: len(first_three)] == first_three
