"""What a photo may be called.

A name is a label for people: it appears in addresses and in Content-Disposition, never in a path on disk (storage.py
makes those up). What of it cannot be seen is invisible.py's question. Pure functions; no database.
"""

import unicodedata
from pathlib import PurePosixPath

from photos import invisible
from photos.errors import BadName

# Characters, as the database counts them; four bytes each, percent-encoded, still fit any server's request line.
MAX_LENGTH = 120
_SUFFIX_MAX = 10  # characters; longer ones are part of a sentence, not a file type
_NAMELESS = "photo"
# What `clean` demands, for the API's schema: a first and a last character that is neither a space nor a control
# character nor a slash, the same or spaces between them; and neither `.` nor `..`, which clients resolve away.
PATTERN = r"^(?!\.{1,2}$)[^\x00-\x20\x7f-\xa0/\\](?:[^\x00-\x1f\x7f-\x9f/\\]*[^\x00-\x20\x7f-\xa0/\\])?$"


def clean(name: str) -> str:
    """The name as it is stored: Unicode form C, so that the same letters typed on a Mac and on a phone are one name;
    every kind of space as a space, and nothing that cannot be seen but where it changes what is.

    Raises BadName, which says what is wrong.
    """
    if char := invisible.refused(name):
        what = unicodedata.name(char, "unnamed")
        raise BadName(f"The name contains U+{ord(char):04X} ({what}), which is not allowed in names. Leave it out.")
    name = invisible.tidied(name)
    if not name or len(name) > MAX_LENGTH:
        raise BadName(f"The name has {len(name)} characters; use 1 to {MAX_LENGTH}.")
    if name in {".", ".."} or "/" in name or "\\" in name:
        raise BadName(
            "The name contains a slash or a backslash, or is . or .., which are not allowed. Choose another name."
        )
    if name != name.strip():
        raise BadName("The name begins or ends with a space. Leave it out.")
    return name


def as_before(name: str) -> str | None:
    """What an older version of this project made of the name, which knew nothing of invisible characters; None where
    it refused it.
    """
    name = unicodedata.normalize("NFC", name)
    return name if name.isprintable() and len(name) <= MAX_LENGTH else None


def sanitised(filename: str, nameless: str = _NAMELESS) -> str:
    """The nearest allowed name to what a browser calls its file; `nameless` when nothing usable is left."""
    base = invisible.tidied(invisible.replaced(filename, "_")).replace("\\", "/").rsplit("/", 1)[-1].strip()
    if base.strip("._ ") == "":
        return nameless
    return _shortened(base, "")


def variant(name: str, number: int) -> str:
    """`cat.jpg` for 1, then `cat-2.jpg`, `cat-3.jpg` and so on without end."""
    return name if number == 1 else _shortened(name, f"-{number}")


def _shortened(name: str, ending: str) -> str:
    """The name with `ending` put before its suffix, cut in the stem where it would be too long: between letters."""
    path = PurePosixPath(name)
    suffix = path.suffix if len(path.suffix) <= _SUFFIX_MAX else ""
    stem = name.removesuffix(suffix) if suffix else name
    kept = invisible.cut(stem, MAX_LENGTH - len(ending) - len(suffix)).rstrip() or _NAMELESS
    return invisible.tidied(kept) + ending + suffix
