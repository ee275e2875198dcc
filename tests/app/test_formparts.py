"""Multipart forms as bytes, in pieces of any size: the parser returns every part or refuses the form."""

import base64
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photos.errors import Problem
from photos.formparts import Reader

# (field name, file name or None, content) of each part.
Parts = list[tuple[str, str | None, bytes]]


def read_in(size: int, body: bytes) -> Callable[[int], bytes]:
    """Return a reader that returns `size` bytes at a time, whatever the caller requests."""
    source = BytesIO(body)
    return lambda most: source.read(min(size, most))


def parts_of(body: bytes, size: int = 1 << 20) -> Parts:
    reader = Reader(read_in(size, body), b"b")
    return [(part.name, part.filename, b"".join(content)) for part, content in reader]


def outcome(body: bytes, size: int) -> tuple[Parts | str, str]:
    try:
        return parts_of(body, size), ""
    except Problem as problem:
        return problem.code, str(problem)


def check(body: bytes, expected: Parts | str, mentions: str = "") -> None:
    """Check that the parts or the name of the error do not depend on the size of the pieces."""
    for size in (1, 2, 3, 7, 1 << 20):
        found, message = outcome(body, size)
        assert found == expected, size
        assert mentions in message


def part(disposition: bytes, content: bytes = b"\xff\xd8", *fields: bytes) -> bytes:
    return b"\r\n".join([b"Content-Disposition: " + disposition, *fields, b"", content])


def form(*parts: bytes) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


# Parameters after `form-data;` -> field name and file name.
NAMES = {
    b'name="file"; filename="a.jpg"': ("file", "a.jpg"),
    b'name="file"; filename=""': ("file", ""),
    b'name="file"; filename=" "': ("file", " "),
    b'name="file"; filename="."': ("file", "."),
    b'name="file"; filename=".."': ("file", ".."),
    b'name="file"; filename="/"': ("file", "/"),
    b'name="file"; filename="\xe2\x80\x8b"': ("file", "\u200b"),
    b'name="file"; filename': ("file", None),
    b'name="file"': ("file", None),
    b'filename="a.jpg"': ("", "a.jpg"),
    b'name=""; filename="a.jpg"': ("", "a.jpg"),
    b'name="file[]"; filename="a.jpg"': ("file[]", "a.jpg"),
    b'name="File"; filename="a.jpg"': ("File", "a.jpg"),
    b'NAME="file"; FileName="a.jpg"': ("file", "a.jpg"),
    b'filename="a.jpg"; name="file"': ("file", "a.jpg"),
    b"name=file; filename=a.jpg": ("file", "a.jpg"),
    b"name=file;filename=a b.jpg": ("file", "a b.jpg"),
    b"name='file'; filename='a.jpg'": ("file", "a.jpg"),
    b'name="file" ; filename = "a.jpg"': ("file", "a.jpg"),
    b'name="file"; filename="a;b=c.jpg"': ("file", "a;b=c.jpg"),
    b'name="file"; filename="a\\"b.jpg"': ("file", 'a"b.jpg'),
    b'name="file"; filename="a"b.jpg"': ("file", 'a"b.jpg'),
    b'name="file"; filename="C:\\pictures\\cat.jpg"': ("file", "C:\\pictures\\cat.jpg"),
    b'name="file"; filename="caf\xe9.jpg"': ("file", "caf_.jpg"),
    b'name="file"; filename="\x8e\x90\x5e.jpg"': ("file", "__^.jpg"),
    b'name="file"; filename="\x95\x5c"': ("file", "_\\"),
    b'filename="\x95\x5c"; name="file"': ("file", "_\\"),
    b'name="file"; filename="\xd5\xd5\xc6\xac.jpg"': ("file", "__Ƭ.jpg"),  # GBK; two of its bytes are a letter in UTF-8
    b"name=\"file\"; filename*=UTF-8''na%C3%AFve.jpg": ("file", "naïve.jpg"),
    b'name="file"; filename="x.jpg"; filename*=utf-8\'en\'na%C3%AFve.jpg': ("file", "naïve.jpg"),
    b"name=\"file\"; filename*=iso-8859-1''caf%E9.jpg": ("file", "café.jpg"),
    b"name=\"file\"; filename*=klingon''x.jpg": ("file", ""),
    b'name="file"; filename="x.jpg"; filename*=nonsense': ("file", "x.jpg"),
    b'name="file"; filename*0="a"; filename*1=".jpg"': ("file", ""),
    b'name="file"; filename="a.jpg"; filename="b.jpg"': ("file", "a.jpg"),
    b'name="file; filename="a.jpg"': ('file; filename="a.jpg', ""),
    b'name="file" filename="a.jpg"': ('file" filename="a.jpg', ""),
    b'name="f"; ' + b"a=b; " * 20 + b'filename="a.jpg"': ("f", ""),
}


