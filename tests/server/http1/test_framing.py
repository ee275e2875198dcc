"""The end of a request: each rule against smuggling (RFC 9112, sections 6 and 9.3) in one line."""

import pytest

from wsgiserver.errors import Refusal
from wsgiserver.http1.framing import CHUNKED, body_length, expects_continue, keeps_alive
from wsgiserver.http1.head import Head, parse_head


def head(fields: str, version: str = "1.1") -> Head:
    lines = "".join(f"{line}\r\n" for line in fields.split("|") if line)
    return parse_head(f"POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n".encode("latin-1"))


def check(fields: str, expected: int | str, version: str = "1.1") -> None:
    try:
        answer: int | str = body_length(head(fields, version))
    except Refusal as refusal:
        answer = refusal.name
    assert answer == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", 0),
        ("Content-Length: 0", 0),
        ("Content-Length: 5", 5),
        ("Content-Length:   5  ", 5),
        ("Content-Length: 0005", 5),
        ("Content-Length: " + "9" * 18, 10**18 - 1),
        ("Content-Length: " + "9" * 19, "content-length-invalid"),
        ("Content-Length: " + "9" * 5000, "content-length-invalid"),
        ("Content-Length:", "content-length-invalid"),
        ("Content-Length: +5", "content-length-invalid"),
        ("Content-Length: -5", "content-length-invalid"),
        ("Content-Length: 0x5", "content-length-invalid"),
        ("Content-Length: 5_0", "content-length-invalid"),
        ("Content-Length: 5.0", "content-length-invalid"),
        ("Content-Length: 5 5", "content-length-invalid"),
        ("Content-Length: 5, 5", "content-length-invalid"),
        ("Content-Length: 5,", "content-length-invalid"),
        ("Content-Length: five", "content-length-invalid"),
        ("Content-Length: \xb2", "content-length-invalid"),  # SUPERSCRIPT TWO is a digit to str.isdigit
        ("Content-Length: 5|Content-Length: 5", "field-repeated"),
        ("Content-Length: 5|content-length: 6", "field-repeated"),
        ("Transfer-Encoding: chunked", CHUNKED),
        ("Transfer-Encoding: \tCHUNKED ", CHUNKED),
        ("Transfer-Encoding: chunked|Content-Length: 5", "length-ambiguous"),
        ("Content-Length: 5|Transfer-Encoding: chunked", "length-ambiguous"),
        ("Content-Length: x|Transfer-Encoding: chunked", "length-ambiguous"),
        ("Content-Length: 5|Transfer-Encoding: identity", "length-ambiguous"),
        ("Transfer-Encoding: chunked, chunked", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked|Transfer-Encoding: chunked", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked, gzip", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked|Transfer-Encoding: identity", "transfer-encoding-invalid"),
        ("Transfer-Encoding: gzip, chunked", "transfer-encoding-unknown"),
        ("Transfer-Encoding: gzip|Transfer-Encoding: chunked", "transfer-encoding-unknown"),
        ("Transfer-Encoding: gzip, deflate", "transfer-encoding-invalid"),
        ("Transfer-Encoding: gzip|Transfer-Encoding: deflate", "transfer-encoding-invalid"),
        ("Transfer-Encoding: gzip, chunked, chunked", "transfer-encoding-invalid"),
        ("Transfer-Encoding: gzip|Content-Length: 5", "length-ambiguous"),
        ("Transfer-Encoding: gzip", "transfer-encoding-invalid"),
        ("Transfer-Encoding: identity", "transfer-encoding-invalid"),
        ("Transfer-Encoding: xchunked", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked;q=1", "transfer-encoding-invalid"),
        ('Transfer-Encoding: "chunked"', "transfer-encoding-invalid"),
        ("Transfer-Encoding: \x0bchunked".replace("\x0b", "\xa0"), "transfer-encoding-invalid"),
        ("Transfer-Encoding:", "transfer-encoding-invalid"),
        ("Transfer-Encoding: ,chunked", "transfer-encoding-unknown"),
        ("Transfer-Encoding: chunked,", "transfer-encoding-invalid"),
    ],
)
def test_the_body_length_of_http_1_1_requests_is_known_or_refused(fields: str, expected: int | str) -> None:
    check(fields, expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", 0),
        ("Content-Length: 5", 5),
        ("Transfer-Encoding: chunked", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked|Content-Length: 5", "length-ambiguous"),
    ],
)
def test_the_body_length_of_http_1_0_requests_is_known_or_refused(fields: str, expected: int | str) -> None:
    check(fields, expected, "1.0")


def test_an_unknown_transfer_coding_is_501_and_an_invalid_one_400() -> None:
    assert Refusal("transfer-encoding-unknown").status == 501
    assert Refusal("transfer-encoding-invalid").status == 400
    assert Refusal("length-ambiguous").status == 400


@pytest.mark.parametrize(
    ("fields", "in_1_1", "in_1_0"),
    [
        ("", True, False),
        ("Connection: keep-alive", True, True),
        ("Connection: Keep-Alive", True, True),
        ("Connection: close", False, False),
        ("Connection: CLOSE", False, False),
        ("Connection: close, keep-alive", False, False),
        ("Connection: keep-alive|Connection: close", False, False),
        ("Connection: TE,close", False, False),
        ("Connection: upgrade", True, False),
        ("Connection: closed", True, False),
        ("Connection:", True, False),
    ],
)
def test_keep_alive_follows_the_version_and_the_connection_header(fields: str, *, in_1_1: bool, in_1_0: bool) -> None:
    assert keeps_alive(head(fields, "1.1")) is in_1_1
    assert keeps_alive(head(fields, "1.0")) is in_1_0


@pytest.mark.parametrize(
    ("fields", "version", "expected"),
    [
        ("", "1.1", False),
        ("Expect: 100-continue", "1.1", True),
        ("Expect: 100-CONTINUE", "1.1", True),
        ("Expect: 100-continue", "1.0", False),  # RFC 9110, section 10.1.1: ignored
        ("Expect: something", "1.0", False),
        ("Expect: something", "1.1", "expectation-unknown"),
        ("Expect:", "1.1", "expectation-unknown"),
        ("Expect: 100-continue, x=y", "1.1", "expectation-unknown"),
    ],
)
def test_expect_100_continue_is_recognized_and_other_expectations_are_refused(
    fields: str, version: str, expected: object
) -> None:
    try:
        answer: object = expects_continue(head(fields, version))
    except Refusal as refusal:
        answer = refusal.name
    assert answer == expected
