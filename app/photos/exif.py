"""The orientation in a picture's EXIF data, and nothing else of it: a bounded look at one directory.

Pillow parses the whole, and copies what each entry names: 65,000 entries that name the same bytes are gigabytes.
TIFF 6.0, section 2, has the directory; CIPA DC-008 (Exif), table 4, the orientation: tag 0x0112, SHORT, 1 to 8.
"""

import struct
from typing import Final

_ENTRIES_MAX: Final = 1000  # cameras write some twenty
_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
_UPRIGHT: Final = 1


def orientation(exif: bytes) -> int:
    """1 to 8; 1 when there is none, or when the EXIF data is broken, as in many a camera's sound pictures."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        return _in_directory(exif, order) if order else _UPRIGHT
    except struct.error:  # it names bytes beyond its end
        return _UPRIGHT


def _in_directory(exif: bytes, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    for number in range(min(count, _ENTRIES_MAX)):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * number)
        if (tag, kind) == (_ORIENTATION, _SHORT):
            return value if value in range(1, 9) else _UPRIGHT
    return _UPRIGHT
