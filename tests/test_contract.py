"""What programs read is the same whoever writes it: names of errors, fields of logs, time stamps, request ids.

docs/errors-and-logs.md has the tables; nginx, the server and Django are each read here, and compared with it.
"""

import ast
import json
import logging
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace

import pytest

from uploadstack import request_id, timestamp
from uploadstack.json_logging import JsonFormatter
from wsgiserver.errors import INTERNAL_ERROR, REFUSALS
from wsgiserver.telemetry.accesslog import AccessLog, Record
from wsgiserver.telemetry.log import stamp
from wsgiserver.wsgi.environ import REQUEST_ID

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "errors-and-logs.md").read_text()
RECORD = Record("192.0.2.1", "id", "GET", "/a?token=b", 200, 0, 5, "none", "none", 0.0, 0.0, 0.0, "")
FIELD = re.compile(r'"(\w+)":')

Names = dict[str, set[int]]  # name of an error -> the statuses that it is answered with


def rows(header: str) -> Iterator[list[str]]:
    """The cells of the table that begins so."""
    table = PAGE[PAGE.index(header) :].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def documented(column: int) -> Names:
    """Column 2 is nginx, 3 the server, 4 Django."""
    found = [row for row in rows("| `error` | status |") if row[column]]
    return {row[0].strip("`"): {int(status) for status in row[1].split(",")} for row in found}


# --- Errors ---------------------------------------------------------------------------------------------------


def of_nginx() -> Names:
    text = (ROOT / "nginx" / "errors.conf.template").read_text()
    too_many = re.findall(r"(?m)^    \S+ +([a-z-]+);$", block(text, "map $limit_req_status $too_many"))
    names: Names = {}
    for status, name in re.findall(r"(?m)^    (\d+) +(\S+);$", block(text, "map $status $error_name")):
        for each in too_many if name == "$too_many" else [name]:
            names.setdefault(each, set()).add(int(status))
    return names


def block(text: str, opening: str) -> str:
    return text[text.index(opening) :].partition("\n}")[0]


def of_the_server() -> Names:
    return {INTERNAL_ERROR: {500}} | {name: {status.value} for name, (status, _) in REFUSALS.items()}


def of_django() -> Names:
    """The problems of the sample project, and what uploadstack answers in place of a redirect."""
    names: Names = {}
    redirects = (ROOT / "uploadstack" / "redirects.py").read_text()
    for status, name in re.findall(r'_answer\(request, HTTPStatus\.(\w+), "([a-z-]+)"', redirects):
        names.setdefault(name, set()).add(HTTPStatus[status].value)
    problems = (ROOT / "app" / "photos" / "problems.py").read_text()
    for code, name in re.findall(r'(?m)^    (\d{3}): "([a-z-]+)",$', problems):
        names.setdefault(name, set()).add(int(code))
    attributes: dict[str, dict[str, object]] = {}
    for node in ast.parse((ROOT / "app" / "photos" / "errors.py").read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        base = attributes.get(ast.unparse(node.bases[0]), {}) if node.bases else {}
        own = {
            ast.unparse(part.targets[0]): ast.literal_eval(part.value)
            for part in node.body
            if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) in {"status", "code"}
        }
        attributes[node.name] = {**base, **own}
        if "code" in attributes[node.name]:
            names.setdefault(str(attributes[node.name]["code"]), set()).add(int(str(attributes[node.name]["status"])))
    return names


WHO = {"nginx": (2, of_nginx), "server": (3, of_the_server), "Django": (4, of_django)}


@pytest.mark.parametrize("who", WHO)
def test_the_table_of_errors_has_each_name_with_its_status(who: str) -> None:
    column, names = WHO[who]
    answered = names()
    assert set(documented(column)) == set(answered)
    for name, statuses in answered.items():
        assert statuses <= documented(column)[name], name


def test_the_names_that_uploadstack_answers_are_found() -> None:
    assert {"wrong-address", "login-needed", "unsupported-media-type"} <= set(of_django())


def test_each_condition_has_one_name() -> None:
    conditions = [row[5] for row in rows("| `error` | status |")]
    assert all(conditions)
    assert len(conditions) == len(set(conditions))


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (413, "body-too-large"),
        (414, "uri-too-long"),
        (431, "headers-too-large"),
        (500, "internal-error"),
        (501, "transfer-encoding-unknown"),
        (504, "application-timeout"),
        (507, "spool-full"),
    ],
)
def test_nginx_and_the_server_call_the_same_condition_by_the_same_name(status: int, name: str) -> None:
    assert [each for each, statuses in of_nginx().items() if status in statuses] == [name]
    assert status in of_the_server()[name]


def test_answers_log_and_metrics_have_an_error_under_the_same_key() -> None:
    sources = {
        "nginx/error_pages.conf": '{"error":"$error_name"',
        "nginx/log.conf": '"error":"$logged_error"',
        "wsgiserver/http1/response.py": '{"error": name',
        "wsgiserver/telemetry/accesslog.py": '"error":"{error}"',
        "wsgiserver/telemetry/admin.py": 'error="{name}"',
        "app/photos/problems.py": '{"error": problem.code}',
        "uploadstack/redirects.py": '{"error": code, "detail": detail',
    }
    for path, text in sources.items():
        assert text in (ROOT / path).read_text(), path


# --- Fields of logs -------------------------------------------------------------------------------------------


def fields(column: int) -> set[str]:
    """Column 1 is nginx, 2 the server, 3 gunicorn, 4 Django."""
    found = [row[0] for row in rows("| field | nginx |") if row[column]]
    return {name for cell in found for name in re.findall(r"`(\w+)`", cell)}


def test_the_table_of_fields_has_those_of_nginx() -> None:
    format_ = (ROOT / "nginx" / "log.conf").read_text().partition("log_format")[2]
    assert set(FIELD.findall(format_)) == fields(1)


def test_the_table_of_fields_has_those_of_the_server(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.add(RECORD)
    log.close()
    assert set(json.loads((tmp_path / "log").read_text())) == fields(2)


def test_the_table_of_fields_has_those_of_gunicorn() -> None:
    source = (ROOT / "uploadstack" / "gunicorn_logger.py").read_text()
    assert set(FIELD.findall(source)) == fields(3)


def test_the_table_of_fields_has_those_of_django() -> None:
    record = logging.LogRecord("a", logging.ERROR, "b", 1, "c", (), (ValueError, ValueError(), None))
    record.fields = {"error": "internal-error"}
    record.request = SimpleNamespace(request_id="id")
    assert set(json.loads(JsonFormatter().format(record))) == fields(4)


def test_a_field_that_is_a_duration_or_a_size_says_its_unit() -> None:
    names = set().union(*map(fields, range(1, 5)))
    for name in names:
        assert not re.search(r"_time$|_length$|^(received|receive|sent|send|size|duration)$", name), name


# --- Time stamps and request ids ------------------------------------------------------------------------------


def test_the_server_and_django_write_the_same_time_stamp() -> None:
    assert timestamp.utc(1796061856.042) == stamp(1796061856042) == "2026-11-30T18:04:16.042Z"


@pytest.mark.parametrize("given", ["a", "a/b:c=@+._-", "x" * 128, "", "x" * 129, "a b", "a\n", "\u0663", "a;b", '"'])
def test_the_server_and_django_take_the_same_request_ids(given: str) -> None:
    assert bool(REQUEST_ID.fullmatch(given)) == bool(request_id.REQUEST_ID.fullmatch(given))
