"""What a photo may be called.

A name is a label for people: it appears in addresses and in Content-Disposition, never in a path on disk (storage.py
makes those up). Pure functions; no database.
"""

import unicodedata
from pathlib import PurePosixPath

from photos.errors import BadName

MAX_LENGTH = 120  # characters; four bytes each, percent-encoded, still fit any server's request line
_SUFFIX_MAX = 10  # characters; longer ones are part of a sentence, not a file type
# What `clean` demands, for the API's schema: a first and a last character that is neither a space nor a control
# character nor a slash, the same or spaces between them; and neither `.` nor `..`, which clients resolve away.
PATTERN = r"^(?!\.{1,2}$)[^\x00-\x20\x7f-\xa0/\\](?:[^\x00-\x1f\x7f-\xa0/\\]*[^\x00-\x20\x7f-\xa0/\\])?$"


def clean(name: str) -> str:
    """The name as it is stored: Unicode form C, so that the same letters typed on a Mac and on a phone are one name.

    Raises BadName, which says what is wrong.
    """
    name = unicodedata.normalize("NFC", name)
    if not name or len(name) > MAX_LENGTH:
        raise BadName(f"A name has 1 to {MAX_LENGTH} characters; this one has {len(name)}.")
    if name in {".", ".."} or "/" in name or "\\" in name:
        raise BadName("A name is one path segment: no slash, no backslash, and not . or .. alone.")
    if not name.isprintable() or name != name.strip():
        raise BadName("A name holds printable characters, with no space around them.")
    return name


def sanitised(filename: str, nameless: str = "photo") -> str:
    """The nearest allowed name to what a browser calls its file; `nameless` when nothing usable is left."""
    base = unicodedata.normalize("NFC", filename).replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(char if char.isprintable() else "_" for char in base).strip()
    if printable.strip("._ ") == "":
        return nameless
    return _shortened(printable, "")


def variant(name: str, number: int) -> str:
    """`cat.jpg` for 1, then `cat-2.jpg`, `cat-3.jpg` and so on without end."""
    return name if number == 1 else _shortened(name, f"-{number}")


def _shortened(name: str, ending: str) -> str:
    """The name with `ending` put before its suffix, cut in the stem where it would be too long."""
    path = PurePosixPath(name)
    suffix = path.suffix if len(path.suffix) <= _SUFFIX_MAX else ""
    stem = name.removesuffix(suffix) if suffix else name
    return stem[: MAX_LENGTH - len(ending) - len(suffix)].rstrip() + ending + suffix
