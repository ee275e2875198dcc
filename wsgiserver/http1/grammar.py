"""The productions of RFC 9110 and 9112 that the other modules put together, as pieces of regular expressions.

Every repetition is possessive (`++`, `*+`): a pattern made of these looks at each character a bounded number
of times, whatever it is fed. Text is latin-1, one character a byte, as PEP 3333 wants it.
"""

from typing import Final

TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"  # noqa: S105 - a production, RFC 9110, section 5.6.2
OWS: Final = r"[ \t]*+"  # section 5.6.3
FIELD_LINE: Final = (
    rf"{TOKEN}:[\t\x20-\x7e\x80-\xff]*+\r\n"  # no space before the colon, no folding (RFC 9112, 5.1, 5.2)
)
QUOTED_STRING: Final = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'  # RFC 9110, 5.6.4

# RFC 9112, section 3.2: visible ASCII; "#" would begin a fragment, which is never sent (RFC 9110, section 4.2.5).
TARGET: Final = r"[\x21\x22\x24-\x7e]++"

# RFC 9110, section 7.2, and RFC 3986, section 3.2: a name or an IPv4 address, or (group 1) an IPv6 address; a port (2).
HOST: Final = r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})++|\[([0-9A-Fa-f:.]++)\])(?::([0-9]{0,5}+))?"

# RFC 9112, section 7.1.1. Sixteen hexadecimal digits are 2**64: no body is larger.
CHUNK_EXTENSION: Final = rf"{OWS};{OWS}{TOKEN}(?:{OWS}={OWS}(?:{TOKEN}|{QUOTED_STRING}))?+"
CHUNK_SIZE_LINE: Final = rf"([0-9A-Fa-f]{{1,16}}+)(?:{CHUNK_EXTENSION})*+\r\n"
