"""Is this an image, how large is it, and what does it look like small?

Knows files; no HTTP, no database, no names. What arrives here is hostile until proven otherwise, so the process that
asks decodes nothing itself. It looks at the first bytes and hands the file to a process made for this one picture,
whose time and memory the kernel limits (decoder.py). What that one answers is not believed without looking either.

Time is bounded, too: a picture waits WAIT_MAX seconds for its turn and takes WALL_MAX, or less when the caller has
less.
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
from photos.kinds import KINDS, NAMES, Kind
from photos.limits import THUMBNAIL_MAX, WAIT_MAX, WALL_MAX

__all__ = ["KINDS", "NAMES", "THUMBNAIL_MAX", "THUMBNAIL_SUFFIX", "THUMBNAIL_TYPE", "Picture", "inspect"]

THUMBNAIL_SUFFIX, THUMBNAIL_TYPE = ".webp", "image/webp"
_PROBLEMS: Final[dict[str, type[Problem]]] = {
    problem.code: problem for problem in (ImageTruncated, ImageTooManyPixels, ImageTooComplex, DecoderBusy)
}
_OUT_OF_TIME: Final = {-signal.SIGXCPU, -signal.SIGALRM}  # the limits that decoder.py has set
_TAKEN_AWAY: Final = {-signal.SIGKILL, -signal.SIGTERM}  # by the kernel, for want of memory; or by a person
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """What `inspect` found: pixels as the image is shown, that is, with its EXIF orientation applied."""

    kind: Kind
    width: int
    height: int
    thumbnail: bytes  # WebP, at most THUMBNAIL_MAX pixels each way, without metadata


def inspect(file: IO[bytes], seconds: float = WAIT_MAX + WALL_MAX) -> Picture:
    """Check the image in `file` (what was written to it is flushed; left anywhere), in so many seconds.

    Raises NotAnImage, ImageTruncated, ImageTooManyPixels, ImageTooComplex, DecoderBusy, OutOfTime; OSError when reading
    the file itself fails.
    """
    kind = _kind(file)
    if seconds <= 0:
        raise _out_of_time()
    share = min(1.0, seconds / (WAIT_MAX + WALL_MAX))
    terms = {"kind": kind.pillow, "wait": WAIT_MAX * share, "wall": WALL_MAX * share}
    try:
        with _descriptor(file) as descriptor:
            answer = decoding.ask(descriptor, terms, share * (WAIT_MAX + WALL_MAX))
    except decoding.TimedOut as error:
        raise _out_of_time() from error
    except decoding.Unavailable as error:
        _log.error("no picture can be looked at: %s", error)
        raise DecoderBusy("The server cannot look at pictures just now. Nothing was stored; try again.") from error
    if answer.head.get("ended") == -signal.SIGALRM and share < 1:  # it was not the picture that took long
        raise _out_of_time()
    return picture_of(kind, answer)


def _kind(file: IO[bytes]) -> Kind:
    file.seek(0)
    head = file.read(12)
    for kind in KINDS:
        if kind.is_signature(head):
            return kind
    raise NotAnImage(
        f"This is not a picture the server knows. Send {NAMES}; a phone's HEIC has to be converted to JPEG first."
    )


@contextmanager
def _descriptor(file: IO[bytes]) -> Iterator[int]:
    """The file's, or that of a copy when it is none of the system's."""
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


def picture_of(kind: Kind, answer: decoding.Answer) -> Picture:
    head = answer.head
    _raise_problem(head)
    width, height = head.get("width"), head.get("height")
    if not (_is_side(width) and _is_side(height) and answer.data[:4] == b"RIFF"):
        raise DecoderBusy("The server cannot look at pictures just now. Nothing was stored; try again.")
    return Picture(kind, int(head["width"]), int(head["height"]), answer.data)


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
    """The process that decoded the picture ended without an answer: by its limits, or by what nobody thought of."""
    _log.warning("decoder-ended", extra={"fields": {"status": status}})
    if status in _OUT_OF_TIME:
        return ImageTooComplex("This picture takes too long to decode. Save it anew, smaller or simpler.")
    if status in _TAKEN_AWAY:
        return DecoderBusy("The server had no memory left for this picture just now. Nothing was stored; try again.")
    return ImageTooComplex("This picture breaks the program that decodes it. Save it anew.")


def _out_of_time() -> OutOfTime:
    return OutOfTime("The server did not come to this picture in time. Nothing was stored; try again.")
