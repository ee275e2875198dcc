"""Reads only the orientation from a picture's EXIF data: a bounded scan of one directory.

Pillow parses all of it, and copies the value of each entry: 65,000 entries with the same bytes become gigabytes.
TIFF 6.0, section 2, has the directory; CIPA DC-008 (Exif), table 4, the orientation: tag 0x0112, SHORT, 1 to 8.
"""

import struct
from typing import Final

_ENTRIES_MAX: Final = 1000  # cameras write about twenty
_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
_UPRIGHT: Final = 1


def orientation(exif: bytes) -> int:
    """Return 1 to 8; 1 without orientation, or if the EXIF data is malformed, as in valid pictures of many cameras."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        return _in_directory(exif, order) if order else _UPRIGHT
    except struct.error:  # an offset is beyond the end
        return _UPRIGHT


def _in_directory(exif: bytes, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    for number in range(min(count, _ENTRIES_MAX)):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * number)
        if (tag, kind) == (_ORIENTATION, _SHORT):
            return value if value in range(1, 9) else _UPRIGHT
    return _UPRIGHT
