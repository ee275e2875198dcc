"""Invisible characters: where they have an effect, and where a text may be cut.

Two different names must not look the same. So an invisible character (Unicode's Default_Ignorable_Code_Point, and other
format characters) is kept only where it changes what is visible:

    spaces                     all of Zs become U+0020          RFC 8265, section 4.2.2
    U+200C, U+200D             in scripts that join letters     RFC 5892, appendix A.1 and A.2
    U+200D                     between two emoji                UTS #51, ED-16
    variation selectors        behind what has variants         UTS #51, ED-8a and ED-9a; UTS #37
    tags                       behind a black flag, complete    UTS #51, ED-14a

Elsewhere these characters are removed. Characters that reverse text or break lines, and code points that are not
characters, are refused: `refused` finds them. Pure functions.
"""

import re
import unicodedata

import idna

_NON_JOINER, _JOINER = "\u200c", "\u200d"
_TEXT, _EMOJI = "\ufe0e", "\ufe0f"  # select the style of the character before
_KEYCAP = "\u20e3"
_MODIFIER = "[\U0001f3fb-\U0001f3ff]"  # of an emoji: skin colour
_VIRAMA = 9  # canonical combining class: joins the letters on both sides
# Emoji that are not in the category of most emoji; and blocks that Extended_Pictographic reserves for new emoji, which
# phones support before Python does.
_MORE_EMOJI = re.compile("[\u203c\u2049\u2122\u2139\u2194\u2195\u3030\u303d\u3297\u3299]|[\U0001f000-\U0001faff]")
# UTS #51, ED-14a: a region and its subdivision, then the end. Nothing else can be hidden there.
_FLAG = re.compile(
    "(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f|([\U000e0000-\U000e007f])"
)
# Default ignorable, but not in the category of format characters.
_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# Visible format characters: signs that enclose numbers, and joiners of hieroglyphs.
_SEEN = re.compile(
    "[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f\U000e0020-\U000e007f]"
)
_BLANK = "\u2800"  # the Braille pattern without dots
_TURNS_AROUND = re.compile("[\u202a-\u202e\u2066-\u2069]")  # UAX #9, sections 2.1 to 2.5; marks reverse no letters
_VARIED = ("CJK UNIFIED", "MYANMAR", "PHAGS-PA")  # how the names of letters with variants begin

# Two parts of one Korean syllable.
_BEGINS = "\u1100-\u115f\ua960-\ua97c"
_SYLLABLE = re.compile(f"[{_BEGINS}][{_BEGINS}\uac00-\ud7a3]|.[\u1160-\u11ff\ud7b0-\ud7fb]", re.DOTALL)


def refused(text: str) -> str | None:
    """Return the first character that no name may have, or None."""
    return next((char for char in text if _is_refused(char)), None)


def replaced(text: str, by: str) -> str:
    """Return the text with each refused character replaced."""
    return "".join(by if _is_refused(char) else char for char in text)


def tidied(text: str) -> str:
    """Return the text in Unicode's form C, with plain spaces and without invisible characters. Idempotent.

    Refused characters should be replaced before.
    """
    spaced = "".join(" " if char == _BLANK or unicodedata.category(char) == "Zs" else char for char in text)
    text = _FLAG.sub(lambda match: "" if match[1] else match[0], unicodedata.normalize("NFC", spaced))
    text = "".join(char for char in text if not _is_ignorable(char) or _depends(char))
    kept = (char for index, char in enumerate(text) if not _depends(char) or _belongs(text, index))
    return unicodedata.normalize("NFC", "".join(kept))


def cut(text: str, most: int) -> str:
    """Return the beginning of the text, at most `most` characters, without splitting what looks like one letter (UAX
    #29, rules GB6 to GB13), or an Indic conjunct. Empty if the first such letter is already longer.
    """
    index = min(len(text), max(most, 0))
    while 0 < index < len(text) and _is_inside(text, index):
        index -= 1
    return text[:index]


