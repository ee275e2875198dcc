"""Parses a multipart form (RFC 7578): bytes in, parts out. Knows nothing about Django, files or the network.

Django's own parser silently drops a part whose file name or headers it cannot use. This parser returns every part, or
refuses the whole form with an error that names the part. Because browsers and libraries differ, it accepts everything
that has only one meaning: names in any encoding, in quotes of any kind, or missing.

Text before the first boundary and after the last boundary is ignored, as RFC 2046, section 5.1.1, says. Other content
there could be a picture whose boundary is damaged, so the form is refused.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote_to_bytes

from photos import invisible
from photos.errors import BadRequest, BodyIncomplete, NoFile

_PIECE = 256 * 1024  # bytes per read
_HEAD_MAX = 16 * 1024  # bytes of one part's headers: a percent-encoded name of 255 characters in several forms
_PARAMETERS_MAX = 16  # that are parsed; each may take time in proportion to the header
_LINE_MAX = 256  # bytes of padding after a boundary
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([^\x00\r\n]*)")
# The second form of a value is for clients that do not escape quotes in a name, or a backslash that is the last byte of
# a Shift-JIS character.
_END = rb"(?=[ \t]*(?:;|\Z))"
_PARAMETER = re.compile(
    rb';[ \t]*([^=;\s]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"' + _END + rb'|".*?"' + _END + rb"|[^;]*)", re.DOTALL
)
_FILENAME = re.compile(rb"filename[*0-9]*[ \t]*=", re.IGNORECASE)
# Outside of all parts: bytes that are not text, or the headers of a part whose boundary is damaged.
_NO_TEXT = re.compile(rb"[^\t\r\n\x20-\x7e]|(?i:content-disposition[ \t]{0,8}:)")
_NO_TEXT_MAX = 28  # bytes of such a match
# After a boundary that does not begin a line as it should: bytes which show that another part begins there.
_ANOTHER_PART = rb"[ \t]{0,8}\r?\n[A-Za-z-]{1,40}:"
_ANOTHER_PART_MAX = 51  # bytes of such a match
# In the headers of each part, but in no picture; at most 34 bytes.
_DISPOSITION = re.compile(rb"form-data\s{0,8};\s{0,8}(?:file)?name", re.IGNORECASE)
_AS_THEY_ARE = {"", "7bit", "8bit", "binary"}  # Content-Transfer-Encodings that change nothing


@dataclass(frozen=True)
class Part:
    number: int  # counts from 1
    name: str
    filename: str | None  # None: the part has no filename; may be empty
    encoding: str  # of the content, in lower case
    length: int | None  # in bytes, if the part states one
    media_type: str = ""  # in lower case; empty if the part does not state it

    def __str__(self) -> str:
        called = invisible.cut(invisible.tidied(invisible.replaced(self.filename or self.name, "")), 60)
        return f"part {self.number} of the form ({called or 'without a name'})"


class Reader:
    """Yields each part with its content, which must be read before the next part.

    `read(size)` returns up to `size` bytes, none at the end of the body. Raises BadRequest, BodyIncomplete, NoFile, and
    what `read` raises.
    """

    def __init__(self, read: Callable[[int], bytes], boundary: bytes) -> None:
        self._read = read
        self._delimiter = b"\r\n--" + boundary
        self._damaged = re.compile(re.escape(self._delimiter[2:]) + _ANOTHER_PART)
        self._buffer = b"\r\n"  # so that the first boundary is found like the others
        self._number = 0
        self._where = "before its first part"

    def __iter__(self) -> Iterator[tuple[Part, Iterator[bytes]]]:
        self._preamble()
        while self._is_another():
            self._number += 1
            self._where = f"inside the headers of part {self._number}"
            part = _part(self._head(), self._number)
            self._where = f"in the middle of {'' if part.filename is None else 'a file, '}{part}"
            yield part, _decoded(part, self._content(part))
            self._where = f"after {part}, before the last boundary"
        self._epilogue()

    def _preamble(self) -> None:
        try:
            for _, window in _windows(self._until_delimiter(), _NO_TEXT_MAX):
                _refuse_content(window, "before the first boundary")
        except BodyIncomplete as error:
            raise NoFile(
                "The body does not contain the boundary that its Content-Type names. Nothing was stored."
            ) from error

    def _epilogue(self) -> None:
        where = "after the last boundary"
        while piece := self._read(_PIECE):
            self._buffer += piece
            self._refuse_boundary(where)
            _refuse_content(self._buffer, where)
            self._buffer = self._buffer[-max(len(self._delimiter), _NO_TEXT_MAX) :]
        self._refuse_boundary(where)
        _refuse_content(self._buffer, where)

    def _refuse_boundary(self, where: str) -> None:
        if self._delimiter in self._buffer:
            raise BadRequest(f"The form continues {where}, which must end it. Nothing was stored.")

    def _is_another(self) -> bool:
        """Called after a boundary: return whether another part follows, or this was the last boundary."""
        while len(self._buffer) < len(b"--"):
            self._fill()
        if self._buffer.startswith(b"--"):
            self._buffer = self._buffer[2:]
            return False
        if not re.fullmatch(rb"[ \t]*\r", self._line(b"\n", _LINE_MAX)):
            raise BadRequest(
                f"The boundary before part {self._number + 1} of the form must be alone on its line, and the line must "
                "end with CR and LF. Nothing was stored."
            )
        return True

    def _head(self) -> bytes:
        while len(self._buffer) < len(b"\r\n"):
            self._fill()
        if self._buffer.startswith(b"\r\n"):
            self._buffer = self._buffer[2:]
            return b""
        return self._line(b"\r\n\r\n", _HEAD_MAX)

    def _line(self, end: bytes, longest: int) -> bytes:
        while (found := self._buffer.find(end, 0, longest)) < 0:
            if len(self._buffer) >= longest:
                raise BadRequest(
                    f"The headers of part {self._number or 1} of the form are too long. Nothing was stored."
                )
            self._fill()
        line, self._buffer = self._buffer[:found], self._buffer[found + len(end) :]
        return line

    def _content(self, part: Part) -> Iterator[bytes]:
        """Yield the content; refuse a damaged boundary, which would join two parts and lose the second."""
        for piece, window in _windows(self._until_delimiter(), len(self._delimiter) + _ANOTHER_PART_MAX):
            if self._has_another_part(window):
                raise BadRequest(
                    f"Another part begins inside {part}: the boundary between them must be on its own line, and the "
                    "line must end with CR and LF. Nothing was stored."
                )
            yield piece

    def _has_another_part(self, window: bytes) -> bool:
        """Each pair of checks begins with the fast one."""
        return bool(
            (self._delimiter[2:] in window and self._damaged.search(window))
            or (b"form-data" in window.lower() and _DISPOSITION.search(window))
        )

    def _until_delimiter(self) -> Iterator[bytes]:
        """Yield the bytes before the next delimiter, and drop the delimiter."""
        while (found := self._buffer.find(self._delimiter)) < 0:
            sure = len(self._buffer) - len(self._delimiter) + 1  # the rest may be the beginning of a delimiter
            if sure > 0:
                yield self._buffer[:sure]
                self._buffer = self._buffer[sure:]
            self._fill()
        if found:
            yield self._buffer[:found]
        self._buffer = self._buffer[found + len(self._delimiter) :]

    def _fill(self) -> None:
        piece = self._read(_PIECE)
        if not piece:
            raise BodyIncomplete(f"The body ended {self._where}. Nothing was stored; send it again.")
        self._buffer += piece


def _windows(pieces: Iterator[bytes], reach: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield each piece, and the piece with the last `reach` bytes before it, because a match may span pieces."""
    before = b""
    for piece in pieces:
        window = before + piece
        yield piece, window
        before = window[-reach:]


