from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from uploadstack import env


def check(read: Callable[[dict[str, str]], Any], value: str | None, expected: object) -> None:
    """`expected` is the value, or (as a string in a list) a part of the error."""
    environ = {} if value is None else {"NAME": value}
    if not (isinstance(expected, list) and expected and expected[0] == "refused"):
        assert read(environ) == expected
        return
    with pytest.raises(ImproperlyConfigured) as refusal:
        read(environ)
    assert "NAME" in str(refusal.value)
    for part in expected[1:]:
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 100 * 1024**2),
        ("", 100 * 1024**2),
        ("1", 1),
        ("10k", 10 * 1024),
        ("2M", 2 * 1024**2),
        ("1g", 1024**3),
        (" 5m ", 5 * 1024**2),
        ("0", ["refused", "digits"]),
        ("10mb", ["refused", "k, m or g"]),
        ("1.5g", ["refused"]),
        ("-1", ["refused"]),
        ("1" * 5000, ["refused"]),
    ],
)
def test_sizes_have_the_format_of_nginx(value: str | None, expected: object) -> None:
    check(lambda environ: env.size("NAME", "100m", environ), value, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        ("", True),
        ("True", True),
        ("0", False),
        ("off", False),
        ("FALSE", False),
        ("maybe", ["refused", "true"]),
    ],
)
def test_flags_are_parsed_from_words(value: str | None, expected: object) -> None:
    check(lambda environ: env.flag("NAME", default=True, environ=environ), value, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ["refused", "not set", "make env"]),
        ("  ", ["refused", "not set"]),
        ("change-me", ["refused", "placeholder", "make env"]),
        ("please-CHANGE-ME-before-you-deploy-this-anywhere", ["refused", "placeholder"]),
        ("!!!SET SECRET_KEY!!!", ["refused", "placeholder"]),
        ("django-insecure-0123456789abcdef0123456789abcdef", ["refused", "placeholder"]),
        ("short", ["refused", "32 characters"]),
        ("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
    ],
)
def test_secrets_have_no_default(value: str | None, expected: object) -> None:
    check(lambda environ: env.secret("NAME", environ), value, expected)


@pytest.mark.parametrize(
    ("value", "expected"), [(None, 7), ("0", 0), ("60", 60), ("1m", ["refused", "seconds"]), ("-1", ["refused"])]
)
def test_seconds_are_whole_numbers_from_zero(value: str | None, expected: object) -> None:
    check(lambda environ: env.seconds("NAME", 7, environ), value, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, 7), ("1", 1), ("60", 60), ("0", ["refused", "at least 1"]), ("1m", ["refused"]), ("-1", ["refused"])],
)
def test_numbers_are_whole_numbers_from_one(value: str | None, expected: object) -> None:
    check(lambda environ: env.number("NAME", 7, environ), value, expected)


def test_lists_have_no_empty_items() -> None:
    check(lambda environ: env.items("NAME", "a,b", environ), " x, ,y,", ["x", "y"])


@pytest.mark.parametrize(
    ("project", "name"),
    [(None, "sessionid"), ("", "sessionid"), ("uploadstack", "sessionid"), ("my-shop", "sessionid_my-shop")],
)
def test_cookies_of_two_stacks_on_one_host_have_different_names(project: str | None, name: str) -> None:
    """The cookies of the default project keep their names, so that an update logs no user out."""
    assert env.cookie("sessionid", {} if project is None else {"COMPOSE_PROJECT_NAME": project}) == name
