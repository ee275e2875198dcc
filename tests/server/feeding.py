"""Feeds a Receiver with bytes in any pieces: shared by its tests, the corpus tests and the fuzzer."""

from collections.abc import Iterable, Iterator

from wsgiserver.serving.receiver import Receiver, Stage


def completed(receiver: Receiver, pieces: Iterable[bytes]) -> Iterator[Receiver]:
    """Yield the receiver for each complete request, then release that request. Raises Refusal."""
    for piece in pieces:
        stage = receiver.feed(piece)
        while stage is Stage.COMPLETE:
            yield receiver
            receiver.release()
            stage = Stage.IN_HEAD if receiver.is_idle else receiver.feed(b"")
