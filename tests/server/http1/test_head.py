"""The request head: accepted heads, and the names of the refusals of others (RFC 9112, sections 2 to 5)."""

import pytest

from wsgiserver.errors import Refusal
from wsgiserver.http1.fields import MAX_FIELDS, Fields
from wsgiserver.http1.head import (
    MAX_HEAD,
    MAX_LINE,
    Head,
    find_end,
    parse_head,
)

H = "Host: a\r\n"


def outcome(data: bytes) -> Head | str:
    """Parse a head that arrives in one piece."""
    try:
        end = find_end(data)
        return parse_head(data[:end]) if end else "incomplete"
    except Refusal as refusal:
        return refusal.name


def bytewise_outcome(data: bytes) -> Head | str:
    """Parse a head that arrives byte by byte, with a check at each length."""
    try:
        for length in range(1, len(data) + 1):
            end = find_end(data[:length], max(0, length - 4))
            if end:
                return parse_head(data[:end])
    except Refusal as refusal:
        return refusal.name
    return "incomplete"


def check(text: str, expected: Head | str) -> None:
    data = text.encode("latin-1")
    assert outcome(data) == expected
    bytewise = bytewise_outcome(data)
    if isinstance(expected, Head):
        assert bytewise == expected
    else:  # byte by byte, another error may be found first
        assert isinstance(bytewise, str)
        assert bytewise != "incomplete"


def test_a_field_with_one_value_is_refused_if_it_is_repeated() -> None:
    """A repeated field with one value is refused; lists and fields without effect on the server are joined."""
    for name in ("Content-Type", "AUTHORIZATION", "Range", "If-Range", "Origin", "Referer", "Content-Disposition"):
        check(f"GET / HTTP/1.1\r\n{H}{name}: a\r\nX: y\r\n{name.lower()}: a\r\n\r\n", "field-repeated")
    for name in ("Accept", "User-Agent", "If-Match", "If-None-Match", "X-Forwarded-For", "Via", "Content-Encoding"):
        fields = Fields({"host": "a", name.lower(): "a, b"})
        check(f"GET / HTTP/1.1\r\n{H}{name}: a\r\n{name}: b\r\n\r\n", Head("GET", "/", 1, fields))


def get(target: str = "/", minor: int = 1, method: str = "GET", **fields: str) -> Head:
    return Head(method, target, minor, Fields({name.replace("_", "-"): value for name, value in fields.items()}))


