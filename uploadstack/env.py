"""Reads typed values from environment variables, and refuses wrong values with a message that contains the fix.

Knows nothing about Django's settings: `settings.py` says what each variable means. Every function takes the name of the
variable and, for tests, the mapping to read from. An empty variable counts as not set, because Compose passes `NAME=`
for a variable that is empty in `.env`.
"""

import os
import re
from collections.abc import Mapping

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}  # nginx's: powers of 1024
_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
# Placeholders that people forget to replace by a secret. Compared in lower case, anywhere in the value.
_PLACEHOLDERS = ("change-me", "changeme", "change_me", "!!!", "placeholder", "insecure", "example")
# The address of a database server: user, password, host, port, database. scripts/ops/values.py has the same.
_SERVER = re.compile(
    r"[a-z0-9-]+://([^\[\]/?#@:]*(:[^\[\]/?#]*)?@)?(\[[0-9A-Fa-f:]+\]|[^\[\]/?#@:]*)(:[1-9][0-9]*)?/[^/?#]+(\?.*)?"
)
_NO_SERVER = re.compile(r"(sqlite|spatialite|oracle|oraclegis)://.*")
_PROJECT = "uploadstack"  # as .env.example has it
_SECRET_LENGTH = 32  # characters; 32 hexadecimal digits are 128 bits


def text(name: str, default: str = "", environ: Mapping[str, str] = os.environ) -> str:
    return environ.get(name, "").strip() or default


def secret(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a value that has no default.

    Raises ImproperlyConfigured if it is missing, a placeholder, or short enough to guess.
    """
    value = text(name, environ=environ)
    fix = (
        f"Run `make env`, which writes a random value to .env, or set it yourself: "
        f"export {name}=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(48))')\""
    )
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {fix}")
    if any(placeholder in value.lower() for placeholder in _PLACEHOLDERS):
        raise ImproperlyConfigured(f"{name} is still a placeholder. {fix}")
    if len(value) < _SECRET_LENGTH:
        raise ImproperlyConfigured(f"{name} has fewer than {_SECRET_LENGTH} characters. {fix}")
    return value


def cookie(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of a cookie, followed by the name of the project unless that is the default.

    Browsers send cookies to every port of a host (RFC 6265, 8.5): two stacks on one host would log each other's users
    out.
    """
    project = text("COMPOSE_PROJECT_NAME", _PROJECT, environ)
    return name if project == _PROJECT else f"{name}_{project}"


def is_unset(password: str) -> bool:
    """Return whether it is the placeholder of .env.example."""
    return password.strip().lower() == _PLACEHOLDERS[0]


def database(address: str) -> dj_database_url.DBConfig:
    """Parse an address such as postgres://USER:PASSWORD@HOST:5432/NAME into Django's settings of a database.

    Raises ImproperlyConfigured, without showing the password, if a character of the password breaks the address.
    """
    try:
        found = dj_database_url.parse(address)
        is_whole = bool(found.get("NAME") and (_NO_SERVER.fullmatch(address) or _SERVER.fullmatch(address)))
    except ValueError:
        is_whole = False
    if not is_whole or re.search(r"#|%(?![0-9A-Fa-f]{2})|[\x00-\x1f\x7f]", address):
        raise ImproperlyConfigured(
            "DATABASE_URL is not the address of a database; use an address such as "
            "postgres://USER:PASSWORD@HOST:5432/NAME. In the password, write / ? # [ ] % as %2F %3F %23 %5B %5D %25."
        ) from None
    return found


def flag(name: str, *, default: bool, environ: Mapping[str, str] = os.environ) -> bool:
    value = text(name, environ=environ)
    if not value:
        return default
    if value.lower() not in _FLAGS:
        raise ImproperlyConfigured(f"{name}: {value!r} is neither true nor false; use one of {', '.join(_FLAGS)}")
    return _FLAGS[value.lower()]


def items(name: str, default: str = "", environ: Mapping[str, str] = os.environ) -> list[str]:
    """Read a comma-separated list, without empty entries."""
    return [item.strip() for item in text(name, default, environ).split(",") if item.strip()]


def origins(name: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Read a comma-separated list of origins as browsers send them (RFC 6454, section 6.2): scheme, host, any port."""
    found = items(name, environ=environ)
    for origin in found:
        if not re.fullmatch(r"https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?", origin):
            raise ImproperlyConfigured(
                f"{name}: {origin!r} is not an origin; use scheme, host in lower case and any port, such as "
                "https://photos.example.com or http://localhost:5173. List each origin; * is not supported"
            )
    return found


def size(name: str, default: str, environ: Mapping[str, str] = os.environ) -> int:
    """Read a number of bytes in nginx's notation: digits, then nothing, k, m or g."""
    value = text(name, default, environ)
    match = re.fullmatch(r"([1-9][0-9]{0,14})()|([1-9][0-9]{0,7})([kmg])", value.lower())
    if not match:
        raise ImproperlyConfigured(
            f"{name}: {value!r} is not a size; use digits followed by k, m or g, such as {default}"
        )
    return int(match[1] or match[3]) * _UNITS[match[4] or ""]


def seconds(name: str, default: int, environ: Mapping[str, str] = os.environ) -> int:
    value = text(name, str(default), environ)
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise ImproperlyConfigured(f"{name}: {value!r} is not a number of seconds; use digits only, such as {default}")
    return int(value)


def number(name: str, default: int, environ: Mapping[str, str] = os.environ) -> int:
    """Read a whole number of at least 1."""
    value = text(name, str(default), environ)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise ImproperlyConfigured(
            f"{name}: {value!r} is not a whole number of at least 1; use digits only, such as {default}"
        )
    return int(value)
