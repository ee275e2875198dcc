r"""Reads .env as both generations of Compose do: 1.29 (python-dotenv) and 2 (compose-go). Nothing else reads it.

A line that the two read differently, or not at all, leads to a complaint: its number, what is wrong, and what would be
right. A complaint never contains values, which may be secrets.

A value ends at a blank followed by #, unless it is in quotes. In double quotes \n, \" and others are escapes; in single
quotes only \' is. ${NAME} and ${NAME:-default} stand for a variable of the environment or a previous line, except in
single quotes. tests/test_dotenv.py compares this with both Compose commands.

Bytes that are not UTF-8 are kept as surrogates, as in os.environ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
# Characters that look like blanks, but are not blanks to the shell. At the ends of a value, 1.29 drops all of them, and
# 2 drops some.
ODD_BLANK = "[\x0b\x0c\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")
EXAMPLE = re.compile(r"(?m)^(#?)([A-Z][A-Z0-9_]*)=(.*)$")
BRACES = "write ${NAME} for the value of another line; put the value in single quotes for the character $ itself"
QUOTES = "remove that blank, or put the value in quotes"


@dataclass(frozen=True)
class Complaint:
    number: int
    wrong: str
    right: str


@dataclass(frozen=True)
class DotEnv:
    """The values that a file sets; the last line of a name counts. `used` has the names that appear as ${NAME}."""

    values: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """The lines of .env.example: `#NAME=default`, or `NAME=...` for a setting without a default."""

    names: list[str]
    defaults: dict[str, str]
    without_default: list[str]


def read(data: bytes, environment: Mapping[str, str]) -> DotEnv:
    return _Reader(data, environment).read()


def read_example(text: str) -> Example:
    lines = EXAMPLE.findall(text)
    defaults = {name: value for comment, name, value in lines if comment}
    return Example([name for _, name, _ in lines], defaults, [name for comment, name, _ in lines if not comment])


class _Reader:
    """One pass over the lines of a file."""

    def __init__(self, data: bytes, environment: Mapping[str, str]) -> None:
        text = data.decode(errors="surrogateescape")
        self._lines = [line.removesuffix("\r") for line in text.split("\n")]
        self._environment = environment
        self._at = 0  # index of the current line
        self._name = ""  # the name that it sets
        self._wrong: tuple[str, str] | None = None  # what is wrong with it, and what would be right
        self._found = DotEnv()

    def read(self) -> DotEnv:
        while self._at < len(self._lines):
            number = self._at + 1
            self._wrong = None
            self._read_line(self._lines[self._at])
            if self._wrong:
                self._found.complaints.append(Complaint(number, *self._wrong))
            self._at += 1
        return self._found

    def _read_line(self, line: str) -> None:
        self._check_bytes(line)
        if re.fullmatch(r"[ \t]*(#.*)?", line, re.DOTALL):
            return
        line = re.sub(r"^[ \t]*(export[ \t]+)?", "", line)
        found = NAME.match(line)
        if not found:
            self._refuse("this is neither NAME=value nor a comment", "write NAME=value, or put a # before the line")
            return
        self._name = found[1]
        value = self._value(line[found.end() :].strip(" \t"))
        self._found.values[self._name] = value.replace("\0", "")

    def _check_bytes(self, line: str) -> None:
        """Find characters that editors do not show, anywhere in the line."""
        if self._at == 0 and line.startswith("\ufeff"):
            self._refuse(
                "this begins with a byte order mark (BOM), which editors do not show",
                "save the file as UTF-8 without a BOM",
            )
        if "\r" in line:
            self._refuse(
                "this contains a carriage return, which editors do not show and Compose 1.29 reads as a line end",
                "write the line again",
            )
        if re.match(rf"[ \t]*{ODD_BLANK}", line):
            self._refuse("this begins with an unusual blank", "write the line again without that blank")
        if re.search("[\udc80-\udcff]", line):
            self._refuse("this contains bytes that are not UTF-8", "save the file as UTF-8")

    def _refuse(self, wrong: str, right: str) -> None:
        """Note the first problem of a line."""
        self._wrong = self._wrong or (wrong, right)

    def _refuse_value(self, wrong: str, right: str) -> None:
        self._refuse(f"the value of {self._name} {wrong}", right)

    # --- values ---------------------------------------------------------------------------------------------------

    def _value(self, text: str) -> str:
        if re.match(ODD_BLANK, text):
            self._refuse_value("begins with an unusual blank", QUOTES)
        if text.startswith('"'):
            return self._double_quoted(text)
        if text.startswith("'"):
            return self._single_quoted(text)
        if " #" in text:
            text = text.partition(" #")[0].strip(" \t")
        if re.search(rf"{ODD_BLANK}\Z", text):
            self._refuse_value("ends with an unusual blank", QUOTES)
        if re.search(rf"{ODD_BLANK}[ \t]*#", text):
            self._refuse_value("has an unusual blank before a #", QUOTES)
        if "\t#" in text:
            self._refuse_value(
                "has a tab before a #", "write a blank before the # of a comment, or put the value in quotes"
            )
        if "\\$" in text:
            self._refuse_value("has \\$", BRACES)
        return self._expanded(text)

    def _double_quoted(self, text: str) -> str:
        """Replace escapes first, then variables, as Compose does."""
        result = ""
        place = 1
        while place < len(text):
            sign = text[place]
            if sign == '"':
                if text[place - 1] == "\\":
                    self._refuse_value(
                        "ends with a backslash in double quotes",
                        "write it without quotes, where a backslash is just a backslash",
                    )
                self._check_end(text[place + 1 :])
                return self._expanded(result)
            if sign == "\\":
                place += 1
                sign = self._escaped(text[place : place + 1])
            result += sign
            place += 1
        self._skip_to('"')
        return self._expanded(result)

    def _escaped(self, sign: str) -> str:
        if sign == "$":
            self._refuse_value("has \\$ in double quotes", BRACES)
        if sign == "'":
            self._refuse_value("has \\' in double quotes", "write ' without the backslash")
        if sign == "0":
            self._refuse_value(
                "has \\0 in double quotes", "use single quotes, in which a backslash is just a backslash"
            )
        return ESCAPES.get(sign, f"\\{sign}")

    def _single_quoted(self, text: str) -> str:
        if "${" in text:
            self._refuse_value(
                "has ${ in single quotes",
                "use double quotes if ${NAME} stands for the value of another line; otherwise leave out the brace",
            )
        result = ""
        place = 1
        while place < len(text):
            sign, after = text[place], text[place + 1 : place + 2]
            if sign == "'":
                self._check_end(text[place + 1 :])
                return result
            if sign == "\\" and after == "\\":
                self._refuse_value("has \\\\ in single quotes", "use double quotes, in which \\\\ is one backslash")
            if sign == "\\" and after == "'":
                sign = after
                place += 1
            result += sign
            place += 1
        self._skip_to("'")
        return result

    def _check_end(self, rest: str) -> None:
        if not re.fullmatch(r"[ \t]*(#.*)?", rest, re.DOTALL):
            self._refuse_value(
                "continues after its closing quote", "put all of it in quotes, and write \\ before a quote inside"
            )

    def _skip_to(self, quote: str) -> None:
        """Skip the lines that belong to the value, up to its closing quote, if there is one."""
        self._refuse_value(
            "has no closing quote on its line",
            "write the closing quote at the end of the line; write a line break as \\n in double quotes",
        )
        for at in range(self._at + 1, len(self._lines)):
            if quote in self._lines[at]:
                self._at = at
                return

    # --- variables ------------------------------------------------------------------------------------------------

    def _expanded(self, text: str) -> str:
        result = ""
        while "$" in text:
            before, _, _ = text.partition("$")
            value, length = self._variable(text[len(before) :])
            result += before + value
            text = text[len(before) + length :]
        return result + text

    def _variable(self, text: str) -> tuple[str, int]:
        """Return what a text that begins with $ stands for, and the number of characters that this replaces."""
        found = VARIABLE.match(text)
        if not found:
            if re.match(r"\$[A-Za-z_{$]", text):
                self._refuse_value("has a $ that is not the $ of ${NAME} or ${NAME:-default}", BRACES)
            return "$", 1
        other, default = found[1], found[3]
        if default and re.search(r"[$\n]", default):
            self._refuse_value(
                f"has a $ or a line break in the default of ${{{other}:-...}}", "use a default without either"
            )
        self._found.used.append(other)
        self._refuse_two_values(other)
        value = self._environment.get(other, self._found.values.get(other))
        if value == "" and default is not None:
            self._refuse_value(
                f"has ${{{other}:-...}}, and {other} is set but empty",
                f"remove the line of {other}, or give it a value",
            )
        return (value if value is not None else default or ""), found.end()

    def _refuse_two_values(self, other: str) -> None:
        """1.29 uses the line, 2 the environment. Neither matters for a name that the environment itself sets."""
        given, read = self._environment.get(other), self._found.values.get(other)
        if None not in (given, read) and given != read and self._name not in self._environment:
            self._refuse_value(
                f"has ${{{other}}}, and {other} has one value in this file and another in the environment",
                f"unset {other} in the environment, or use the same value in both",
            )
