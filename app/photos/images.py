"""Checks whether a file is an image, and returns its size and thumbnails.

Knows files, but no HTTP, no database and no names. Every file may be hostile, so this process decodes nothing itself.
It reads the first bytes, and passes the file to a process that is created for this picture and whose time and memory
the kernel limits (decoder.py). The answer of that process is checked as well.

Time is also limited: a picture waits at most WAIT_MAX seconds for a decoder and takes at most WALL_MAX seconds to
decode, or less if the caller has less time.
"""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from photos import decoding
from photos.errors import (
    DecoderBusy,
    ImageTooComplex,
    ImageTooManyPixels,
    ImageTruncated,
    NotAnImage,
    OutOfTime,
    Problem,
)
from photos.kinds import HEAD, KINDS, NAMES, Kind
from photos.limits import THUMBNAIL_MAX, WAIT_MAX, WALL_MAX
from photos.patches import Patch, unpack

__all__ = [
    "ACCEPTED",
    "KINDS",
    "NAMES",
    "THUMBNAIL_MAX",
    "THUMBNAIL_SUFFIX",
    "THUMBNAIL_TYPE",
    "Picture",
    "find_position",
    "inspect",
]

# For a page's file chooser. Systems that do not know a media type may know the suffix.
ACCEPTED: Final = [part for kind in KINDS for part in (kind.content_type, *([] if kind.is_shown else [kind.suffix]))]
THUMBNAIL_SUFFIX, THUMBNAIL_TYPE = ".webp", "image/webp"
_PROBLEMS: Final[dict[str, type[Problem]]] = {
    problem.code: problem for problem in (NotAnImage, ImageTruncated, ImageTooManyPixels, ImageTooComplex, DecoderBusy)
}
_RENDITIONS: Final = 3  # in an answer, in the order of the fields of Picture
_TOO_LONG, _TOO_LATE = -signal.SIGXCPU, -signal.SIGALRM  # signals of the limits that decoder.py sets
_TAKEN_AWAY: Final = {-signal.SIGKILL, -signal.SIGTERM}  # by the kernel when memory runs out, or by an administrator
_CANNOT_CHECK: Final = "The server cannot check pictures at the moment. Nothing was stored. Try again in a moment."
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """The result of `inspect`. Width and height are those of the displayed image, with its orientation applied.

    Renditions are WebP without metadata, or empty; the thumbnail is never empty.
    """

    kind: Kind
    width: int
    height: int
    thumbnail: bytes  # at most THUMBNAIL_MAX pixels each way
    thumbnail_2x: bytes = b""  # at most THUMBNAIL_2X_MAX; if the picture is larger than the thumbnail
    preview: bytes = b""  # at most PREVIEW_MAX; for formats that browsers cannot show
    patches: tuple[Patch, ...] = ()  # that remove the position from the file; none if it has no position


def find_position(file: IO[bytes]) -> list[Patch]:
    """Return the patches that remove the position from a picture that `inspect` has accepted. Raises the same."""
    kind = _kind(file)
    answer = _asked(file, kind, WAIT_MAX + WALL_MAX, {"is_position_only": True})
    _raise_problem(answer.head)
    return _patches(answer, os.fstat(file.fileno()).st_size)[1]


def inspect(file: IO[bytes], seconds: float = WAIT_MAX + WALL_MAX) -> Picture:
    """Check the flushed image in `file` within `seconds`. The position in the file may change.

    Raises NotAnImage, ImageTruncated, ImageTooManyPixels, ImageTooComplex, DecoderBusy, OutOfTime; OSError when reading
    the file itself fails.
    """
    kind = _kind(file)
    answer = _asked(file, kind, seconds, {})
    return picture_of(kind, answer, file.seek(0, os.SEEK_END))


