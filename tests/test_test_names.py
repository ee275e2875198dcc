"""The names of the tests: each states the expected behaviour, so that it is clear on its own in the log of a CI run.

A name that continues or refers to the previous name is unclear in a log.
"""

import ast
import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
LONGEST_NAME = 90  # characters
# A name with one of these at its beginning, or at its end, needs the test before it to be understood.
FIRST_WORDS = [
    "nor",
    "neither",
    "either",
    "and",
    "or",
    "but",
    "so",
    "it",
    "its",
    "they",
    "this",
    "that",
    "these",
    "those",
]
FIRST_WORDS += ["any_other", "no_other", "the_same"]
LAST_WORDS = ["too", "either", "as_well", "so", "anew"]
POSSESSIVE = "_s_"  # "nginx's log" without its apostrophe
DEPENDENT = re.compile(f"test_(?:{'|'.join(FIRST_WORDS)})_|.*_(?:{'|'.join(LAST_WORDS)})$|.*{POSSESSIVE}")


def names_in(path: Path) -> list[str]:
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return [function.name for function in functions if function.name.startswith("test_")]


NAMES = {str(path.relative_to(TESTS)): names_in(path) for path in sorted(TESTS.rglob("test_*.py"))}


def test_no_test_name_depends_on_another_one() -> None:
    assert [(path, name) for path, names in NAMES.items() for name in names if DEPENDENT.match(name)] == []


def test_no_test_name_is_too_long() -> None:
    assert [(path, name) for path, names in NAMES.items() for name in names if len(name) > LONGEST_NAME] == []


def test_no_two_tests_of_a_file_share_a_name() -> None:
    counts = {path: Counter(names) for path, names in NAMES.items()}
    assert [(path, name) for path, counted in counts.items() for name, count in counted.items() if count > 1] == []


def test_dependent_names_are_recognized() -> None:
    dependent = ["test_nor_over_http_2", "test_it_is_held_to", "test_a_page_has_them_too", "test_nginx_s_log_is_json"]
    assert [name for name in dependent if not DEPENDENT.match(name)] == []
    assert not DEPENDENT.match("test_items_that_are_too_large_are_refused")
