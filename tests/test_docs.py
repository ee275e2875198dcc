"""The tables in the documentation match the code.

A failure shows the expected table, and `python tests/test_docs.py` writes it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wsgiserver.binds import options_in_text
from wsgiserver.errors import REFUSALS, Refusal
from wsgiserver.http1.chunked import MAX_TRAILER
from wsgiserver.http1.fields import MAX_FIELDS
from wsgiserver.http1.head import MAX_HEAD, MAX_LINE
from wsgiserver.serving.receiver import Limits, Receiver, Stage
from wsgiserver.settings import declared
from wsgiserver.telemetry.admin import application
from wsgiserver.telemetry.metrics import COUNTS, SUMS
from wsgiserver.telemetry.scoreboard import Scoreboard

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "docs" / "wsgiserver.md"
REFUSALS_PAGE = ROOT / "docs" / "refusals.md"
# These need time or several connections, so the bytes of one connection cannot cause them.
NOT_SHOWN = {
    "proxy-header-invalid",  # with --proxy-protocol only
    "proxy-not-trusted",
    "head-timeout",
    "body-timeout",
    "body-too-slow",
    "spool-full",
    "too-many-connections",
    "overloaded",
    "application-timeout",
}
PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
PATHS = re.compile(r"`((?:tests|docs|app|wsgiserver|uploadstack|scripts|nginx|monitoring|bench)/[\w./-]*)(?:::(\w+))?`")


def settings_table() -> str:
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for setting in declared():
        meta = setting.metadata
        short = f", `{meta['short']}`" if meta["short"] else ""
        flag = setting.name.replace("_", "-")
        rows.append(f"| `--{flag}`{short} | {meta['shown']} | {meta['meaning']} |")
    return "\n".join(rows)


def refusals_table() -> str:
    rows = ["| name | status | because |", "|---|---|---|"]
    rows += [f"| `{name}` | {status.value} | {detail} |" for name, (status, detail) in REFUSALS.items()]
    return "\n".join(rows)


def metrics_table() -> str:
    """Return a table of the metrics, read from /metrics."""
    environ = {"PATH_INFO": "/metrics", "REQUEST_METHOD": "GET"}
    text = b"".join(application(Scoreboard(COUNTS, SUMS))(environ, lambda *_: None)).decode()
    rows = ["| metric | type | what it is |", "|---|---|---|"]
    for name, meaning, kind in re.findall(r"(?m)^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)$", text):
        label = re.search(rf"(?m)^{name}\{{(\w+)", text)
        rows.append(f"| `{name}`{f', by `{label[1]}`' if label else ''} | {kind} | {meaning} |")
    return "\n".join(rows)


def options_table() -> str:
    rows = ["| option | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{name}` | {option.metadata['shown']} | {option.metadata['meaning']} |"
        for name, option in options_in_text().items()
    ]
    return "\n".join(rows)


TABLES = {"settings": settings_table, "options": options_table, "refusals": refusals_table, "metrics": metrics_table}


def put(text: str, name: str) -> str:
    return re.sub(
        rf"(?s)(<!-- {name} -->\n).*?(<!-- /{name} -->)",
        lambda match: f"{match[1]}\n{TABLES[name]()}\n\n{match[2]}",
        text,
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_the_documentation_matches_the_code(name: str) -> None:
    text = SERVER.read_text()
    assert put(text, name) == text


@pytest.mark.skipif(not shutil.which("jq"), reason="only readers of logs need it")
def test_the_jq_command_in_the_documentation_reads_the_log_of_nginx() -> None:
    """The log has requests with one upstream server, with two of which the first was down, and with none."""
    program = re.search(r"jq -r ('.*?') \|", (ROOT / "docs" / "nginx.md").read_text())[1]  # type: ignore[index]  # a missing one fails
    log = "".join(
        f'{{"total_seconds":{total},"upstream_response_seconds":"{upstream}","path":"/{total}"}}\n'
        for total, upstream in [(2.5, "0.5"), (0.75, "-, 0.25"), (0.125, "")]
    )
    done = subprocess.run(["bash", "-c", f"jq -r {program}"], input=log, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2 /2.5", "0.5 /0.75", "0.125 /0.125"]


@pytest.mark.parametrize("page", sorted({*PAGES} - {"CHANGELOG.md"}))  # it names files that were renamed later
def test_paths_and_tests_named_in_the_documentation_exist(page: str) -> None:
    for path, test in PATHS.findall((ROOT / page).read_text()):
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub generates for the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", page.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_to_other_pages_and_headings_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", (ROOT / page).read_text()):
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def bounds() -> list[tuple[str, str, str]]:
    """Return the bounds of caches in the ADR: module, name and value."""
    page = (ROOT / "docs" / "adr" / "0007-what-is-cached.md").read_text()
    return re.findall(r"\| `(wsgiserver/\S+\.py)` \| `(\w+)` = (\d+) \|", page)


def test_every_cache_has_the_bound_of_its_adr() -> None:
    sources = [(path.relative_to(ROOT).as_posix(), path.read_text()) for path in (ROOT / "wsgiserver").rglob("*.py")]
    named = r"(?m)^(MAX_(?:CACHED|SEEN|SLOW)_\w+|MAX_PENDING_RECORDS): Final = (\d+)"
    assert sorted(bounds()) == sorted((path, *found) for path, text in sources for found in re.findall(named, text))


def test_messages_that_the_operations_page_explains_are_printed_by_scripts() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "scripts" / "ops").glob("*.py")))
    table = (ROOT / "docs" / "operations.md").read_text().partition("## Messages, and what to do")[2]
    messages = [message for message in re.findall(r"(?m)^\| `(.*?)`", table) if message != "507"]
    assert messages
    parts = [part.strip() for message in messages for part in message.split("...")]
    assert [part for part in parts if part not in sources] == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "adr").glob("*.md"), key=str), ids=lambda path: path.stem)
def test_files_named_in_the_adrs_exist(path: Path) -> None:
    for named, _ in PATHS.findall(path.read_text()):
        assert (ROOT / named).exists(), named


def test_upload_code_in_the_documentation_is_the_code_of_tested_programs() -> None:
    page = (ROOT / "docs" / "uploading.md").read_text()
    shown = re.findall(r"(?s)`(tests/stack/clients/[\w.]+)`:\n\n```\n(.*?)```", page)
    assert len(shown) == 4
    for path, code in shown:
        assert _without_indentation(code) in _without_indentation((ROOT / path).read_text()), path


def _without_indentation(code: str) -> str:
    return re.sub(r"(?m)^ +", "", code)


def sections() -> dict[str, str]:
    """Return the section of each name in docs/refusals.md, in order."""
    parts = re.split(r"(?m)^## `(.*)`$", REFUSALS_PAGE.read_text())[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_refusal_is_documented() -> None:
    assert list(sections()) == list(REFUSALS), "docs/refusals.md has a section for each, in the order of errors.py"


@pytest.mark.parametrize("name", REFUSALS)
def test_the_documentation_of_a_refusal_has_its_status_and_a_remedy(name: str) -> None:
    text = sections()[name]
    assert text.startswith(f"\n\n{REFUSALS[name][0].value}. ")
    assert re.search(r"(?m)^\*Change\* ", text)
    assert text.count("```") == 2
    flags = {setting.name.replace("_", "-") for setting in declared()}
    assert {flag for flag in re.findall(r"`--([a-z-]+)", text) if not flag.startswith("http")} <= flags


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("uri-too-long", [f"{MAX_LINE // 1024} KB"]),
        ("headers-too-large", [f"{MAX_HEAD // 1024} KB", f"{MAX_FIELDS} "]),
        ("trailer-too-large", [f"{MAX_TRAILER // 1024} KB"]),
    ],
)
def test_a_refusal_and_its_documentation_name_the_limit_of_the_parser(name: str, limits: list[str]) -> None:
    for limit in limits:
        assert limit in REFUSALS[name][1]
        assert limit in sections()[name]


@pytest.mark.parametrize("name", [name for name in REFUSALS if name not in NOT_SHOWN])
def test_the_example_of_a_refusal_is_refused_by_its_name(name: str) -> None:
    """Run the documented command, without its `nc`."""
    command = sections()[name].split("```")[1].strip().rpartition(" | nc ")[0]
    data = subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout
    receiver = Receiver(Limits(100 << 20, 1000, None))
    try:
        receiver.feed(data)
    except Refusal as refusal:
        assert refusal.name == name  # noqa: PT017 - that nothing is refused has a meaning as well
    else:
        assert (receiver.stage, name) == (Stage.IN_BODY, "body-incomplete")
    receiver.release()


def test_the_page_of_settings_names_every_variable_and_no_other() -> None:
    variables = re.findall(r"(?m)^#?([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text())
    rows = re.findall(r"(?m)^\| (`[A-Z].*?) \|", (ROOT / "docs" / "settings.md").read_text())
    assert variables
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(variables)


if __name__ == "__main__":
    page = SERVER.read_text()
    for table in TABLES:
        page = put(page, table)
    SERVER.write_text(page)


def test_the_program_in_the_documentation_of_the_server_runs(tmp_path: Path) -> None:
    (text,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "docs" / "wsgiserver.md").read_text())
    program = tmp_path / "program.py"
    program.write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'hello\\n'\n", "")