@pytest.mark.parametrize("parameters", NAMES)
def test_a_part_is_found_whatever_its_parameters(parameters: bytes) -> None:
    name, filename = NAMES[parameters]
    check(form(part(b"form-data; " + parameters)), [(name, filename, b"\xff\xd8")])


A = part(b'form-data; name="file"; filename="a.jpg"')
ONE: Parts = [("file", "a.jpg", b"\xff\xd8")]

TAKEN: dict[str, tuple[bytes, Parts]] = {
    "two files": (form(A, A), ONE * 2),
    "no part at all": (b"--b--\r\n", []),
    "no line break at the end": (form(A)[:-2], ONE),
    "an empty file": (form(part(b'form-data; name="f"; filename="a"', b"")), [("f", "a", b"")]),
    "line breaks in the content": (
        form(part(b'form-data; name="f"; filename="a"', b"\r\n\r\n-\r\n--\r\n")),
        [("f", "a", b"\r\n\r\n-\r\n--\r\n")],
    ),
    "nearly a boundary in it": (
        form(part(b'form-data; name="f"; filename="a"', b"\r\n--a\n--b\r--b")),
        [("f", "a", b"\r\n--a\n--b\r--b")],
    ),
    "a boundary without a head behind it": (
        form(part(b'form-data; name="f"; filename="a"', b"x--b\r\n\r\ny\n--b\nz --b\r\nno field\r\n:")),
        [("f", "a", b"x--b\r\n\r\ny\n--b\nz --b\r\nno field\r\n:")],
    ),
    "spaces behind the boundary": (b"--b \t\r\n" + A + b"\r\n--b--", ONE),
    "an empty line first": (b"\r\n" + form(A), ONE),
    "text first": (b"This is a message in MIME format.\r\n" + form(A), ONE),
    "text behind": (form(A) + b"\r\nThat was it.\r\n", ONE),
    "a head in capitals": (
        form(A.upper().replace(b"FORM", b"form").replace(b"A.JPG", b"a.jpg")),
        [("FILE", *ONE[0][1:])],
    ),
    "a folded head": (form(A.replace(b"; filename", b";\r\n\tfilename")), ONE),
    "other fields": (
        form(part(b'form-data; name="file"; filename="a.jpg"', b"\xff\xd8", b"Content-ID: <1>", b"X: ")),
        ONE,
    ),
    "a true length": (form(part(b'form-data; name="file"; filename="a.jpg"', b"\xff\xd8", b"Content-Length: 2")), ONE),
    "a length that is none": (
        form(part(b'form-data; name="file"; filename="a.jpg"', b"\xff\xd8", b"Content-Length: x")),
        ONE,
    ),
    "binary": (
        form(part(b'form-data; name="file"; filename="a.jpg"', b"\xff\xd8", b"Content-Transfer-Encoding: BINARY")),
        ONE,
    ),
    "base64": (
        form(part(b'form-data; name="file"; filename="a.jpg"', b"/9\r\ng=\r\n", b"Content-Transfer-Encoding: base64")),
        ONE,
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_valid_form_is_parsed_into_its_parts(case: str) -> None:
    check(*TAKEN[case])


def encoded(content: bytes, how: bytes = b"base64") -> bytes:
    return form(A, part(b'form-data; name="f"; filename="b.jpg"', content, b"Content-Transfer-Encoding: " + how))


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "no-file", "boundary"),
    "another boundary": (form(A).replace(b"--b", b"--c"), "bad-request", "before the first boundary"),
    "the first boundary damaged": (b"-" + form(A, A)[2:], "bad-request", "before the first boundary"),
    "no last boundary": (form(A, A)[:-9], "body-incomplete", "part 2 of the form (a.jpg)"),
    "the last boundary cut": (form(A)[:-3], "body-incomplete", "part 1 of the form (a.jpg)"),
    "cut inside a head": (form(A)[:-4] + b"\r\nContent-Disposition: form-da", "body-incomplete", "headers of part 2"),
    "cut behind a boundary": (form(A)[:-4] + b"\r\n", "body-incomplete", "headers of part 2"),
    "more behind the last boundary": (form(A) + form(A), "bad-request", "after the last boundary"),
    "content behind the last boundary": (form(A) + b"\xff\xd8", "bad-request", "after the last boundary"),
    "no head": (form(A, b"\r\n\xff\xd8"), "bad-request", "Part 2"),
    "no Content-Disposition": (form(A, b"Content-Type: image/jpeg\r\n\r\n\xff\xd8"), "bad-request", "Part 2"),
    "no empty line behind the head": (
        form(A, b"Content-Disposition: form-data; name=x"),
        "body-incomplete",
        "headers of part 2",
    ),
    "a line without a colon": (form(A, part(b"form-data; name=x", b"y", b"nonsense")), "bad-request", "part 2"),
    "NUL in a head": (form(A, part(b'form-data; name="x\0"')), "bad-request", "part 2"),
    "neither name nor filename": (form(A, part(b"form-data")), "bad-request", "Part 2"),
    "Content-Disposition twice": (
        form(A, part(b"form-data; name=x", b"y", b"Content-disposition: form-data; name=y")),
        "bad-request",
        "Part 2",
    ),
    "a form in a form": (
        form(A, part(b'form-data; name="x"', b"y", b"Content-Type: multipart/mixed; boundary=c")),
        "bad-request",
        "part 2",
    ),
    "a wrong length": (
        form(A, part(b'form-data; name="x"; filename="b"', b"y", b"Content-Length: 2")),
        "body-incomplete",
        "part 2",
    ),
    "quoted-printable": (encoded(b"=FF=D8", b"quoted-printable"), "bad-request", "part 2 of the form (b.jpg)"),
    "base64 with other letters": (encoded(b"/9g*"), "bad-request", "part 2"),
    "base64 cut": (encoded(b"/9g"), "bad-request", "part 2"),
    "base64 with more behind its end": (encoded(b"/9g=/9g="), "bad-request", "part 2"),
    "lines that end with LF": (form(A).replace(b"\r", b""), "bad-request", "CR and LF"),
    "a boundary behind LF": (b"--b\r\n" + A + b"\n" + form(A), "bad-request", "inside part 1 of the form (a.jpg)"),
    "a boundary behind CR": (b"--b\r\n" + A + b"\r" + form(A), "bad-request", "inside part 1"),
    "a boundary behind content": (b"--b\r\n" + A + form(A), "bad-request", "inside part 1"),
    "a boundary between LFs": (b"--b\r\n" + A + b"\n--b\n" + A + b"\r\n--b--", "bad-request", "inside part 1"),
    "a boundary behind LF, then a type": (
        b"--b\r\n" + A + b"\n--b \r\nContent-Type: image/jpeg\r\n" + A + b"\r\n--b--",
        "bad-request",
        "inside part 1",
    ),
    "a damaged boundary": (
        form(A, A, A).replace(b"\r\n--b\r\n", b"\r\n-b\r\n"),
        "bad-request",
        "inside part 1 of the form (a.jpg)",
    ),
    "a boundary and a head damaged": (
        form(A, A, A).replace(b"\r\n--b\r\nContent-D", b"\r\n--"),
        "bad-request",
        "inside part 1 of the form (a.jpg)",
    ),
    "another boundary before one part": (
        b"--b\r\n"
        + A
        + b"\r\n"
        + form(A.replace(b"Content-Disposition: ", b"content-disposition:"))[:-8].replace(b"--b", b"--c")
        + form(A),
        "bad-request",
        "inside part 1 of the form (a.jpg)",
    ),
    "a boundary inside a field": (b"--b\r\n" + part(b"form-data; name=x", b"y") + form(A), "bad-request", "part 1"),
    "a part before the first boundary": (part(b"form-data; filename=x", b"y\r\n") + form(A), "bad-request", "before"),
    "a part behind the last boundary": (
        form(A) + part(b"form-data; filename=x", b"y"),
        "bad-request",
        "after the last boundary",
    ),
    "a longer boundary": (form(A).replace(b"--b--", b"--bc\r\n\r\n\r\n--b--"), "bad-request", "part 2"),
    "a head without end": (b"--b\r\nX: " + b"x" * 40_000, "bad-request", "too long"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_form_is_refused(case: str) -> None:
    check(*REFUSED[case])


@given(
    st.lists(st.tuples(st.text("ab", min_size=1), st.binary() | st.text("\r\n-b").map(str.encode))),
    st.integers(1, 100),
)
def test_files_in_a_form_are_parsed_unchanged(files: list[tuple[str, bytes]], size: int) -> None:
    files = [(name, content) for name, content in files if b"\r\n--b" not in b"\r\n" + content + b"\r\n"]
    body = form(*(part(f'form-data; name="f"; filename="{name}"'.encode(), content) for name, content in files))
    assert parts_of(body, size) == [("f", name, content) for name, content in files]


@given(st.binary(max_size=300), st.integers(1, 100))
def test_a_base64_part_is_decoded_in_pieces_of_any_size(content: bytes, size: int) -> None:
    body = form(
        part(b'form-data; name="f"; filename="a"', base64.encodebytes(content), b"Content-Transfer-Encoding: base64")
    )
    assert parts_of(body, size) == [("f", "a", content)]


@given(st.integers(0, 200))
def test_a_form_truncated_anywhere_is_refused(length: int) -> None:
    whole = form(A, A)
    cut = whole[: length % (len(whole) - 2)]  # except for the last line break, which is optional
    with pytest.raises(Problem):
        parts_of(cut)