def _asked(file: IO[bytes], kind: Kind, seconds: float, task: dict[str, Any]) -> decoding.Answer:
    if seconds <= 0:
        raise _out_of_time()
    share = min(1.0, seconds / (WAIT_MAX + WALL_MAX))
    terms = {"kind": kind.pillow, "wait": WAIT_MAX * share, "wall": WALL_MAX * share, **task}
    try:
        with _descriptor(file) as descriptor:
            answer = decoding.ask(descriptor, terms, share * (WAIT_MAX + WALL_MAX))
    except decoding.TimedOut as error:
        raise _out_of_time() from error
    except decoding.Unavailable as error:
        _log.error("cannot check pictures: %s", error)
        raise DecoderBusy(_CANNOT_CHECK) from error
    return answer


def _kind(file: IO[bytes]) -> Kind:
    file.seek(0)
    head = file.read(HEAD)
    for kind in KINDS:
        if kind.is_signature(head):
            return kind
    raise NotAnImage(f"This is not a picture in a supported format. Send {NAMES}.")


@contextmanager
def _descriptor(file: IO[bytes]) -> Iterator[int]:
    """Yield the descriptor of the file, or of a copy if the file has none."""
    try:
        descriptor = file.fileno()
    except OSError:  # io.UnsupportedOperation is one
        with os.fdopen(os.memfd_create("picture"), "w+b") as copy:
            file.seek(0)
            shutil.copyfileobj(file, copy)
            copy.flush()
            yield copy.fileno()
    else:
        yield descriptor


def picture_of(kind: Kind, answer: decoding.Answer, size: int) -> Picture:
    """Check what the decoding process answered about a file of `size` bytes."""
    head = answer.head
    _raise_problem(head)
    width, height = head.get("width"), head.get("height")
    data, found = _patches(answer, size)
    renditions = _renditions(head.get("sizes"), data)
    if not (_is_side(width) and _is_side(height) and renditions and renditions[0]):
        raise DecoderBusy(_CANNOT_CHECK)
    thumbnail, thumbnail_2x, preview = renditions
    return Picture(
        kind, int(head["width"]), int(head["height"]), thumbnail, thumbnail_2x, preview, patches=tuple(found)
    )


def _patches(answer: decoding.Answer, size: int) -> tuple[bytes, list[Patch]]:
    """Return the data before the patches, and the patches, which end an answer."""
    count = answer.head.get("patches")
    start = len(answer.data) - count if type(count) is int and 0 <= count <= len(answer.data) else None
    try:
        return answer.data[:start], unpack(answer.data[start:] if start is not None else b"?", size)
    except ValueError as error:
        raise DecoderBusy(_CANNOT_CHECK) from error


def _renditions(sizes: object, data: bytes) -> list[bytes]:
    """Split `data` into renditions; empty if the sizes are not plausible."""
    if not (isinstance(sizes, list) and len(sizes) == _RENDITIONS and all(type(size) is int for size in sizes)):
        return []
    starts = [sum(sizes[:number]) for number in range(_RENDITIONS)]
    pieces = [data[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    is_sound = b"".join(pieces) == data and all(piece[:4] in {b"", b"RIFF"} for piece in pieces)
    return pieces if is_sound else []


def _is_side(value: object) -> bool:
    return type(value) is int and 0 < value < 2**31


def _raise_problem(head: dict[str, Any]) -> None:
    if "ended" in head:
        raise _ended(head["ended"])
    if "errno" in head:  # the disk's error, not the picture's
        raise OSError(head["errno"], str(head.get("detail")))
    if problem := _PROBLEMS.get(str(head.get("problem"))):
        raise problem(str(head.get("detail"))[:500])


def _ended(status: object) -> Problem:
    """Return the Problem for a decoding process that ended without an answer: by a limit, or by an unknown cause."""
    _log.warning("decoder-ended", extra={"fields": {"status": status}})
    if status == _TOO_LATE:  # below its limit of CPU time, so other work on the machine delayed it
        return _out_of_time()
    if status == _TOO_LONG:
        return ImageTooComplex("This picture takes too long to decode. Save it again, smaller or simpler.")
    if status in _TAKEN_AWAY:
        return DecoderBusy("The server ran out of memory for this picture. Nothing was stored. Try again.")
    return ImageTooComplex("This picture crashes the program that decodes it. Save it again.")


def _out_of_time() -> OutOfTime:
    return OutOfTime("The server was too busy to check this picture in time. Nothing was stored. Try again.")
