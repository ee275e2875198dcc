"""What a client sends, made up by libFuzzer from what it has seen the code do with it (atheris).

    tests/fuzz/receiver.py -runs=N FOLDER...     start from the files in these folders; add what is new to the first

The first byte of an input says how its rest is cut into pieces. Whatever it is: nothing is raised but Refusal, the
outcome is the same whole and in pieces, and what is served has the length that its framing says. The same bytes are
also given to the PROXY protocol.

By hand, for as long as you like (it stops at what breaks a rule, and writes the input to crash-*):

    mkdir /tmp/found; python tests/fuzz/receiver.py -max_total_time=3600 -max_len=2000 /tmp/found
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["wsgiserver"]):
    from tests.server.feeding import completed
    from wsgiserver.errors import Refusal
    from wsgiserver.http1.framing import keeps_alive
    from wsgiserver.http1.proxy_protocol import Source, parse
    from wsgiserver.serving.receiver import Limits, Receiver
    from wsgiserver.wsgi.environ import add_body, build, template
    from wsgiserver.wsgi.forwarded import Trust

LIMITS = Limits(max_body=500, memory=100, folder=None)
BASE = template("srv", 80, sys.stderr, threads=True, processes=False)
TRUST = Trust(["127.0.0.1", "10.0.0.0/8"])

Outcome = list[tuple[object, ...]]


def received(pieces: list[bytes]) -> tuple[Outcome, str]:
    """Return the requests that were complete, and what became of the rest."""
    receiver = Receiver(LIMITS)
    served: Outcome = []
    try:
        served.extend(map(checked_request, completed(receiver, pieces)))  # what came before a refusal stays
    except Refusal:  # by which name depends on the pieces, where there is more than one mistake
        return served, "refused"
    else:
        return served, receiver.stage.name
    finally:
        receiver.release()


def checked_request(receiver: Receiver) -> tuple[object, ...]:
    """Do what a connection does with a request: its environ is made as well."""
    head, spool = receiver.head, receiver.spool
    assert head is not None
    body = spool.rewind().read() if spool is not None else b""
    if receiver.length >= 0:
        assert len(body) == receiver.length
    for trust in (None, TRUST):
        environ = build(BASE, head, ("127.0.0.1", 1), trust)
        if spool is not None:
            add_body(environ, spool.rewind(), spool.size, receiver.trailers)
            assert environ["CONTENT_LENGTH"] == str(len(body))
        assert "HTTP_TRANSFER_ENCODING" not in environ
        texts = [value for key, value in environ.items() if isinstance(value, str) and key != "PATH_INFO"]  # unescaped
        assert not set("\r\n\0") & set("".join(texts))
    return head, body, dict(receiver.trailers), keeps_alive(head)


def parse_proxy_header(data: bytes) -> Source | str | None:
    """Return what the PROXY protocol makes of the beginning of a connection."""
    try:
        return parse(data)
    except Refusal:
        return "refused"


def check_proxy_header(data: bytes, size: int) -> None:
    """What is there is not looked at beyond its end, and a part of it is not taken for it."""
    whole, part = parse_proxy_header(data), parse_proxy_header(data[:size])
    if isinstance(whole, Source):
        assert whole.length <= len(data)
        assert part == (whole if size >= whole.length else None)
    else:
        assert part is None or whole == "refused"


def one_input(data: bytes) -> None:
    if not data:
        return
    size, data = data[0] + 1, data[1:]
    whole = received([data])
    in_pieces = received([data[start : start + size] for start in range(0, len(data), size)])
    assert whole == in_pieces, (whole, in_pieces)
    check_proxy_header(data, size)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
