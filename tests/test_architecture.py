"""The arrows of ARCHITECTURE.md: what each package of the server may import, and what a module must never import.

The tests parse the source (ast), so that the modules need not be importable.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "wsgiserver"
APP = ROOT / "app"
GLUE = ROOT / "uploadstack"

# Package or top-level module -> what it may import; a package stands for all of its modules. No import points up.
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
# Within a package, a module may import the modules after it in this list.
ORDER: dict[str, str] = {
    "process": "embedded supervisor preflight worker wiring reloader importing roster listeners",
    "eventloop": "loop watchdog handoff thread_clock poller",
    "serving": "proxied connection exchange context receiver states",
    "wsgi": "gateway environ forwarded filewrapper",
    "telemetry": "admin metrics accesslog log scoreboard resources",
    "buffers": "outbox spool budget",
    "http1": "response framing chunked head fields grammar proxy_protocol",
}
# Modules with fewer imports than that: these are all the modules that a rule against smuggling depends on.
NO_MORE_THAN: dict[str, set[str]] = {
    "http1.response": {"errors", "http1.fields", "http1.grammar"},
    "http1.framing": {"errors", "http1.head"},
    "http1.chunked": {"errors", "http1.fields", "http1.grammar"},
    "http1.head": {"errors", "http1.fields", "http1.grammar"},
    "http1.fields": {"errors", "http1.grammar"},
    "http1.grammar": set(),
    "http1.proxy_protocol": {"errors"},
    "serving.states": set(),  # rules only, no actions
    "serving.receiver": {"buffers", "errors", "http1"},
    "wsgi.filewrapper": set(),
    "eventloop.poller": set(),
    "eventloop.thread_clock": set(),
    "process.roster": {"telemetry.scoreboard"},  # decides, without side effects
    "process.listeners": set(),  # the healthcheck imports only this module
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
    "settings": INPUT_OUTPUT,  # declarations only
    "binds": INPUT_OUTPUT,
    "values": INPUT_OUTPUT,
    "errors": INPUT_OUTPUT,
    "serving.states": INPUT_OUTPUT,
    "wsgi.environ": {"os", "socket", "threading"},  # the process environment holds secrets
    "wsgi.forwarded": INPUT_OUTPUT,
    "wsgi.gateway": {"os", "select", "socket", "threading"},  # its caller passes a `send`
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
    "process.roster": INPUT_OUTPUT,  # decides, without side effects
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
    remaining = {name: {package(other) for other in below} for name, below in MAY_IMPORT.items()}
    while remaining:
        bottom = [name for name, below in remaining.items() if not below & remaining.keys()]
        assert bottom, f"import cycle: {sorted(remaining)}"
        for name in bottom:
            del remaining[name]


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
    """Yield every target of an assignment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from target.elts if isinstance(target, ast.Tuple) else [target]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            yield node.target


@pytest.mark.parametrize("module", modules())
def test_attributes_are_set_only_through_self(module: str) -> None:
    """Only methods change an object, so that its class shows all possible changes."""
    targets = [target for target in assigned(parsed(module)) if isinstance(target, ast.Attribute)]
    assert [ast.unparse(target) for target in targets if ast.unparse(target.value) != "self"] == []


def classes() -> list[tuple[str, ast.ClassDef]]:
    return [
        (module, node) for module in modules() for node in ast.walk(parsed(module)) if isinstance(node, ast.ClassDef)
    ]


def members(enum: ast.ClassDef) -> set[str]:
    targets = (target for node in enum.body if isinstance(node, ast.Assign) for target in node.targets)
    return {target.id for target in targets if isinstance(target, ast.Name) and not target.id.startswith("_")}