def _refuse_content(data: bytes, where: str) -> None:
    if _NO_TEXT.search(data):
        raise BadRequest(f"The form has content {where}, where it belongs to no part. Nothing was stored.")


def _part(head: bytes, number: int) -> Part:
    fields = _fields(head, number)
    disposition = fields.get("content-disposition")
    if disposition is None:
        raise BadRequest(f"Part {number} of the form has no Content-Disposition. Nothing was stored.")
    parameters = _parameters(disposition)
    filename = _filename(parameters, disposition)
    if "name" not in parameters and filename is None:
        raise BadRequest(f"Part {number} of the form has neither a name nor a filename. Nothing was stored.")
    length, content_type = fields.get("content-length", b""), fields.get("content-type", b"")
    part = Part(
        number,
        _text(_unquoted(parameters.get("name", b""))),
        filename,
        fields.get("content-transfer-encoding", b"").decode("ascii", "replace").strip().lower(),
        int(length) if re.fullmatch(rb"[0-9]{1,18}", length) else None,
        content_type.partition(b";")[0].decode("ascii", "replace").strip().lower(),
    )
    _refuse_coding(part)
    return part


def _refuse_coding(part: Part) -> None:
    if part.media_type.startswith("multipart/"):  # RFC 7578, section 4.3, deprecates it
        raise BadRequest(f"There is a form inside {part}. Nothing was stored; put each file into a separate part.")
    if part.encoding not in {*_AS_THEY_ARE, "base64"}:
        raise BadRequest(f"The encoding of {part} is not supported. Nothing was stored; send the bytes unencoded.")


