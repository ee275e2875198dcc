"""The arrows of ARCHITECTURE.md, checked: what each module of the server may import, and what it must never.

Reads the source as text (ast), so that nothing has to be importable for the rules to hold.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "wsgiserver"
APP = ROOT / "app"

# Module -> the modules of the package it may import. Nothing points up, or sideways.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli", "healthcheck"},
    "cli": {"__init__", "settings", "supervisor", "worker"},
    "healthcheck": {"sockets"},
    "supervisor": {
        "accesslog",
        "body",
        "crew",
        "environ",
        "metrics",
        "resources",
        "scoreboard",
        "settings",
        "sockets",
        "worker",
    },
    "crew": {"scoreboard"},
    "worker": {
        "accesslog",
        "body",
        "connection",
        "environ",
        "gateway",
        "loop",
        "metrics",
        "outbox",
        "proxied",
        "receiver",
        "reloader",
        "resources",
        "scoreboard",
        "service",
        "settings",
    },
    "loop": {"accesslog", "baton", "connection", "poller", "states"},
    "poller": set(),
    "baton": {"accesslog", "connection"},
    "proxied": {"connection", "errors", "http1.head", "proxyprotocol", "service", "states"},
    "connection": {
        "accesslog",
        "errors",
        "exchange",
        "http1.framing",
        "http1.head",
        "http1.response",
        "receiver",
        "service",
        "states",
    },
    "exchange": {
        "accesslog",
        "body",
        "environ",
        "errors",
        "gateway",
        "http1.framing",
        "http1.head",
        "http1.response",
        "outbox",
        "receiver",
        "service",
    },
    "states": set(),
    "service": {"accesslog", "body", "environ", "gateway", "metrics", "outbox", "receiver"},
    "receiver": {"body", "errors", "http1.chunked", "http1.framing", "http1.head"},
    "outbox": {"body", "errors"},
    "gateway": {"errors", "filewrapper", "http1.response"},
    "environ": {"filewrapper", "http1.head"},
    "filewrapper": set(),
    "proxyprotocol": {"errors"},
    "body": {"errors"},
    "accesslog": set(),
    "metrics": {"__init__", "accesslog", "errors", "resources", "scoreboard"},
    "reloader": set(),
    "resources": set(),
    "scoreboard": set(),
    "sockets": set(),
    "settings": set(),
    "http1.__init__": set(),
    "http1.chunked": {"errors", "http1.grammar", "http1.head"},
    "http1.framing": {"errors", "http1.head"},
    "http1.head": {"errors", "http1.grammar"},
    "http1.response": {"errors", "http1.grammar", "http1.head"},
    "http1.grammar": set(),
    "errors": set(),
}

INPUT_OUTPUT = {
    "asyncio",
    "io",
    "logging",
    "os",
    "select",
    "selectors",
    "signal",
    "socket",
    "tempfile",
    "threading",
    "time",
}

# Module (or package) -> modules of the standard library that would break its promise.
MUST_NEVER: dict[str, set[str]] = {
    "http1": INPUT_OUTPUT,  # bytes in, values out
    "settings": INPUT_OUTPUT,  # declares, and does nothing
    "errors": INPUT_OUTPUT,
    "proxyprotocol": INPUT_OUTPUT,
    "states": INPUT_OUTPUT,
    "environ": {"os", "socket", "threading"},  # the process environment holds secrets
    "gateway": {"os", "select", "socket", "threading"},  # it is given a `send`
    "filewrapper": {"select", "socket", "threading"},
    "receiver": {"select", "socket", "threading", "time"},  # clocks are arguments
    "body": {"select", "socket", "threading"},
    "exchange": {"select", "threading"},
    "proxied": {"threading"},
    "connection": {"threading"},  # one owner at a time, so no lock
    "metrics": {"select", "socket", "threading", "time"},  # one writer per slot, so no lock
    "loop": {"http", "select", "threading"},
    "baton": {"http", "select", "socket"},
    "reloader": {"signal", "socket", "multiprocessing"},
    "crew": INPUT_OUTPUT,  # decides, and does nothing
    "supervisor": {"importlib", "threading"},  # a process that forks has one thread
}

LONGEST_FUNCTION = 65  # lines
LARGEST_FILE = 420  # lines, prose included
BROAD_HANDLERS = 5


def modules() -> list[str]:
    return sorted(".".join(path.relative_to(SERVER).with_suffix("").parts) for path in SERVER.rglob("*.py"))


def parsed(module: str) -> ast.Module:
    return ast.parse((SERVER / Path(*module.split("."))).with_suffix(".py").read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield every imported name in full: `from a.b import c` gives a.b and a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be searched for"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.Module, known: list[str]) -> set[str]:
    names = {name.removeprefix("wsgiserver.") for name in imported(tree) if name.startswith("wsgiserver.")}
    found = {name for name in names if name in known}
    return found | ({"__init__"} if names & {"__version__"} else set())


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    assert own_imports(parsed(module), modules()) <= MAY_IMPORT[module]


def test_the_table_names_every_module_and_no_other() -> None:
    assert sorted(MAY_IMPORT) == modules()


def test_no_arrow_closes_a_circle() -> None:
    left = dict(MAY_IMPORT)
    while left:
        bottom = [module for module, below in left.items() if not below & left.keys()]
        assert bottom, f"these import each other: {sorted(left)}"
        for module in bottom:
            del left[module]


@pytest.mark.parametrize("module", modules())
def test_a_module_keeps_away_from_what_would_break_its_promise(module: str) -> None:
    used = {name.split(".")[0] for name in imported(parsed(module))}
    forbidden = MUST_NEVER.get(module, set()) | MUST_NEVER.get(module.split(".", maxsplit=1)[0], set())
    assert not used & forbidden


@pytest.mark.parametrize("module", modules())
def test_functions_and_files_stay_short(module: str) -> None:
    tree = parsed(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name
    path = (SERVER / Path(*module.split("."))).with_suffix(".py")
    assert len(path.read_text().splitlines()) <= LARGEST_FILE


def test_broad_handlers_are_few() -> None:
    broad = [
        (module, node.lineno)
        for module in modules()
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.ExceptHandler)
        and node.type is not None
        and _names(node.type) & {"Exception", "BaseException"}
    ]
    assert len(broad) <= BROAD_HANDLERS, broad


def _names(node: ast.expr) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("module", modules())
def test_a_file_opens_by_saying_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(parsed(module))


def test_server_and_application_do_not_know_each_other() -> None:
    for path in [*SERVER.rglob("*.py"), *APP.rglob("*.py")]:
        other = "wsgiserver" if APP in path.parents else "config photos django"
        used = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
        assert not used & set(other.split()), path