def repeated(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that several owners use, with these owners, from pairs of name and owner."""
    owners: dict[str, list[str]] = {}
    for name, owner in names:
        owners.setdefault(name, []).append(owner)
    return {name: of_name for name, of_name in owners.items() if len(of_name) > 1}


def test_no_two_classes_or_types_of_the_server_share_a_name() -> None:
    """A leading underscore does not distinguish two names."""
    named = [(node.name.lstrip("_"), module) for module, node in classes()]
    for module in modules():
        targets = [target for target in assigned_at_the_top(parsed(module)) if re.fullmatch(r"[A-Z]+[a-z]\w*", target)]
        named += [(target, module) for target in targets]
    assert repeated(named) == {}


def test_no_two_enums_of_the_server_share_a_member() -> None:
    enums = [(module, node) for module, node in classes() if any("Enum" in ast.unparse(base) for base in node.bases)]
    assert len(enums) > 5
    assert repeated((name, f"{module}.{node.name}") for module, node in enums for name in members(node)) == {}


def assigned_at_the_top(tree: ast.Module) -> Iterator[str]:
    """Yield the names of a module's own variables."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _names(node: ast.expr) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(parsed(module))


# Folder -> what it must not import: the server, the library for projects in the stack, and the sample project.
FORBIDDEN = {SERVER: "config photos django uploadstack", GLUE: "config photos wsgiserver", APP: "wsgiserver"}
# Modules of uploadstack that run without Django set up or installed.
WITHOUT_DJANGO = ("__init__", "archive", "boundary", "gunicorn_logger", "media", "timestamp")


def used(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    return {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}


@pytest.mark.parametrize("folder", FORBIDDEN, ids=lambda folder: folder.name)
def test_server_stack_and_project_do_not_import_each_other(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        assert not used(path) & set(FORBIDDEN[folder].split()), path


@pytest.mark.parametrize("module", WITHOUT_DJANGO)
def test_modules_for_use_without_django_do_not_import_django(module: str) -> None:
    tree = ast.parse((GLUE / f"{module}.py").read_text())
    assert not {name.split(".")[0] for name in imported(tree)} & {"django", "dj_database_url", "rest_framework"}
    ours = {name.split(".")[1] for name in imported(tree) if name.startswith("uploadstack.")}
    assert ours <= set(WITHOUT_DJANGO)


# Names of the sample: its package, its tables, and the folders of its files.
OF_THE_SAMPLE = re.compile(r"photos_photo|app/photos|/api/photos|\b_?(originals|thumbs|renditions)[/|]")
OUTSIDE = ["compose.yaml", "Dockerfile", "nginx", "postgres", "scripts", "uploadstack", "wsgiserver"]
# Files that may contain these names, and why.
EXCEPTIONS = {
    "nginx/media.conf": "the project that replaced the sample does not show files of the sample in a volume",
    "compose.yaml": "X_ACCEL_PREFIX is a variable of the project's settings",
    "scripts/ops/demo.py": "make demo uploads to views of the sample",
}


def test_only_the_sample_names_its_tables_and_folders() -> None:
    found = set()
    for top in OUTSIDE:
        for path in [ROOT / top, *(ROOT / top).rglob("*")]:
            if path.is_file() and path.suffix != ".pyc" and OF_THE_SAMPLE.search(path.read_text()):
                found.add(str(path.relative_to(ROOT)))
    assert found == EXCEPTIONS.keys()


def test_benchmarks_and_tests_do_not_import_each_other() -> None:
    """The exception is tests/bench, which tests bench/."""
    for path in [*ROOT.glob("bench/*.py"), *ROOT.glob("tests/**/*.py")]:
        if "bench" in path.parent.relative_to(ROOT).parts[1:]:
            continue
        other = "tests" if path.parent.name == "bench" else "bench"
        assert other not in used(path), path


def test_the_wire_library_of_the_tests_imports_nothing_that_is_tested() -> None:
    """Otherwise the code and its test could share a mistake."""
    paths = [*ROOT.glob("tests/wire/*.py")]
    assert paths
    for path in paths:
        names = set(imported(ast.parse(path.read_text())))
        ours = {"wsgiserver", "uploadstack", "config", "photos", "django", "bench"}
        assert not {name.split(".")[0] for name in names} & ours, path
        assert all(name.startswith("tests.wire") for name in names if name.startswith("tests")), path
