"""Reads the segments of a JPEG before a decoder does: how much memory decoding needs, and the header that it needs.

Pillow joins EXIF segments, parses EXIF directories, and keeps all comments and the indexes of all previews. Attackers
can make each of these take gigabytes or minutes. The picture needs none of them. So the decoder gets a new header with
only the segments that pixels depend on. The orientation, the only value needed from EXIF, is read by exif.py.

The markers are in ITU-T T.81, annex B. libjpeg keeps all coefficients (2 bytes per sample) of a picture with several
scans, progressive or not; otherwise it needs a few rows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final

from photos.errors import ImageTooComplex, ImageTruncated

SEGMENTS_MAX: Final = 4096  # depth maps and profiles have some hundred segments of 64 KB
_HEADER_MAX: Final = 1024 * 1024  # bytes of tables for the decoder; ordinary files have a few hundred
_SCANS_MAX: Final = 100  # encoders write about ten
_VISITS_MAX: Final = 200_000_000  # blocks times scans; each takes about ten nanoseconds, whatever it contains
_BLOCK: Final = 64  # coefficients, 8 x 8
_PROFILE_MAX: Final = 16 * 1024  # bytes of a colour profile that is copied into each thumbnail
_PIECE: Final = 1024 * 1024  # bytes searched at a time
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_BUFFERED: Final = frozenset({0xC2, 0xC3, 0xC6, 0xC7, 0xCA, 0xCB, 0xCE, 0xCF})  # progressive, or lossless (as a whole)
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE})  # DHT, DAC, DQT, DRI; JFIF and Adobe, for the colours
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
SOS, EOI, _APP1, _APP2 = 0xDA, 0xD9, 0xE1, 0xE2
_MARKER: Final = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # in coded data: neither byte stuffing nor a restart marker


@dataclass
class Frame:
    """SOF: the size, and the number of blocks of all components."""

    marker: int
    width: int
    height: int
    blocks: int
    components: int


@dataclass
class Header:
    frame: Frame
    scans: int  # 1: a single scan, decoded row by row
    exif: bytes  # of the first EXIF segment, without its name
    kept: bytes  # the header for the decoder; the file from `rest` on follows it
    rest: int

    @property
    def memory(self) -> int:
        """Bytes of coefficients that the decoder keeps."""
        is_buffered = self.scans > 1 or self.frame.marker in _BUFFERED
        return self.frame.blocks * _BLOCK * 2 if is_buffered else 0


@dataclass
class _Found:
    frame: Frame | None = None
    exif: bytes = b""
    kept: bytearray = field(default_factory=lambda: bytearray(b"\xff\xd8"))
    profile: bytearray = field(default_factory=bytearray)


def read(file: IO[bytes]) -> Header:
    """Read the header. Raises ImageTruncated, ImageTooComplex."""
    found = _Found()
    for marker, start, length in segments(file):
        if marker == SOS:
            return _completed(file, found, start, length)
        _take(file, found, marker, start, length)
    raise _broken()


def segments(file: IO[bytes], position: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield each marker, its offset, and the length of its segment without the marker; ends with the first scan.

    `position` is after the SOI marker. Raises ImageTruncated, ImageTooComplex.
    """
    for _ in range(SEGMENTS_MAX):
        position, marker = _next_marker(file, position)
        if marker in _BARE:
            position += 2
            continue
        length = int.from_bytes(_exactly(file, 2))
        if length < 2 or marker == EOI:  # noqa: PLR2004 - the length counts itself
            raise _broken()
        yield marker, position, length
        position += 2 + length
    raise ImageTooComplex(f"This picture has more than {SEGMENTS_MAX} segments before its pixels. Save it again.")


def _next_marker(file: IO[bytes], position: int) -> tuple[int, int]:
    """Find the next marker, which any number of 0xFF may precede. The file position is then after it."""
    file.seek(position)
    found = re.match(rb"\xff+([\x01-\xfe])", file.read(4096))
    if not found:
        raise _broken()
    position += found.end() - 2
    file.seek(position + 2)
    return position, found[1][0]


def _take(file: IO[bytes], found: _Found, marker: int, start: int, length: int) -> None:
    if marker in _FRAMES:
        if found.frame:
            raise _broken()
        found.frame = _frame(marker, _exactly(file, min(length - 2, 6 + 3 * 255)))
    if marker in _FRAMES | _TABLES:
        file.seek(start)
        found.kept += _exactly(file, 2 + length)
    elif marker == _APP1 and not found.exif:
        found.exif = _after(b"Exif\0\0", _exactly(file, length - 2))
    elif marker == _APP2 and len(found.profile) <= _PROFILE_MAX:
        data = _exactly(file, length - 2)
        if data.startswith(b"ICC_PROFILE\0"):
            found.profile += b"\xff\xe2" + length.to_bytes(2) + data
    if len(found.kept) > _HEADER_MAX:
        raise ImageTooComplex("This picture has more tables than its pixels need. Save it again.")


def _after(name: bytes, data: bytes) -> bytes:
    return data[len(name) :] if data.startswith(name) else b""


def _frame(marker: int, data: bytes) -> Frame:
    if len(data) < 6 or len(data) < 6 + 3 * data[5] or not data[5]:  # noqa: PLR2004 - T.81, B.2.2
        raise _broken()
    height, width, count = int.from_bytes(data[1:3]), int.from_bytes(data[3:5]), data[5]
    factors = [(max(1, data[7 + 3 * n] >> 4), max(1, data[7 + 3 * n] & 15)) for n in range(count)]
    across, down = max(h for h, _ in factors), max(v for _, v in factors)
    # A component is rounded up to whole groups of blocks (T.81, A.2.4).
    groups = -(-width // (8 * across)) * -(-height // (8 * down))
    return Frame(marker, width, height, groups * sum(h * v for h, v in factors), count)


def _completed(file: IO[bytes], found: _Found, start: int, length: int) -> Header:
    """Return the header, at its first scan."""
    frame = found.frame
    if not frame:
        raise _broken()
    in_first = _exactly(file, 1)[0]
    several = frame.marker in _BUFFERED or in_first < frame.components
    scans = _scans(file, start + 2 + length, frame) if several else 1
    profile = found.profile if len(found.profile) <= _PROFILE_MAX else b""
    return Header(frame, max(scans, 1 + (in_first < frame.components)), found.exif, bytes(found.kept + profile), start)


def _scans(file: IO[bytes], position: int, frame: Frame) -> int:
    """Count the scans. Raises ImageTooComplex as soon as there are too many."""
    scans, most = 1, min(_SCANS_MAX, _VISITS_MAX // max(1, frame.blocks))
    for _ in range(SEGMENTS_MAX):
        position, marker = marker_in_data(file, position)
        if marker in {None, EOI}:
            return scans
        scans += marker == SOS
        if scans > most:
            raise ImageTooComplex(f"This picture has more than {most} scans. Save it again, not progressive.")
        file.seek(position + 2)
        position += 2 + int.from_bytes(file.read(2))
    raise ImageTooComplex(f"This picture has more than {SEGMENTS_MAX} segments. Save it again.")


def marker_in_data(file: IO[bytes], position: int) -> tuple[int, int | None]:
    file.seek(position)
    while len(piece := file.read(_PIECE)) > 1:
        if found := _MARKER.search(piece):
            return position + found.start(), piece[found.start() + 1]
        position += len(piece) - 1  # its last byte may be the first half of a marker
        file.seek(position)
    return position, None


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _broken()
    return data


def _broken() -> ImageTruncated:
    return ImageTruncated(
        "This picture is damaged or incomplete. Check that it opens on your device, and send it again."
    )
