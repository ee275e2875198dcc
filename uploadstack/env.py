"""Reads typed values from environment variables, and refuses wrong ones with the fix in the message.

Knows nothing of Django's settings: `settings.py` says which variable means what. Every function takes the
variable's name and, for tests, the mapping to read from. A variable that is set to nothing counts as not set,
because Compose passes `NAME=` for what `.env` leaves empty.
"""

import os
import re
from collections.abc import Mapping

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}  # nginx's: powers of 1024
_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
# What people leave in place of a secret. Compared in lower case, anywhere in the value.
_PLACEHOLDERS = ("change-me", "changeme", "change_me", "!!!", "placeholder", "insecure", "example")
# What a server's address may hold: user, password, host, port, name of a database. scripts/ops/values.py has the same.
_SERVER = re.compile(
    r"[a-z0-9-]+://([^\[\]/?#@:]*(:[^\[\]/?#]*)?@)?(\[[0-9A-Fa-f:]+\]|[^\[\]/?#@:]*)(:[1-9][0-9]*)?/[^/?#]+(\?.*)?"
)
_NO_SERVER = re.compile(r"(sqlite|spatialite|oracle|oraclegis)://.*")
_PROJECT = "uploadstack"  # as .env.example has it
_SECRET_LENGTH = 32  # characters; 32 hexadecimal digits are 128 bits


def text(name: str, default: str = "", environ: Mapping[str, str] = os.environ) -> str:
    return environ.get(name, "").strip() or default


def secret(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """A value that has no default.

    Raises ImproperlyConfigured when it is missing, a placeholder, or short enough to guess.
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
    """The name with that of the project behind it, unless that is the usual one.

    Browsers send cookies to every port of a host (RFC 6265, 8.5), so two stacks on it would log each other's users out.
    """
    project = text("COMPOSE_PROJECT_NAME", _PROJECT, environ)
    return name if project == _PROJECT else f"{name}_{project}"


def is_unset(password: str) -> bool:
    """Whether it is what .env.example has in its place."""
    return password.strip().lower() == _PLACEHOLDERS[0]


def database(address: str) -> dj_database_url.DBConfig:
    """Django's settings of a database, out of an address such as postgres://USER:PASSWORD@HOST:5432/NAME.

    Raises ImproperlyConfigured, without the password, when a character of that is taken for one of the address's own.
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
    """A comma-separated list, without empty entries."""
    return [item.strip() for item in text(name, default, environ).split(",") if item.strip()]


def origins(name: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """A comma-separated list of origins as browsers send them (RFC 6454, section 6.2): scheme, host, perhaps a port."""
    found = items(name, environ=environ)
    for origin in found:
        if not re.fullmatch(r"https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?", origin):
            raise ImproperlyConfigured(
                f"{name}: {origin!r} is not an origin; use scheme, host in lower case and any port, such as "
                "https://photos.example.com or http://localhost:5173. List each origin; * is not supported"
            )
    return found


def size(name: str, default: str, environ: Mapping[str, str] = os.environ) -> int:
    """Bytes, written as nginx writes them: digits, then nothing, k, m or g."""
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
    """A whole number from 1 on."""
    value = text(name, str(default), environ)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", value):
        raise ImproperlyConfigured(
            f"{name}: {value!r} is not a whole number of at least 1; use digits only, such as {default}"
        )
    return int(value)
