"""The arrows of ARCHITECTURE.md, checked: what each package of the server may import, and what a module must never.

Reads the source as text (ast), so that nothing has to be importable for the rules to hold.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "wsgiserver"
APP = ROOT / "app"
GLUE = ROOT / "uploadstack"

# Package, or module beside them -> what it may import: a package stands for all of its modules. Nothing points up.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"process", "version"},
    "__main__": {"cli", "healthcheck"},
    "cli": {"appspec", "process", "settings", "values", "version"},
    "healthcheck": {"process.listeners"},
    "process": {"appspec", "binds", "buffers", "eventloop", "serving", "settings", "telemetry", "values", "wsgi"},
    "eventloop": {"serving", "telemetry"},
    "serving": {"buffers", "errors", "http1", "telemetry", "wsgi"},
    "wsgi": {"errors", "http1"},
    "telemetry": {"errors", "version"},
    "buffers": {"errors"},
    "http1": {"errors"},
    "appspec": set(),
    "settings": {"binds", "other_servers", "values"},
    "binds": {"values"},
    "values": {"appspec"},
    "other_servers": set(),
    "version": set(),
    "errors": set(),
}
# Within a package a module may import what comes after it here.
ORDER: dict[str, str] = {
    "process": "embedded supervisor preflight worker wiring reloader importing roster listeners",
    "eventloop": "loop watchdog handoff thread_clock poller",
    "serving": "proxied connection exchange context receiver states",
    "wsgi": "gateway environ forwarded filewrapper",
    "telemetry": "admin metrics accesslog log scoreboard resources",
    "buffers": "outbox spool budget",
    "http1": "response framing chunked head fields grammar proxy_protocol",
}
# And where that is less, only this: what a rule against smuggling rests on is seen at once.
NO_MORE_THAN: dict[str, set[str]] = {
    "http1.response": {"errors", "http1.fields", "http1.grammar"},
    "http1.framing": {"errors", "http1.head"},
    "http1.chunked": {"errors", "http1.fields", "http1.grammar"},
    "http1.head": {"errors", "http1.fields", "http1.grammar"},
    "http1.fields": {"errors", "http1.grammar"},
    "http1.grammar": set(),
    "http1.proxy_protocol": {"errors"},
    "serving.states": set(),  # rules, and what is done is elsewhere
    "serving.receiver": {"buffers", "errors", "http1"},
    "wsgi.filewrapper": set(),
    "eventloop.poller": set(),
    "eventloop.thread_clock": set(),
    "process.roster": {"telemetry.scoreboard"},  # decides, and does nothing
    "process.listeners": set(),  # healthcheck imports it, and nothing else
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
    "binds": INPUT_OUTPUT,
    "values": INPUT_OUTPUT,
    "errors": INPUT_OUTPUT,
    "serving.states": INPUT_OUTPUT,
    "wsgi.environ": {"os", "socket", "threading"},  # the process environment holds secrets
    "wsgi.forwarded": INPUT_OUTPUT,
    "wsgi.gateway": {"os", "select", "socket", "threading"},  # it is given a `send`
    "wsgi.filewrapper": {"select", "socket", "threading"},
    "serving.receiver": {"select", "socket", "threading", "time"},  # clocks are arguments
    "buffers.spool": {"select", "socket", "threading"},
    "serving.exchange": {"select", "threading"},
    "serving.proxied": {"threading"},
    "serving.connection": {"threading"},  # one owner at a time, so no lock
    "telemetry.metrics": {"select", "socket", "threading", "time"},  # one writer per slot, so no lock
    "eventloop.loop": {"http", "select", "threading"},
    "eventloop.handoff": {"http", "select", "socket"},
    "eventloop.watchdog": {"http", "select", "socket", "threading"},
    "process.reloader": {"signal", "socket", "multiprocessing"},
    "process.roster": INPUT_OUTPUT,  # decides, and does nothing
    "process.preflight": {"importlib", "multiprocessing", "signal", "threading"},
    "process.supervisor": {"importlib", "threading"},  # a process that forks has one thread
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
    return {name for name in names if name in known}


def package(module: str) -> str:
    """Return the row of MAY_IMPORT that a module belongs to."""
    return module.partition(".")[0]


def may_import(module: str, other: str) -> bool:
    if module in NO_MORE_THAN:
        return bool({other, package(other)} & NO_MORE_THAN[module])
    if package(module) != package(other):
        return bool({other, package(other)} & MAY_IMPORT[package(module)])
    order = ORDER[package(module)].split()
    return order.index(module.partition(".")[2]) < order.index(other.partition(".")[2])


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_modules_below_it(module: str) -> None:
    assert [other for other in sorted(own_imports(parsed(module), modules())) if not may_import(module, other)] == []


def test_the_tables_name_exactly_the_existing_modules() -> None:
    packages = [f"{name}.__init__" for name in ORDER]
    named = [name for name in MAY_IMPORT if name not in ORDER]
    named += [f"{name}.{module}" for name, order in ORDER.items() for module in order.split()]
    assert sorted(named + packages) == modules()
    assert NO_MORE_THAN.keys() <= set(named)


def test_every_import_that_the_tables_allow_is_used() -> None:
    used = {package(module): set[str]() for module in modules()}
    for module in modules():
        imports = own_imports(parsed(module), modules())
        used[package(module)] |= {package(other) for other in imports} - {package(module)}
        assert {package(name) for name in NO_MORE_THAN.get(module, set())} <= {package(other) for other in imports}
    assert {name: {package(other) for other in below} for name, below in MAY_IMPORT.items()} == used


def test_the_allowed_imports_have_no_cycle() -> None:
    left = {name: {package(other) for other in below} for name, below in MAY_IMPORT.items()}
    while left:
        bottom = [name for name, below in left.items() if not below & left.keys()]
        assert bottom, f"these import each other: {sorted(left)}"
        for name in bottom:
            del left[name]


@pytest.mark.parametrize("module", modules())
def test_a_module_does_not_import_what_it_must_never_use(module: str) -> None:
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


def assigned(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield whatever is assigned to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from target.elts if isinstance(target, ast.Tuple) else [target]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            yield node.target


@pytest.mark.parametrize("module", modules())
def test_attributes_are_set_only_through_self(module: str) -> None:
    """Who wants an object to change asks it to: then what can become of it is in its class."""
    targets = [target for target in assigned(parsed(module)) if isinstance(target, ast.Attribute)]
    assert [ast.unparse(target) for target in targets if ast.unparse(target.value) != "self"] == []


def _names(node: ast.expr) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(parsed(module))


# Who is beside whom -> what it must not import: the server, what projects need of the stack, and the sample project.
STRANGERS = {SERVER: "config photos django uploadstack", GLUE: "config photos wsgiserver", APP: "wsgiserver"}
# Modules of uploadstack that run where Django is not set up, or is not there.
WITHOUT_DJANGO = ("__init__", "archive", "boundary", "gunicorn_logger", "media", "timestamp")


def used(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}


@pytest.mark.parametrize("folder", STRANGERS, ids=lambda folder: folder.name)
def test_server_stack_and_project_do_not_import_each_other(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        assert not used(path) & set(STRANGERS[folder].split()), path


@pytest.mark.parametrize("module", WITHOUT_DJANGO)
def test_modules_for_use_without_django_do_not_import_django(module: str) -> None:
    tree = ast.parse((GLUE / f"{module}.py").read_text())
    assert not {name.split(".")[0] for name in imported(tree)} & {"django", "dj_database_url", "rest_framework"}
    ours = {name.split(".")[1] for name in imported(tree) if name.startswith("uploadstack.")}
    assert ours <= set(WITHOUT_DJANGO)


# What the sample calls its own: its package, its tables, and the folders of its files.
OF_THE_SAMPLE = re.compile(r"photos_photo|app/photos|/api/photos|\b_?(originals|thumbs|renditions)[/|]")
OUTSIDE = ["compose.yaml", "Dockerfile", "nginx", "postgres", "scripts", "uploadstack", "wsgiserver"]
# Where it is said all the same, and why.
SAID = {
    "nginx/media.conf": "what the sample left in a volume is not shown by the project that replaced it",
    "compose.yaml": "X_ACCEL_PREFIX is a variable of the project's settings",
}


def test_only_the_sample_names_its_tables_and_folders() -> None:
    found = set()
    for top in OUTSIDE:
        for path in [ROOT / top, *(ROOT / top).rglob("*")]:
            if path.is_file() and path.suffix != ".pyc" and OF_THE_SAMPLE.search(path.read_text()):
                found.add(str(path.relative_to(ROOT)))
    assert found == SAID.keys()


def test_benchmarks_and_tests_do_not_import_each_other() -> None:
    """But for tests/bench, which is about bench/."""
    for path in [*ROOT.glob("bench/*.py"), *ROOT.glob("tests/**/*.py")]:
        if "bench" in path.parent.relative_to(ROOT).parts[1:]:
            continue
        other = "tests" if path.parent.name == "bench" else "bench"
        assert other not in used(path), path


def test_the_wire_library_of_the_tests_imports_nothing_that_is_tested() -> None:
    """Otherwise one mistake could be in the code and in its check."""
    paths = [*ROOT.glob("tests/wire/*.py")]
    assert paths
    for path in paths:
        names = set(imported(ast.parse(path.read_text())))
        ours = {"wsgiserver", "uploadstack", "config", "photos", "django", "bench"}
        assert not {name.split(".")[0] for name in names} & ours, path
        assert all(name.startswith("tests.wire") for name in names if name.startswith("tests")), path
