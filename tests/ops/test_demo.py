"""The table of `make demo`. tests/stack/operations/test_09_demo.py runs the command on a stack."""

import hashlib

import pytest

from scripts.ops import demo

PHOTO = b"p" * 300_078
WHOLE = demo.Result(200, len(PHOTO), hashlib.sha256(PHOTO).hexdigest(), 201, "")
EMPTY = demo.Result(200, 0, hashlib.sha256(b"").hexdigest(), 400, "empty-body")
# Name -> a result, and its row after the name of the way.
ROWS = {
    "whole": (WHOLE, "200 OK 300,078 bytes same SHA-256 201 Created"),
    "lost": (EMPTY, "200 OK 0 bytes LOST 400 Bad Request empty-body"),
    "another content": (
        demo.Result(200, len(PHOTO), "0" * 64, 201, ""),
        "200 OK 300,078 bytes LOST 201 Created",
    ),
    "refused": (
        demo.Result(502, 0, "", 502, "application-unreachable"),
        "502 Bad Gateway 502 Bad Gateway application-unreachable",
    ),
    "no answer": (demo.Result(0, 0, "", 0, ""), "no answer no answer"),
    "an unknown status": (demo.Result(299, 0, "", 299, ""), "299 299"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_says_what_was_answered_and_stored(name: str) -> None:
    result, expected = ROWS[name]
    *_, row = demo.table(PHOTO, {demo.Way("a server", "http://127.0.0.1"): result})
    assert row.split() == ["a", "server", *expected.split()]


def test_the_columns_of_the_table_are_aligned() -> None:
    ways = demo.ways(has_tls=False)
    lines = list(demo.table(PHOTO, {way: WHOLE if way.is_safe else EMPTY for way in ways}))
    assert lines[0] == "One photo of 300,078 bytes, sent with Transfer-Encoding: chunked to Django behind:"
    rows = lines[3:]
    assert len(rows) == len(ways)
    assert len({row.index("200 OK") for row in rows}) == 1
    assert len({row.index(" bytes") for row in rows}) == 1
    assert [("LOST" in row) for row in rows] == [not way.is_safe for way in ways]


@pytest.mark.parametrize("has_tls", [False, True])
def test_every_way_through_nginx_uses_the_scheme_of_the_stack(has_tls: bool) -> None:
    schemes = {way.origin.partition(":")[0] for way in demo.ways(has_tls=has_tls) if "127.0.0.1" in way.origin}
    assert schemes == {"https" if has_tls else "http"}
