"""The productions of RFC 9110 and 9112 that the other modules put together, as pieces of regular expressions.

A repeated character class is possessive (`++`, `*+`), a repeated group is not: CPython 3.11.0 to 3.11.4 take for
a match what is none where a group is (gh-106052, gh-100061; Debian 12 has 3.11.2). Instead, at most one part of a group
fits at any place, so that a repetition that is taken back step by step fails at once in each: a pattern made of these
looks at each character a bounded number of times, whatever it is fed.

Text is latin-1, one character a byte, as PEP 3333 wants it. What ends with `_BEGUN` matches what can still become
the production of that name, to the end of what there is.
"""

from typing import Final

_TCHAR: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110, section 5.6.2
TOKEN: Final = _TCHAR + "++"
OWS: Final = r"[ \t]*+"  # section 5.6.3
# No space before the colon, no folding (RFC 9112, sections 5.1 and 5.2).
_VALUE: Final = r"[\t\x20-\x7e\x80-\xff]*+"
FIELD_LINE: Final = rf"{TOKEN}:{_VALUE}\r\n"
FIELD_LINE_BEGUN: Final = rf"(?:{TOKEN}(?::{_VALUE}\r?)?|\r)?"  # or the empty line behind the last
FIELDS_BEGUN: Final = rf"(?:{FIELD_LINE})*{FIELD_LINE_BEGUN}"
# The same, from within a value, or a name, that was found right so far.
VALUE_BEGUN: Final = rf"{_VALUE}(?:\r(?:\n{FIELDS_BEGUN})?)?"
NAME_BEGUN: Final = rf"{_TCHAR}*+(?::{VALUE_BEGUN})?"
_QUOTED: Final = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]++|\\[\t\x20-\x7e\x80-\xff])*'  # RFC 9110, section 5.6.4
QUOTED_STRING: Final = _QUOTED + '"'

# The longest that is registered has 17; all are handed to the application, and one of a kilobyte is none
# (RFC 9112, section 3).
METHOD: Final = _TCHAR + "{1,128}+"
# RFC 9112, section 3.2: visible ASCII; "#" would begin a fragment, which is never sent (RFC 9110, section 4.2.5).
TARGET: Final = r"[\x21\x22\x24-\x7e]++"
_VERSION_BEGUN: Final = r"(?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.(?:[0-9]\r?)?)?)?)?)?)?)?)?"
REQUEST_LINE_BEGUN: Final = rf"(?:{METHOD}(?: (?:{TARGET}(?: {_VERSION_BEGUN})?)?)?|\r)?"  # or an empty line before it

# RFC 9110, section 7.2, and RFC 3986, section 3.2: a name or an IPv4 address, or (group 1) an IPv6 address; a port (2).
HOST: Final = r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})+|\[([0-9A-Fa-f:.]++)\])(?::([0-9]{0,5}+))?"

# RFC 9112, section 7.1.1. Sixteen hexadecimal digits are 2**64: no body is larger.
CHUNK_EXTENSION: Final = rf"{OWS};{OWS}{TOKEN}(?:{OWS}={OWS}(?:{TOKEN}|{QUOTED_STRING}))?"
_CHUNK_SIZE: Final = r"[0-9A-Fa-f]{1,16}+"
CHUNK_SIZE_LINE: Final = rf"({_CHUNK_SIZE})(?:{CHUNK_EXTENSION})*\r\n"
_CHUNK_EXTENSION_BEGUN: Final = rf"{OWS}(?:;{OWS}(?:{TOKEN}{OWS}(?:={OWS}(?:{_QUOTED}\\?)?)?)?)?"
CHUNK_SIZE_LINE_BEGUN: Final = rf"(?:{_CHUNK_SIZE}(?:{CHUNK_EXTENSION})*(?:\r|{_CHUNK_EXTENSION_BEGUN}))?"