ACCEPTED = {
    "plain": (f"GET / HTTP/1.1\r\n{H}\r\n", get(host="a")),
    "query": (f"GET /a?b=c?d HTTP/1.1\r\n{H}\r\n", get("/a?b=c?d", host="a")),
    "double slash": (f"GET //x//y HTTP/1.1\r\n{H}\r\n", get("//x//y", host="a")),
    "any visible ASCII in the target": (
        f'GET /%zz"<>[]{{}}|\\^`~ HTTP/1.1\r\n{H}\r\n',
        get('/%zz"<>[]{}|\\^`~', host="a"),
    ),
    "method is any token": (
        f"pro!#$%&'*+-.^_`|~P9 / HTTP/1.1\r\n{H}\r\n",
        get(method="pro!#$%&'*+-.^_`|~P9", host="a"),
    ),
    "HTTP/1.0 without Host": ("GET / HTTP/1.0\r\n\r\n", get(minor=0)),
    "HTTP/1.0 with Host": (f"GET / HTTP/1.0\r\n{H}\r\n", get(minor=0, host="a")),
    "a later minor version is 1.1": (f"GET / HTTP/1.9\r\n{H}\r\n", get(host="a")),
    "spaces around a value": (f"GET / HTTP/1.1\r\n{H}X: \t b c\t \r\n\r\n", get(host="a", x="b c")),
    "no space before a value": (f"GET / HTTP/1.1\r\n{H}X:b\r\n\r\n", get(host="a", x="b")),
    "empty value": (f"GET / HTTP/1.1\r\n{H}X:\r\nY: \r\n\r\n", get(host="a", x="", y="")),
    "colon in a value": (f"GET / HTTP/1.1\r\n{H}X: a:b: c\r\n\r\n", get(host="a", x="a:b: c")),
    "obs-text in a value": (f"GET / HTTP/1.1\r\n{H}X: \x80\x85\xa0\xff\r\n\r\n", get(host="a", x="\x80\x85\xa0\xff")),
    "names are lowered": ("GET / HTTP/1.1\r\nhOST: a\r\nX-YZ: 1\r\n\r\n", get(host="a", x_yz="1")),
    "repeated fields are joined": (f"GET / HTTP/1.1\r\n{H}X: 1\r\nx: 2\r\n\r\n", get(host="a", x="1, 2")),
    "cookies are joined as cookies": (
        f"GET / HTTP/1.1\r\n{H}Cookie: a=1\r\nCookie: b=2\r\n\r\n",
        get(host="a", cookie="a=1; b=2"),
    ),
    "Host with port": ("GET / HTTP/1.1\r\nHost: a.b-c:8080\r\n\r\n", get(host="a.b-c:8080")),
    "Host with an empty port": ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", get(host="a:")),
    "Host is IPv6": ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", get(host="[::1]:80")),
    "absolute form": ("GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", get("/x?y", host="b:81")),
    "absolute form, no path": ("GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n", get("/", host="b")),
    "absolute form, only a query": ("GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", get("/?y", host="b")),
    "absolute form in 1.0 brings its Host": ("GET http://b/ HTTP/1.0\r\n\r\n", get("/", minor=0, host="b")),
    "Host with the largest port": ("GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", get(host="a:65535")),
    "Host with an escape": ("GET / HTTP/1.1\r\nHost: %e2a\r\n\r\n", get(host="%e2a")),
    "Host is IPv4 in IPv6": ("GET / HTTP/1.1\r\nHost: [::ffff:192.0.2.1]\r\n\r\n", get(host="[::ffff:192.0.2.1]")),
    "absolute form, IPv6": ("GET http://[::1]:8/x HTTP/1.1\r\nHost: a\r\n\r\n", get("/x", host="[::1]:8")),
    "absolute form, only a host, for OPTIONS": (
        "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
        get("*", method="OPTIONS", host="b"),
    ),
    "absolute form with a query, for OPTIONS": (
        "OPTIONS http://b?c HTTP/1.1\r\nHost: a\r\n\r\n",
        get("/?c", method="OPTIONS", host="b"),
    ),
    "asterisk": (f"OPTIONS * HTTP/1.1\r\n{H}\r\n", get("*", method="OPTIONS", host="a")),
    "longest line": (
        f"GET /{'x' * (MAX_LINE - 14)} HTTP/1.1\r\n{H}\r\n",
        get("/" + "x" * (MAX_LINE - 14), host="a"),
    ),
    "most fields": (
        f"GET / HTTP/1.1\r\n{H}" + "".join(f"X{n}: y\r\n" for n in range(MAX_FIELDS - 1)) + "\r\n",
        Head("GET", "/", 1, Fields({"host": "a"} | {f"x{n}": "y" for n in range(MAX_FIELDS - 1)})),
    ),
}

