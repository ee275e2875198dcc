"""A field section: trailers, and the bounded caches for repeated sections."""

import pytest

from wsgiserver.errors import Refusal
from wsgiserver.http1.fields import (
    _SEEN_HASHES,
    MAX_CACHED_DERIVED,
    MAX_CACHED_NAME,
    MAX_CACHED_NAMES,
    MAX_CACHED_SECTIONS,
    MAX_SEEN_SECTIONS,
    SECTIONS,
    Fields,
    NameCache,
    parse_trailers,
)
from wsgiserver.http1.head import Head, parse_head

H = "Host: a\r\n"


def trailers(section: str) -> dict[str, str] | str:
    try:
        return parse_trailers(section)
    except Refusal as refusal:
        return refusal.name


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("", {}),
        ("X: y\r\n", {"x": "y"}),
        ("A: 1\r\nB: 2\r\nA: 3\r\n", {"a": "1, 3", "b": "2"}),
        ("X : y\r\n", "trailer-invalid"),
        ("X: y\n", "trailer-invalid"),
        ("X: y", "trailer-invalid"),
        ("X: a\r\n b\r\n", "trailer-invalid"),
        (": a\r\n", "trailer-invalid"),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "trailer-invalid"),
        ("Authorization: a\r\nAuthorization: a\r\n", "field-repeated"),
        ("X: y\r\n" * 100, {"x": ", ".join("y" * 100)}),
        ("X: y\r\n" * 101, "headers-too-large"),
        ("X: y\r\n" * 101 + "Host: a\r\n", "headers-too-large"),  # the first error decides
        ("Host: a\r\n" + "X: y\r\n" * 101, "trailer-invalid"),
        *((f"X: y\r\n{name}: 1\r\n", "trailer-invalid") for name in ("Content-Length", "TRANSFER-ENCODING", "Host")),
        *((f"{name}: 1\r\n", "trailer-invalid") for name in ("connection", "Trailer", "Content-Type", "Upgrade")),
    ],
)
def test_trailers_are_parsed_or_refused_by_name(section: str, expected: dict[str, str] | str) -> None:
    assert trailers(section) == expected


def test_the_cache_of_field_sections_is_bounded() -> None:
    for n in range(3000):
        assert parse_head(f"GET / HTTP/1.1\r\n{H}X-{n}: y\r\n\r\n".encode()) == Head(
            "GET", "/", 1, Fields({"host": "a", f"x-{n}": "y"})
        )
        assert parse_head(f"GET / HTTP/1.1\r\nHost: h{n}\r\n\r\n".encode()) == Head(
            "GET", "/", 1, Fields({"host": f"h{n}"})
        )
    assert len(SECTIONS) <= MAX_CACHED_SECTIONS


def test_the_cache_of_field_names_is_bounded() -> None:
    derived: list[str] = []

    def derive(name: str) -> str:
        derived.append(name)
        return name.upper()

    names = NameCache(derive, {"known": "k"})
    assert [names["a"], names["a"], names["known"]] == ["A", "A", "k"]
    assert derived == ["a"]
    for n in range(3000):
        assert names[f"x-{n}"] == f"X-{n}"
    assert len(names) == MAX_CACHED_NAMES
    names = NameCache(derive)
    assert names["y" * (MAX_CACHED_NAME + 1)] == "Y" * (MAX_CACHED_NAME + 1)
    assert not names, "long names are not cached"


def test_only_a_field_section_that_is_repeated_is_cached() -> None:
    """A section that differs each time, as with a request id or a secret, is not cached."""
    SECTIONS.clear()
    _SEEN_HASHES.clear()
    first, second, third = (parse_head(f"GET /{n} HTTP/1.1\r\n{H}Cookie: secret\r\n\r\n".encode()) for n in range(3))
    assert first.fields == second.fields == third.fields
    assert first.fields is not second.fields
    assert second.fields is third.fields
    for n in range(600):
        for _ in range(1 + n % 2):
            assert parse_head(f"GET / HTTP/1.1\r\n{H}X: {n}\r\n\r\n".encode()).fields["x"] == str(n)
    assert len(SECTIONS) <= MAX_CACHED_SECTIONS
    assert not any(fields["x"] in {"0", "100", "598"} for fields in SECTIONS.values())
    for n in range(5000):
        parse_head(f"GET / HTTP/1.1\r\n{H}Y: {n}\r\n\r\n".encode())
    assert len(_SEEN_HASHES) <= MAX_SEEN_SECTIONS


def test_a_long_field_section_is_not_cached() -> None:
    SECTIONS.clear()
    long = "x" * 2000
    for _ in range(3):
        assert parse_head(f"GET / HTTP/1.1\r\nHost: {long}\r\n{long}: y\r\n\r\n".encode()) == Head(
            "GET", "/", 1, Fields({"host": long, long: "y"})
        )
    assert not any(len(section) > 100 for section in SECTIONS)


def test_a_repeated_field_section_is_parsed_once_unless_it_is_large() -> None:
    for section, again in ((H, True), ("Host: b\r\nCookie: x\r\n", True), (f"Host: b\r\nX: {'x' * 3000}\r\n", False)):
        _, second, third = (parse_head(f"GET /{n} HTTP/1.1\r\n{section}\r\n".encode()) for n in range(3))
        assert second.fields == third.fields
        assert (second.fields is third.fields) is again
        assert (second.target, third.target) == ("/1", "/2")


def test_an_absolute_target_does_not_change_the_cached_fields() -> None:
    for _ in range(3):
        assert parse_head(f"GET http://b/ HTTP/1.1\r\n{H}\r\n".encode()).fields["host"] == "b"
        assert parse_head(f"GET / HTTP/1.1\r\n{H}\r\n".encode()).fields["host"] == "a"


def test_the_cache_of_values_derived_from_fields_is_bounded() -> None:
    """The keys are listeners with different trusted proxies, and servers started and stopped in one process."""
    fields = Fields()
    fields.keep()
    for key in range(1000):
        fields.remember(key, {"KEY": str(key)})
        assert fields.derived is not None
        assert fields.derived[key] == {"KEY": str(key)}
        assert len(fields.derived) <= MAX_CACHED_DERIVED