def _fields(head: bytes, number: int) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    for line in re.sub(rb"\r\n[ \t]+", b" ", head).split(b"\r\n") if head else []:  # unfolded
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BadRequest(f"The headers of part {number} of the form are malformed. Nothing was stored.")
        name = match[1].decode("ascii").lower()
        if name in fields:
            raise BadRequest(f"Part {number} of the form has more than one {name}. Nothing was stored.")
        fields[name] = match[2].strip()
    return fields


def _parameters(value: bytes) -> dict[str, bytes]:
    """Return the parameters of a header, still in quotes. Of two with the same name the first counts."""
    found: dict[str, bytes] = {}
    for match in islice(_PARAMETER.finditer(value), _PARAMETERS_MAX):
        found.setdefault(match[1].decode("ascii", "replace").lower(), match[2].strip())
    return found


def _filename(parameters: dict[str, bytes], disposition: bytes) -> str | None:
    """Return the filename, preferring the form of RFC 8187. Empty if it cannot be parsed: RFC 2231's pieces, or a
    filename after a quote that does not end, or after many other parameters.
    """
    charset, _, rest = _unquoted(parameters.get("filename*", b"")).partition(b"'")
    if charset.lower() in {b"utf-8", b"iso-8859-1"}:
        return _text(unquote_to_bytes(rest.partition(b"'")[2]), charset.decode("ascii"))
    if "filename" in parameters:
        return _text(_unquoted(parameters["filename"]))
    return "" if _FILENAME.search(disposition) else None


def _unquoted(value: bytes) -> bytes:
    if len(value) > 1 and value[:1] == value[-1:] == b'"':
        return re.sub(rb'\\(["\\])', rb"\1", value[1:-1])
    if len(value) > 1 and value[:1] == value[-1:] == b"'":
        return value[1:-1]
    return value


def _text(value: bytes, charset: str = "utf-8") -> str:
    """Replace bytes that are not UTF-8 by underscores: Latin-1, Shift-JIS and others cannot be distinguished."""
    return value.decode(charset, "replace").replace("\N{REPLACEMENT CHARACTER}", "_")


def _decoded(part: Part, pieces: Iterator[bytes]) -> Iterator[bytes]:
    pieces = _counted(part, pieces)
    return _from_base64(part, pieces) if part.encoding == "base64" else pieces


def _counted(part: Part, pieces: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        yield piece
    if part.length not in {None, size}:
        raise BodyIncomplete(
            f"The Content-Length of {part} is {part.length}; it has {size} bytes. Nothing was stored; send it again."
        )


def _from_base64(part: Part, pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest, is_over = b"", False
    for piece in pieces:
        data = rest + b"".join(piece.split())
        whole, rest = data[: len(data) // 4 * 4], data[len(data) // 4 * 4 :]
        try:
            yield base64.b64decode(whole, validate=True)
        except binascii.Error as error:
            raise BadRequest(f"The base64 in {part} cannot be decoded. Nothing was stored.") from error
        if whole and is_over:
            raise BadRequest(f"The base64 in {part} continues after its padding. Nothing was stored.")
        is_over = is_over or whole.endswith(b"=")
    if rest:
        raise BadRequest(f"The base64 in {part} is incomplete: its length is not a multiple of 4. Nothing was stored.")
