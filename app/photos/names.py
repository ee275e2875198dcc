"""The names of photos.

A name is a label for people. It appears in addresses and in Content-Disposition, never in a path on disk (storage.py
creates the paths). invisible.py handles characters that cannot be seen. Pure functions; no database.
"""

import unicodedata
from pathlib import PurePosixPath

from photos import invisible
from photos.errors import BadName

# Characters, as the database counts them. Even with four bytes each, percent-encoded, they fit into any request line.
MAX_LENGTH = 120
_SUFFIX_MAX = 10  # characters; a longer suffix is text, not a file type
_NAMELESS = "photo"
# The rules of `clean`, for the API's schema: the first and last character are not a space, a control character or a
# slash; between them spaces are allowed; and the name is not `.` or `..`, which clients remove from addresses.
PATTERN = r"^(?!\.{1,2}$)[^\x00-\x20\x7f-\xa0/\\](?:[^\x00-\x1f\x7f-\x9f/\\]*[^\x00-\x20\x7f-\xa0/\\])?$"


def clean(name: str) -> str:
    """Return the name as it is stored: in Unicode's form C, so that equal letters from a Mac and a phone make equal
    names; with plain spaces only, and without invisible characters, except where they change what is visible.

    Raises BadName.
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
    """Return the name as an older version of this project stored it, without the rules for invisible characters; None
    if that version refused it.
    """
    name = unicodedata.normalize("NFC", name)
    return name if name.isprintable() and len(name) <= MAX_LENGTH else None


def sanitised(filename: str, nameless: str = _NAMELESS) -> str:
    """Return the allowed name nearest to a browser's file name; `nameless` if nothing usable is left."""
    base = invisible.tidied(invisible.replaced(filename, "_")).replace("\\", "/").rsplit("/", 1)[-1].strip()
    if base.strip("._ ") == "":
        return nameless
    return _shortened(base, "")


def variant(name: str, number: int) -> str:
    """`cat.jpg` for 1, then `cat-2.jpg`, `cat-3.jpg` and so on without end."""
    return name if number == 1 else _shortened(name, f"-{number}")


def _shortened(name: str, ending: str) -> str:
    """Insert `ending` before the suffix, and shorten a name that is too long: in the stem, between letters."""
    path = PurePosixPath(name)
    suffix = path.suffix if len(path.suffix) <= _SUFFIX_MAX else ""
    stem = name.removesuffix(suffix) if suffix else name
    kept = invisible.cut(stem, MAX_LENGTH - len(ending) - len(suffix)).rstrip() or _NAMELESS
    return invisible.tidied(kept) + ending + suffix
