"""The scripts need only Python's standard library, and their modules have no import cycles."""

import ast
import re
import sys
from pathlib import Path

import pytest

from scripts import ops

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
MODULES = {f"{folder}.{path.stem}": path for folder in ("ops", "standin") for path in (SCRIPTS / folder).glob("*.py")}


def imported(name: str) -> set[str]:
    """Return the imports of a module, those of scripts/ by their names in MODULES; not imports for types only."""
    package = name.partition(".")[0]
    found = set()
    for node in ast.walk(_without_types(ast.parse(MODULES[name].read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = f"scripts.{package}" if node.level else ""
            source = ".".join(part for part in (inside, node.module) if part)
            found |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    ours = {each.removeprefix("scripts.") for each in found if each.startswith("scripts.")} & set(MODULES)
    return ours | {each for each in found if not each.startswith("scripts")}


def _without_types(tree: ast.Module) -> ast.Module:
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]
    return tree


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_the_standard_library_and_its_own_package(name: str) -> None:
    foreign = {each.partition(".")[0] for each in imported(name) - set(MODULES)}
    assert sorted(foreign - sys.stdlib_module_names) == []


# Module -> its row in the table of scripts/ops.
ROWS = {
    f"ops.{name}": number
    for number, row in enumerate(re.findall(r"(?m)^    (\S.*?)  ", str(ops.__doc__)))
    for name in row.rstrip(",").split(", ")
}


def test_every_module_is_in_the_table() -> None:
    assert set(ROWS) == {name for name in MODULES if name.startswith("ops.")} - {"ops.__init__"}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_module_imports_only_modules_of_its_row_or_below(name: str) -> None:
    assert {other for other in imported(name) & set(ROWS) if ROWS[other] < ROWS[name]} == set()


def test_there_are_no_circular_imports() -> None:
    remaining = {name: imported(name) & set(MODULES) for name in MODULES}
    while free := {name for name, needs in remaining.items() if not needs & set(remaining)}:
        remaining = {name: needs for name, needs in remaining.items() if name not in free}
    assert remaining == {}
