"""A Receiver is fed bytes, cut anyhow: what the tests of it, of the corpus and the fuzzer have in common."""

from collections.abc import Iterable, Iterator

from wsgiserver.serving.receiver import Receiver, Stage


def completed(receiver: Receiver, pieces: Iterable[bytes]) -> Iterator[Receiver]:
    """Yield the receiver each time a request in it is complete; then that one is released. Raises Refusal."""
    for piece in pieces:
        stage = receiver.feed(piece)
        while stage is Stage.COMPLETE:
            yield receiver
            receiver.release()
            stage = Stage.IN_HEAD if receiver.is_idle else receiver.feed(b"")
