"""The chunked coding (RFC 9112, section 7.1), fed in one piece, byte by byte and at every split."""

import random
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.messages import Coded, coded, cut, flawed
from wsgiserver.errors import Refusal
from wsgiserver.http1.chunked import MAX_OVERHEAD, MAX_SIZE_LINE, MAX_TRAILER, ChunkedDecoder, ChunkState


class Body(NamedTuple):
    payload: bytes
    rest: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()


def outcome(pieces: Iterable[bytes]) -> Body | str:
    """Feed a decoder piece by piece; the data after its end is the rest."""
    decoder = ChunkedDecoder()
    payload, rest = b"", b""
    try:
        for piece in pieces:
            if decoder.state is ChunkState.END:
                rest += piece
            else:
                payload += b"".join(decoder.feed(piece))
    except Refusal as refusal:
        return refusal.name
    if decoder.state is not ChunkState.END:
        return "incomplete"
    return Body(payload, decoder.rest + rest, tuple(decoder.trailers.items()))


def check(data: bytes, expected: Body | str) -> None:
    assert outcome([data]) == expected
    assert outcome(data[n : n + 1] for n in range(len(data))) == expected
    for split in range(len(data)):
        assert outcome([data[:split], data[split:]]) == expected, split


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"0\r\n\r\n", Body(b"")),
        (b"000\r\n\r\n", Body(b"")),
        (b"5\r\nhello\r\n0\r\n\r\n", Body(b"hello")),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", Body(b"hello world")),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", Body(b"0123456789" * 2)),
        (b"0000000000000005\r\nhello\r\n0\r\n\r\n", Body(b"hello")),
        (b"2\r\n\r\n\r\n0\r\n\r\n", Body(b"\r\n")),
        (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", Body(b"0\r\n\r\n")),
        (b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n", Body(b"x", b"GET / HTTP/1.1\r\n")),
        (b"0\r\n\r\n\r\n", Body(b"", b"\r\n")),
        # extensions
        (b"1;a\r\nx\r\n0;b\r\n\r\n", Body(b"x")),
        (b"1;a=b\r\nx\r\n0\r\n\r\n", Body(b"x")),
        (b"1;a=b;c=d;e\r\nx\r\n0\r\n\r\n", Body(b"x")),
        (b"1 ; a = b \t;c\r\nx\r\n0\r\n\r\n", Body(b"x")),
        (b'1;a="b;c"\r\nx\r\n0\r\n\r\n', Body(b"x")),
        (b'1;a="\\"\\\\ \t~"\r\nx\r\n0\r\n\r\n', Body(b"x")),
        (b'1;a=""\r\nx\r\n0\r\n\r\n', Body(b"x")),
        # trailers
        (b"0\r\nX: y\r\n\r\n", Body(b"", b"", (("x", "y"),))),
        (b"0\r\nX: y\r\nZ:\r\n\r\nrest", Body(b"", b"rest", (("x", "y"), ("z", "")))),
        (b"0\r\nA: 1\r\nA: 2\r\n\r\n", Body(b"", b"", (("a", "1, 2"),))),
        # cut off
        (b"", "incomplete"),
        (b"5", "incomplete"),
        (b"5\r\nhell", "incomplete"),
        (b"5\r\nhello", "incomplete"),
        (b"5\r\nhello\r", "incomplete"),
        (b"5\r\nhello\r\n", "incomplete"),
        (b"5\r\nhello\r\n0\r\n", "incomplete"),
        (b"5\r\nhello\r\n0\r\n\r", "incomplete"),
        (b"0\r\nX: y\r\n", "incomplete"),
        # sizes
        (b"\r\n", "chunk-size-invalid"),
        (b"\r\nhello", "chunk-size-invalid"),
        (b"g\r\n", "chunk-size-invalid"),
        (b"+5\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"-5\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"0x5\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5_0\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b" 5\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5 \r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5\x00\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"\xb2\r\nhi\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"00000000000000005\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        # bare CR and LF
        (b"5\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5\r\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5;a\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5;a=\rb\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5\r\nhello\n0\r\n\r\n", "chunk-end-invalid"),
        (b"5\r\nhello\r0\r\n\r\n", "chunk-end-invalid"),
        (b"5\r\nhello0\r\n\r\n", "chunk-end-invalid"),
        (b"4\r\nhello\r\n0\r\n\r\n", "chunk-end-invalid"),
        (b"6\r\nhello\r\n0\r\n\r\n", "chunk-end-invalid"),
        # invalid extensions
        (b"5;\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5;a=\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5;=b\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5;a b\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b'5;a="\r\nhello\r\n0\r\n\r\n', "chunk-size-invalid"),
        (b'5;a="\n"\r\nhello\r\n0\r\n\r\n', "chunk-size-invalid"),
        (b"5 a\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        # CPython 3.11.0 to 3.11.4 accept the first if a group is possessive (gh-106052, gh-100061)
        (b"5; \r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5 ;\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5;a;\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b'5;a="b\r\nhello\r\n0\r\n\r\n', "chunk-size-invalid"),
        (b'5;a="\\\r\nhello\r\n0\r\n\r\n', "chunk-size-invalid"),
        (b'5;a="b"c\r\nhello\r\n0\r\n\r\n', "chunk-size-invalid"),
        (b"5;a=b;\r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        (b"5;a=b \r\nhello\r\n0\r\n\r\n", "chunk-size-invalid"),
        # invalid trailers
        (b"0\r\nX : y\r\n\r\n", "trailer-invalid"),
        (b"0\r\nX: y\r\n z\r\n\r\n", "trailer-invalid"),
        (b"0\r\nX: y\nZ: a\r\n\r\n", "trailer-invalid"),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", "trailer-invalid"),
        (b"0\r\nX: \x00\r\n\r\n", "trailer-invalid"),
        (b"0\r\n\n\r\n\r\n", "trailer-invalid"),
    ],
)
def test_a_chunked_body_is_decoded_or_refused_by_name(data: bytes, expected: Body | str) -> None:
    check(data, expected)


# Beginnings of bodies, up to the byte after which no continuation is valid.
REFUSED_BEGINNINGS = [
    (b"z", "chunk-size-invalid"),
    (b"\r", "chunk-size-invalid"),
    (b"\n", "chunk-size-invalid"),
    (b"\0", "chunk-size-invalid"),
    (b" ", "chunk-size-invalid"),
    (b";", "chunk-size-invalid"),
    (b"5\n", "chunk-size-invalid"),
    (b"5\0", "chunk-size-invalid"),
    (b"5\r5", "chunk-size-invalid"),
    (b"5 x", "chunk-size-invalid"),
    (b"5 \r", "chunk-size-invalid"),
    (b"0x", "chunk-size-invalid"),
    (b"0" * 17, "chunk-size-invalid"),
    (b"5;\r", "chunk-size-invalid"),
    (b"5; ;", "chunk-size-invalid"),
    (b"5;a=\r", "chunk-size-invalid"),
    (b"5;a b", "chunk-size-invalid"),
    (b"5;a\n", "chunk-size-invalid"),
    (b'5;a="\n', "chunk-size-invalid"),
    (b'5;a="b"c', "chunk-size-invalid"),
    (b'5;a="\\\0', "chunk-size-invalid"),
    (b"1\r\nxy", "chunk-end-invalid"),
    (b"1\r\nx\ry", "chunk-end-invalid"),
    (b"0\r\n\n", "trailer-invalid"),
    (b"0\r\n\rx", "trailer-invalid"),
    (b"0\r\n\0", "trailer-invalid"),
    (b"0\r\n ", "trailer-invalid"),
    (b"0\r\n:", "trailer-invalid"),
    (b"0\r\nX ", "trailer-invalid"),
    (b"0\r\nX\r", "trailer-invalid"),
    (b"0\r\nGET ", "trailer-invalid"),
    (b"0\r\nX: y\n", "trailer-invalid"),
    (b"0\r\nX: y\0", "trailer-invalid"),
    (b"0\r\nX: y\r\n\n", "trailer-invalid"),
    (b"0\r\nX: y\r\n z", "trailer-invalid"),
    (b"0\r\nHost: a\r\n", "trailer-invalid"),
    (b"0\r\nX: y\r\ncontent-length: 1\r\n", "trailer-invalid"),
    (b"0\r\n" + b"X: y\r\n" * 101, "headers-too-large"),
    (b"0\r\n" + b"Range: y\r\n" * 2, "field-repeated"),
]


@pytest.mark.parametrize(("data", "refused"), REFUSED_BEGINNINGS)
def test_a_chunked_body_is_refused_at_its_first_wrong_byte(data: bytes, refused: str) -> None:
    check(data, refused)
    check(data + b"\r\n\r\n", refused)
    if not data.endswith(b"\n z"):
        assert outcome([data[:-1]]) == "incomplete", "without the last byte it could still become valid"


@given(st.data(), st.lists(st.integers(0, 2000), max_size=6))
def test_no_beginning_of_a_valid_chunked_body_is_refused(data: st.DataObject, positions: list[int]) -> None:
    """Every beginning of a valid body is accepted, in any pieces."""
    body = data.draw(coded())
    size = data.draw(st.integers(0, len(body.data) - 1))
    assert outcome(cut(body.data[:size], positions)) == "incomplete"


def test_a_chunk_size_line_is_accepted_up_to_its_limit() -> None:
    def body(line: int) -> bytes:
        return b"1;" + b"a" * (line - 4) + b"\r\nx\r\n0\r\n\r\n"

    check(body(MAX_SIZE_LINE), Body(b"x"))
    check(body(MAX_SIZE_LINE + 1), "chunk-size-invalid")
    assert outcome([b"1;" + b"a" * MAX_SIZE_LINE]) == "chunk-size-invalid"  # refused before its end


def test_trailers_are_accepted_up_to_their_limit() -> None:
    def body(size: int) -> bytes:
        return b"0\r\nX: " + b"y" * (size - 7) + b"\r\n\r\n"

    assert outcome([body(MAX_TRAILER)]) == Body(b"", b"", (("x", "y" * (MAX_TRAILER - 7)),))
    assert outcome([body(MAX_TRAILER)[:-1], b"\n"]) == Body(b"", b"", (("x", "y" * (MAX_TRAILER - 7)),))
    assert outcome([body(MAX_TRAILER + 1)]) == "trailer-too-large"
    assert outcome([body(MAX_TRAILER + 1)[:-1]]) == "trailer-too-large"
    assert outcome([b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n"]) == "headers-too-large"  # one more than the limit of fields


def test_chunks_of_one_byte_are_accepted() -> None:
    assert outcome([b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"]) == Body(b"x" * 50_000)


def small_chunks(chance: random.Random, count: int) -> tuple[bytes, bytes]:
    """Return small chunks, coded and decoded. Many are alike, and their data can look like framing."""
    coded, payload, size = b"", b"", 1
    for _ in range(count):
        size = size if chance.random() < 0.9 else chance.choice([1, 2, 3, 7, 16, 31, 32, 33, 40])
        piece = b"".join(chance.choice([b"x", b"x", b"x", b"\r", b"\n", b"1"]) for _ in range(size))
        spelled = (b"%x" if chance.random() < 0.9 else b"%X") % size
        line = spelled.zfill(chance.choice([1, 1, 1, 1, 2, 8, 9, 16])) + chance.choice([b""] * 99 + [b";a"])
        coded += line + b"\r\n" + piece + b"\r\n"
        payload += piece
    return coded + b"0\r\n\r\n", payload


@pytest.mark.parametrize("seed", range(20))
def test_small_chunks_are_decoded_identically_together_and_byte_by_byte(seed: int) -> None:
    chance = random.Random(seed)
    coded, payload = small_chunks(chance, 1500)
    positions = [chance.randrange(len(coded)) for _ in range(chance.randrange(30))]
    assert outcome(cut(coded + b"rest", positions)) == Body(payload, b"rest")
    flaw = chance.randrange(len(coded))
    broken = coded[:flaw] + chance.choice([b"", b"y", b"\r"]) + coded[flaw + 1 :]
    assert outcome(cut(broken, positions)) == outcome(broken[n : n + 1] for n in range(len(broken)))


def test_small_chunks_are_returned_together() -> None:
    """One piece per chunk would be expensive to store."""
    assert len(ChunkedDecoder().feed(b"1\r\nx\r\n" * 10_000)) < 100


def test_chunk_data_that_looks_like_framing_is_data() -> None:
    assert outcome([b"2\r\n\r\n\r\n" * 1000 + b"0\r\n\r\n"]) == Body(b"\r\n" * 1000)


def test_extensions_of_tiny_chunks_count_as_overhead() -> None:
    """Extensions of one-byte chunks only cause work. With enough payload, the number of chunks is not limited."""
    assert outcome([b"1;a\r\nx\r\n" * 300 + b"0\r\n\r\n"]) == Body(b"x" * 300)
    assert outcome([b"1;a\r\nx\r\n" * 400]) == "chunk-overhead-too-large"
    chunk = b"40;a=b\r\n" + b"x" * 64 + b"\r\n"
    assert outcome([chunk * 5000 + b"0\r\n\r\n"]) == Body(b"x" * 64 * 5000)


def test_a_body_of_mostly_framing_is_refused() -> None:
    chunk = b"1;" + b"a" * 500 + b"\r\nx\r\n"
    enough = MAX_OVERHEAD // 400
    assert outcome([chunk * 10 + b"0\r\n\r\n"]) == Body(b"x" * 10)
    assert outcome([chunk * enough]) == "chunk-overhead-too-large"
    assert outcome(chunk for _ in range(enough)) == "chunk-overhead-too-large"


def test_extensions_beside_large_chunks_are_accepted() -> None:
    """Extensions of large chunks are no attack, whatever the number of chunks."""
    chunk = b"200;" + b"a" * 500 + b"\r\n" + b"x" * 512 + b"\r\n"
    assert outcome([chunk * 500 + b"0\r\n\r\n"]) == Body(b"x" * 512 * 500)


def test_the_decoder_returns_data_before_the_chunk_is_complete() -> None:
    decoder = ChunkedDecoder()
    assert b"".join(decoder.feed(b"a\r\n01234")) == b"01234"
    assert b"".join(decoder.feed(b"56789\r")) == b"56789"
    assert decoder.rest == b"\r"


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=50), max_size=20),
    rest=st.binary(max_size=20),
    seed=st.integers(0, 2**32),
)
def test_an_encoded_body_is_decoded_to_its_pieces(pieces: list[bytes], rest: bytes, seed: int) -> None:
    chance = random.Random(seed)
    coded = b"".join(b"%x%s\r\n%b\r\n" % (len(p), chance.choice([b"", b";a", b';b="c"']), p) for p in pieces)
    coded += b"0\r\n" + chance.choice([b"", b"T: v\r\n"]) + b"\r\n"
    data = coded + rest
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(8)))
    fed = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    trailers = (("t", "v"),) if b"T: v" in coded[-11:] else ()
    assert outcome(fed) == Body(b"".join(pieces), rest, trailers)


@given(data=st.text('0123456789abfF;="\r\n\r\n gx:', max_size=60).map(str.encode), cut=st.integers(0, 60))
def test_a_chunked_body_is_decoded_identically_at_any_split(data: bytes, cut: int) -> None:
    assert outcome([data[:cut], data[cut:]]) == outcome([data])


@given(coded(), st.binary(max_size=10), st.lists(st.integers(0, 2000), max_size=6))
def test_any_valid_spelling_in_any_pieces_is_decoded_to_the_payload(
    body: Coded, rest: bytes, positions: list[int]
) -> None:
    expected = Body(body.payload, rest, tuple(body.trailers.items()))
    assert outcome(cut(body.data + rest, positions)) == expected


@given(st.data(), st.lists(st.integers(0, 2000), max_size=6))
def test_a_flawed_chunked_body_is_read_identically_in_any_pieces(data: st.DataObject, positions: list[int]) -> None:
    flaw = data.draw(flawed(data.draw(coded()).data))
    assert outcome(cut(flaw, positions)) == outcome([flaw])


@given(st.data())
def test_a_flaw_in_the_framing_is_refused_or_leaves_the_payload_unchanged(data: st.DataObject) -> None:
    """The flaws spare the sizes, which can be wrong and still add up. They add no digit, and no payload has one."""
    body = data.draw(coded(st.text("\r\nxyz", min_size=1, max_size=9).map(str.encode)))
    positions = [position for position, is_framing in enumerate(body.framing) if is_framing]
    flaw = data.draw(flawed(body.data, positions, b'\r\n\0 \t;="\\x:\x7f\xff,+-'))
    result = outcome([flaw])
    assert isinstance(result, str) or result.payload == body.payload, flaw