REFUSED = {
    "no request": ("\r\n\r\n", "head-malformed"),
    "garbage": ("\x16\x03\x01\x02\x00\x01\r\n\r\n", "head-malformed"),
    "only a method": (f"GET\r\n{H}\r\n", "head-malformed"),
    "HTTP/0.9": (f"GET /\r\n{H}\r\n", "head-malformed"),
    "two spaces": (f"GET  / HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "tab for a space": (f"GET\t/ HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "space at the start": (f" GET / HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "space at the end": (f"GET / HTTP/1.1 \r\n{H}\r\n", "head-malformed"),
    "space in the target": (f"GET /a b HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "fragment": (f"GET /a#b HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "raw UTF-8 in the target": (f"GET /\xc3\xa9 HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "DEL in the target": (f"GET /\x7f HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "method is no token": (f"G(T / HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "method with obs-text": (f"G\xc9T / HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "lower-case version": (f"GET / http/1.1\r\n{H}\r\n", "head-malformed"),
    "two-digit version": (f"GET / HTTP/1.10\r\n{H}\r\n", "head-malformed"),
    "version without a dot": (f"GET / HTTP/11\r\n{H}\r\n", "head-malformed"),
    "digit of another script": (f"GET / HTTP/1.\xb9\r\n{H}\r\n", "head-malformed"),
    "HTTP/2.0": (f"GET / HTTP/2.0\r\n{H}\r\n", "version-unsupported"),
    "HTTP/2 preface": ("PRI * HTTP/2.0\r\n\r\n", "version-unsupported"),
    "HTTP/0.9 in so many words": ("GET / HTTP/0.9\r\n\r\n", "version-unsupported"),
    "bare LF after the request line": (f"GET / HTTP/1.1\n{H}\r\n", "head-malformed"),
    "bare LF after a field": (f"GET / HTTP/1.1\r\n{H}X: y\nZ: z\r\n\r\n", "head-malformed"),
    "bare LF at the end": (f"GET / HTTP/1.1\r\n{H}\n\r\n\r\n", "head-malformed"),
    "nothing but LF": ("GET / HTTP/1.1\nHost: a\n\n", "head-malformed"),
    "bare CR in a value": (f"GET / HTTP/1.1\r\n{H}X: y\rZ: z\r\n\r\n", "head-malformed"),
    "CR before CRLF": (f"GET / HTTP/1.1\r\n{H}X: y\r\r\n\r\n", "head-malformed"),
    "bare CR in the request line": (f"GET /\rx HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "NUL in a value": (f"GET / HTTP/1.1\r\n{H}X: a\0b\r\n\r\n", "head-malformed"),
    "NUL in a name": (f"GET / HTTP/1.1\r\n{H}X\0: a\r\n\r\n", "head-malformed"),
    "NUL in the target": (f"GET /\0 HTTP/1.1\r\n{H}\r\n", "head-malformed"),
    "control character in a value": (f"GET / HTTP/1.1\r\n{H}X: a\x0bb\r\n\r\n", "head-malformed"),
    "DEL in a value": (f"GET / HTTP/1.1\r\n{H}X: a\x7f\r\n\r\n", "head-malformed"),
    "folded line": (f"GET / HTTP/1.1\r\n{H}X: a\r\n b\r\n\r\n", "head-malformed"),
    "folded first line": ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "head-malformed"),
    "folded with a tab": (f"GET / HTTP/1.1\r\n{H}X: a\r\n\tb\r\n\r\n", "head-malformed"),
    "space before the colon": ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "head-malformed"),
    "tab before the colon": ("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", "head-malformed"),
    "space in a name": (f"GET / HTTP/1.1\r\n{H}X Y: a\r\n\r\n", "head-malformed"),
    "empty name": (f"GET / HTTP/1.1\r\n{H}: a\r\n\r\n", "head-malformed"),
    "no colon": (f"GET / HTTP/1.1\r\n{H}X\r\n\r\n", "head-malformed"),
    "name with a bracket": (f"GET / HTTP/1.1\r\n{H}X[]: a\r\n\r\n", "head-malformed"),
    "name with obs-text": (f"GET / HTTP/1.1\r\n{H}X\xe9: a\r\n\r\n", "head-malformed"),
    "no Host": ("GET / HTTP/1.1\r\n\r\n", "host-missing"),
    "no Host beside an absolute form": ("GET http://a/ HTTP/1.1\r\n\r\n", "host-missing"),
    "Host twice": (f"GET / HTTP/1.1\r\n{H}{H}\r\n", "field-repeated"),
    "Host twice in 1.0": (f"GET / HTTP/1.0\r\n{H}Host: b\r\n\r\n", "field-repeated"),
    "Host empty": ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "host-invalid"),
    "Host is a list": ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "host-invalid"),
    "Host with user": ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "host-invalid"),
    "Host with path": ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "host-invalid"),
    "Host with a wordy port": ("GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", "host-invalid"),
    "Host with a long port": ("GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", "host-invalid"),
    "Host without a closing bracket": ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "host-invalid"),
    "Host with a port too large": ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "host-invalid"),
    "Host is only a port": ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "host-invalid"),
    "Host is no IPv6": ("GET / HTTP/1.1\r\nHost: [::1::2]\r\n\r\n", "host-invalid"),
    "Host is IPv6 with a zone": ("GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", "host-invalid"),
    "Host is IPv6 with more behind": ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "host-invalid"),
    "Host with nothing in brackets": ("GET / HTTP/1.1\r\nHost: []\r\n\r\n", "host-invalid"),
    "Host with a broken escape": ("GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", "host-invalid"),
    "Host with obs-text": ("GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", "host-invalid"),
    "Host invalid in 1.0": ("GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", "host-invalid"),
    "Host invalid beside an absolute form": ("GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n", "host-invalid"),
    "Host empty beside an absolute form": ("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", "host-invalid"),
    "target without a slash": (f"GET x HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "asterisk without OPTIONS": (f"GET * HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "absolute form of another scheme": (f"GET ftp://a/ HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "absolute form without authority": (f"GET http:///x HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "absolute form with user": (f"GET http://u@a/ HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "absolute form with an empty user": (f"GET http://@a/ HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "absolute form with an empty host": (f"GET http://:80/ HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "absolute form with a port too large": (f"GET http://a:65536/ HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "absolute form with a backslash": (f"GET http://a\\@b/ HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "authority form": (f"GET a:80 HTTP/1.1\r\n{H}\r\n", "target-invalid"),
    "CONNECT": (f"CONNECT a:443 HTTP/1.1\r\n{H}\r\n", "method-unsupported"),
    "CONNECT with a path": (f"CONNECT / HTTP/1.1\r\n{H}\r\n", "method-unsupported"),
    "line too long": (f"GET /{'x' * (MAX_LINE - 13)} HTTP/1.1\r\n{H}\r\n", "uri-too-long"),
    "too many fields": (
        "GET / HTTP/1.1\r\n" + "".join(f"X{n}: y\r\n" for n in range(MAX_FIELDS + 1)) + "\r\n",
        "headers-too-large",
    ),
    "too many of one field": (f"GET / HTTP/1.1\r\n{H}" + "X: y\r\n" * MAX_FIELDS + "\r\n", "headers-too-large"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_valid_head_is_accepted(name: str) -> None:
    check(*ACCEPTED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_head_is_refused_by_name(name: str) -> None:
    check(*REFUSED[name])


def test_a_head_is_accepted_up_to_its_size_limit() -> None:
    def head(size: int) -> bytes:
        start = f"GET / HTTP/1.1\r\n{H}X: ".encode()
        return start + b"y" * (size - len(start) - 4) + b"\r\n\r\n"

    assert isinstance(outcome(head(MAX_HEAD)), Head)
    assert find_end(head(MAX_HEAD)[:-1]) == 0
    assert outcome(head(MAX_HEAD + 1)) == "headers-too-large"
    assert outcome(head(MAX_HEAD + 1)[:-1]) == "headers-too-large"


def test_a_request_line_without_an_end_is_refused() -> None:
    line = b"GET /" + b"x" * MAX_LINE
    assert outcome(line[: MAX_LINE + 1]) == "incomplete"  # the next byte may be its CR
    assert outcome(line[: MAX_LINE + 2]) == "uri-too-long"


def test_a_method_that_is_too_long_is_refused_as_unsupported() -> None:
    """RFC 9112, section 3: 501 for a method that is too long, 414 for a target."""
    longest = "G" * 128
    check(f"{longest} / HTTP/1.1\r\n{H}\r\n", get(method=longest, host="a"))
    for size in (129, 1000, MAX_LINE + 1, 100_000):
        check(f"{'G' * size} / HTTP/1.1\r\n{H}\r\n", "method-unsupported")
    assert outcome(b"G" * 128) == "incomplete"
    assert outcome(b"G" * 129) == "method-unsupported"


# Beginnings of heads, up to the byte after which no continuation is valid, and their refusals.
REFUSED_BEGINNINGS = {
    "LF after the request line": (b"GET / HTTP/1.1\n", "head-malformed"),
    "LF only": (b"\n", "head-malformed"),
    "LF after a field": (b"GET / HTTP/1.1\r\nHost: a\n", "head-malformed"),
    "LF for the empty line": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "head-malformed"),
    "CR within the request line": (b"GET /\r", "head-malformed"),
    "CR within a value": (b"GET / HTTP/1.1\r\nHost: a\rb", "head-malformed"),
    "CR and CR": (b"GET / HTTP/1.1\r\nHost: a\r\r", "head-malformed"),
    "NUL in the method": (b"G\0", "head-malformed"),
    "NUL in the target": (b"GET /\0", "head-malformed"),
    "NUL in a name": (b"GET / HTTP/1.1\r\nX\0", "head-malformed"),
    "NUL in a value": (b"GET / HTTP/1.1\r\nX: \0", "head-malformed"),
    "DEL in a value": (b"GET / HTTP/1.1\r\nX: \x7f", "head-malformed"),
    "TLS": (b"\x16", "head-malformed"),
    "HTTP/2 in binary": (b"\0", "head-malformed"),
    "SSH": (b"SSH-2.0-x\r", "head-malformed"),
    "space before the method": (b" ", "head-malformed"),
    "two spaces": (b"GET  ", "head-malformed"),
    "raw UTF-8": (b"GET /\xc3", "head-malformed"),
    "fragment": (b"GET /#", "head-malformed"),
    "HTTP/0.9": (b"GET /\r", "head-malformed"),
    "no version": (b"GET / \r", "head-malformed"),
    "lower-case version": (b"GET / h", "head-malformed"),
    "version of two digits": (b"GET / HTTP/11", "head-malformed"),
    "space at the end": (b"GET / HTTP/1.1 ", "head-malformed"),
    "HTTP/3.0": (b"GET / HTTP/3.0\r\n", "version-unsupported"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n", "version-unsupported"),
    "target without a slash": (b"GET x HTTP/1.1\r\n", "target-invalid"),
    "asterisk without OPTIONS": (b"GET * HTTP/1.1\r\n", "target-invalid"),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\n", "method-unsupported"),
    "method of 129 characters": (b"G" * 129, "method-unsupported"),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost ", "head-malformed"),
    "empty name": (b"GET / HTTP/1.1\r\n:", "head-malformed"),
    "no colon": (b"GET / HTTP/1.1\r\nHost\r", "head-malformed"),
    "folded line": (b"GET / HTTP/1.1\r\nX: a\r\n ", "head-malformed"),
    "name with obs-text": (b"GET / HTTP/1.1\r\nX\xe9", "head-malformed"),
    "Host twice": (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: a\r\n", "field-repeated"),
    "Content-Type twice": (b"GET / HTTP/1.1\r\nContent-Type: a\r\nContent-Type: a\r\n", "field-repeated"),
    "Host that is none": (b"GET / HTTP/1.1\r\nHost: a/b\r\n", "host-invalid"),
    "Host that is empty": (b"GET / HTTP/1.1\r\nHost:\r\n", "host-invalid"),
    "too many fields": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1), "headers-too-large"),
}


@pytest.mark.parametrize("name", REFUSED_BEGINNINGS)
def test_a_head_is_refused_at_its_first_wrong_byte(name: str) -> None:
    data, refused = REFUSED_BEGINNINGS[name]
    assert outcome(data) == refused
    assert outcome(data[:-1]) == "incomplete", "without the last byte it could still become valid"
    assert bytewise_outcome(data) == refused
    assert outcome(data + b"\r\n\r\n") == refused, "the complete head has the same refusal"
    assert outcome(data + b"X : y\r\n\0\r\n\r\n") == refused, "a later error does not change it"
    assert outcome(data + b"x" * MAX_HEAD) == refused


@pytest.mark.parametrize(
    "beginning", ["GET /", "GET / HTTP/1.1\r\nX: ", "GET / HTTP/1.1\r\nX", f"GET / HTTP/1.1\r\n{H}Y: "]
)
@pytest.mark.parametrize("flaw", ["\0", "\n", "\x7f"])
def test_a_wrong_byte_in_a_head_is_found_at_any_split(beginning: str, flaw: str) -> None:
    """At most the last three of the earlier bytes are checked again."""
    data = beginning.encode() + b"y" * 9 + flaw.encode()
    for cut in range(1, len(data)):
        assert find_end(data[:cut]) == 0
        with pytest.raises(Refusal, match="head-malformed"):
            find_end(data, max(0, cut - 3))


@pytest.mark.parametrize("checked", [b"\r\n\r\n", b"\n", b"\0", b"\rx"])
def test_a_slow_head_is_not_searched_from_its_start_for_each_piece(checked: bytes) -> None:
    """The bytes before `start` would have an effect if they were checked again."""
    data = f"GET / HTTP/1.1\r\n{H}X: ".encode() + checked
    assert outcome(data) != "incomplete"
    for length in range(1, 100):
        assert find_end(data + b"y" * length, len(data)) == 0


def test_a_cached_field_section_does_not_skip_the_check_of_the_request_line() -> None:
    outcome(f"GET / HTTP/1.1\r\n{H}\r\n".encode())
    assert outcome(f"GET  / HTTP/1.1\r\n{H}\r\n".encode()) == "head-malformed"
    assert outcome(f"GET / HTTP/2.0\r\n{H}\r\n".encode()) == "version-unsupported"
    outcome(b"GET / HTTP/1.0\r\nX: y\r\n\r\n")
    assert outcome(b"GET / HTTP/1.1\r\nX: y\r\n\r\n") == "host-missing"
