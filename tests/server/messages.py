"""Requests and chunked bodies for hypothesis: every form that the grammar allows, and forms with flaws."""

from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~09AZaz"
EXTENSIONS = [b"", b"", b"", b";x", b"; xyz=q", b';x = "y z"', b';x="\\"";yz', b';x="\xff"']
SPACED = [b" ;x", b' ;\tx = "y z"\t;yz']  # valid, but not supported by h11
CONNECTION = ["Connection: close", "Connection: keep-alive", "connection: x, Close"]


class Coded(NamedTuple):
    """A chunked body. `framing` is true for each byte that is neither payload nor part of a size."""

    data: bytes
    payload: bytes
    trailers: dict[str, str]
    framing: list[bool]


tokens = st.text(TOKEN_CHARACTERS, min_size=1, max_size=8)
values = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"], exclude_characters="\x7f"), max_size=12)


@st.composite
def coded(
    draw: st.DrawFn,
    payloads: st.SearchStrategy[bytes] = st.binary(min_size=1, max_size=40),  # noqa: B008 - a description
    extensions: list[bytes] = EXTENSIONS + SPACED,
) -> Coded:
    """A chunked body of any sizes and spellings, with extensions and trailers."""
    chunks = draw(st.lists(payloads, max_size=6))
    parts: list[tuple[bytes, bool]] = []
    for chunk in [*chunks, b""]:
        spelled = b"%x" % len(chunk) if draw(st.booleans()) else b"%X" % len(chunk)
        parts.append((b"0" * draw(st.integers(0, 4)) + spelled, False))
        parts.append((draw(st.sampled_from(extensions)) + b"\r\n", True))
        parts += [(chunk, False), (b"\r\n", True)] if chunk else []
    trailers = draw(st.dictionaries(st.sampled_from(["x", "y-z", "Digest"]), values, max_size=3))
    lines = "".join(f"{name}:{value}\r\n" for name, value in trailers.items())
    parts.append((lines.encode("latin-1") + b"\r\n", True))
    return Coded(
        b"".join(data for data, _ in parts),
        b"".join(chunks),
        {name.lower(): value.strip(" \t") for name, value in trailers.items()},
        [is_framing for data, is_framing in parts for _ in data],
    )


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    """Split data at these positions."""
    edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@st.composite
def flawed(draw: st.DrawFn, data: bytes, positions: list[int] | None = None, flaws: bytes | None = None) -> bytes:
    """Insert, replace or remove one to three bytes."""
    for _ in range(draw(st.integers(1, 3)) if positions is None else 1):
        position = (
            draw(st.sampled_from(positions)) if positions is not None else draw(st.integers(0, max(0, len(data) - 1)))
        )
        flaw = draw(st.sampled_from(flaws)) if flaws is not None else draw(st.integers(0, 255))
        operation = draw(st.sampled_from(["insert", "replace", "remove"]))
        new = b"" if operation == "remove" else bytes([flaw])
        data = data[:position] + new + data[position + (operation != "insert") :]
    return data


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is valid by the grammar: any method, target, fields and framing."""
    target = draw(st.text("abz/?&=%~!$'()*+,;:@-._[]{}|\\^`\"<>09", max_size=20))
    method = draw(st.one_of(st.sampled_from(["GET", "POST", "PUT"]), tokens))
    minor = draw(st.sampled_from([1, 1, 1, 0]))
    lines = [f"{method} /{target} HTTP/1.{minor}", "Host: h"]
    spaces = st.sampled_from(["", " ", "  ", "\t"])
    for name, value in draw(st.lists(st.tuples(tokens, values), max_size=4)):
        lines.append(f"{name}:{draw(spaces)}{value}{draw(spaces)}")
    lines += draw(st.lists(st.sampled_from(CONNECTION), max_size=1))
    kind = draw(st.sampled_from(["none", "length", "chunked"] if minor else ["none", "length"]))
    body = b""
    if kind == "length":
        body = draw(st.binary(max_size=50))
        lines.append(f"Content-Length: {len(body):0{draw(st.integers(1, 4))}}")
    elif kind == "chunked":
        body = draw(coded(extensions=EXTENSIONS)).data
        lines.append(draw(st.sampled_from(["Transfer-Encoding: chunked", "TRANSFER-encoding:\tCHUNKED "])))
    order = draw(st.permutations(lines[1:]))
    return "\r\n".join([lines[0], *order, "", ""]).encode("latin-1") + body