def _is_refused(char: str) -> bool:
    category = unicodedata.category(char)
    if category == "Cn":
        return not _MORE_EMOJI.match(char)
    return category in {"Cc", "Cs", "Co", "Zl", "Zp"} or bool(_TURNS_AROUND.match(char))


def _is_ignorable(char: str) -> bool:
    return bool(_IGNORABLE.match(char)) or (unicodedata.category(char) == "Cf" and not _SEEN.match(char))


def _depends(char: str) -> bool:
    """Return whether the character has an effect in some positions: a joiner, or a variation selector."""
    return char in {_NON_JOINER, _JOINER} or char == "\u180e" or _is_selector(char)


def _is_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or char in "\u180b\u180c\u180d\u180f"


def _belongs(text: str, index: int) -> bool:
    before, after = text[:index][-1:], text[index + 1 : index + 2]
    match text[index]:
        case "\u200c":
            return _is_virama(before) or _parts_letters(text, index)
        case "\u200d":
            return _is_virama(before) or _is_before_virama(before, after) or _joins_emoji(text, index)
        case "\ufe0f" if (
            unicodedata.east_asian_width(before or " ") == "W" and before not in "\u3030\u303d\u3297\u3299"
        ):
            return False  # an emoji anyway (UAX #11: all of these are wide)
        case "\ufe0e" | "\ufe0f":
            return _is_emoji(before) or (before in "0123456789#*" and bool(before) and after == _KEYCAP)
        case char:
            return _has_variants(before, char)


def _is_virama(char: str) -> bool:
    return bool(char) and unicodedata.combining(char) == _VIRAMA


def _is_before_virama(before: str, after: str) -> bool:
    """For the letter ra of Bengali and others, which would otherwise change its form (The Unicode Standard, 12.2)."""
    return _is_virama(after) and bool(before) and unicodedata.category(before) == "Lo"


def _parts_letters(text: str, index: int) -> bool:
    """Return whether the letters around it would join without it. Only the nearest twenty characters are checked."""
    window = text[max(0, index - 20) : index + 20]
    is_named = index > 0 and unicodedata.name(text[index - 1], "") != ""  # else idna raises ValueError
    return is_named and idna.valid_contextj(window, min(index, 20))


def _joins_emoji(text: str, index: int) -> bool:
    """UAX #29, rule GB11: an emoji with its modifiers before it, and another emoji after it."""
    before = re.sub(f"(?:[{_TEXT}{_EMOJI}]|{_MODIFIER})+$", "", text[max(0, index - 4) : index])[-1:]
    return _is_emoji(before) and _is_emoji(text[index + 1 : index + 2])


def _is_emoji(char: str) -> bool:
    """Approximates Extended_Pictographic: any symbol of the category that contains the emoji."""
    return bool(char) and (unicodedata.category(char) == "So" or bool(_MORE_EMOJI.match(char)))


def _has_variants(char: str, selector: str) -> bool:
    name = unicodedata.name(char, "") if char else ""
    if selector in "\u180b\u180c\u180d\u180e\u180f":
        return name.startswith("MONGOLIAN LETTER")
    return name.startswith(_VARIED) or (selector < "\ufe0e" and unicodedata.category(char or " ") == "Sm")


def _is_inside(text: str, index: int) -> bool:
    """Return whether the characters on both sides of the index belong to one letter."""
    before, char = text[index - 1], text[index]
    if unicodedata.category(char)[0] == "M" or _depends(char) or re.match(f"{_MODIFIER}|[\U000e0020-\U000e007f]", char):
        return True
    if before == _JOINER or _is_virama(before):
        return True
    if _is_regional(before) and _is_regional(char):
        run = re.search("[\U0001f1e6-\U0001f1ff]+$", text[:index])
        return run is not None and len(run[0]) % 2 == 1
    return _continues_syllable(before, char)


def _is_regional(char: str) -> bool:
    """Two of these characters form the flag of a country."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _continues_syllable(before: str, char: str) -> bool:
    """Parts of a Korean syllable that form C has not combined into one character: rules GB6 to GB8."""
    return bool(_SYLLABLE.fullmatch(before + char))
