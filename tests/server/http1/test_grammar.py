"""The patterns: none depends on a bug of some interpreters, and no input makes one slow."""

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import wsgiserver
from wsgiserver.http1 import chunked, fields, head
from wsgiserver.http1.grammar import CHUNK_EXTENSION, HOST, QUOTED_STRING

PARSER = import_module("re._parser")
SIMPLE = {"LITERAL", "NOT_LITERAL", "ANY", "IN"}  # one character: a repetition without a group
ROOT = Path(__file__).parents[3]
NAMES = [module.name for module in pkgutil.walk_packages(wsgiserver.__path__, "wsgiserver.")]


def patterns(name: str) -> Iterator[re.Pattern[Any]]:
    if not name.endswith("__main__"):
        yield from (value for value in vars(import_module(name)).values() if isinstance(value, re.Pattern))


def possessive_groups(parsed: Any) -> Iterator[str]:
    """Walk a parsed pattern: operators and their arguments, which may be patterns."""
    if isinstance(parsed, (list, tuple)) or type(parsed).__name__ == "SubPattern":
        for each in parsed:
            yield from possessive_groups(each)
        if isinstance(parsed, tuple) and parsed and str(parsed[0]) == "ATOMIC_GROUP":
            yield str(parsed)
        if isinstance(parsed, tuple) and parsed and str(parsed[0]) == "POSSESSIVE_REPEAT":
            repeated = parsed[1][2]
            if len(repeated) != 1 or str(repeated[0][0]) not in SIMPLE:
                yield str(repeated)


@pytest.mark.parametrize("name", NAMES)
def test_no_group_is_possessive(name: str) -> None:
    """CPython 3.11.0 to 3.11.4 report false matches: gh-106052, gh-100061."""
    for pattern in patterns(name):
        assert list(possessive_groups(PARSER.parse(pattern.pattern, pattern.flags & ~re.UNICODE))) == [], pattern


@pytest.mark.parametrize(
    "pattern", ["(?:ab)++", "(?:a|bc)*+", "(a)?+", "(?>a)", "x(?:y(?:zz){2}+)", "(?:[a]++:){1,2}+"]
)
def test_the_check_finds_possessive_groups(pattern: str) -> None:
    assert list(possessive_groups(PARSER.parse(pattern)))


@pytest.mark.parametrize("pattern", ["a++", "[ab]*+", r"\d{1,2}+", ".?+", "(?:[a]++:)*", "([a]*+)"])
def test_the_check_accepts_possessive_characters(pattern: str) -> None:
    assert not list(possessive_groups(PARSER.parse(pattern)))


@pytest.mark.parametrize("folder", ["wsgiserver", "uploadstack", "app", "scripts", "bench"])
def test_no_source_file_has_a_possessive_group(folder: str) -> None:
    paths = [path for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts]  # of `make bench`
    sources = {path: path.read_text().replace("'()*+,;", "") for path in paths}  # these characters in a class
    assert [path.name for path, text in sources.items() if re.search(r"\)[*+?]\+|\(\?>", text)] == []


BIG = 1 << 16  # characters
# Inputs with many parts and no end. A pattern that backtracks takes quadratic or exponential time.
ENDLESS: dict[str, tuple[re.Pattern[Any], Any]] = {
    "fields": (fields._SECTION, "a:b\r\n" * (BIG // 5)),  # noqa: SLF001
    "fields, with NUL": (fields._SECTION, "a:b\r\n" * (BIG // 5) + "a:\0\r\n\r\n"),  # noqa: SLF001
    "one name": (fields._SECTION, "a" * BIG),  # noqa: SLF001
    "fields begun": (fields._FIELDS_BEGUN, b"a:b\r\n" * (BIG // 5) + b"\0"),  # noqa: SLF001
    "a value begun": (fields._VALUE_BEGUN, b"a" * BIG + b"\r\n" + b"a:b\r\n" * (BIG // 5) + b"\0"),  # noqa: SLF001
    "a line begun": (head._LINE_BEGUN, b"G" * 128 + b" " + b"/" * BIG + b"\0"),  # noqa: SLF001
    "a host": (re.compile(HOST), "a%41" * (BIG // 4) + "%"),
    "a host, with a port": (re.compile(HOST), "a%41" * (BIG // 4) + ":123456"),
    "an absolute target": (head._ABSOLUTE, "http://" + "a/?" * (BIG // 3) + "\n"),  # noqa: SLF001
    "extensions": (chunked._SIZE_LINE, b"1" + b";a=b" * (BIG // 4)),  # noqa: SLF001
    "extensions in quotes": (chunked._SIZE_LINE, b"1" + b';a="b\\"c"' * (BIG // 10)),  # noqa: SLF001
    "one extension": (chunked._SIZE_LINE, b'1;a="' + b"b\\c" * (BIG // 3)),  # noqa: SLF001
    "extensions begun": (chunked._SIZE_LINE_BEGUN, b"1" + b' ; a = "b\\"c"' * (BIG // 14) + b"\0"),  # noqa: SLF001
    "space": (re.compile(CHUNK_EXTENSION), " \t" * (BIG // 2) + ";" + " \t" * (BIG // 2)),
    "a string": (re.compile(QUOTED_STRING), '"' + 'a\\"' * (BIG // 3)),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_no_pattern_backtracks_catastrophically(name: str) -> None:
    """A pattern that backtracks would exceed the time limit of a test."""
    pattern, text = ENDLESS[name]
    assert pattern.fullmatch(text) is None
    assert pattern.fullmatch(text * 10) is None
