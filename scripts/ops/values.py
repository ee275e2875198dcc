"""Rules for the value of each setting on its own, checked before anything is changed.

fit.py checks settings against each other, and nginx/entrypoint.sh checks those that only nginx reads. A rule here is
never looser than the program that reads the value (tests/test_settings_agree.py), so no program starts with a value
that it then refuses. An empty value means the default. Values of secrets are not printed.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Problem(NamedTuple):
    """What is wrong, and what would be right."""

    wrong: str
    right: str


@dataclass(frozen=True)
class Rule:
    """A test for a value, what is wrong if it fails, and what would be right."""

    fits: Callable[[str], bool]
    wrong: str
    right: str


def pattern(expression: str, wrong: str, right: str) -> Rule:
    return Rule(lambda value: re.fullmatch(expression, value) is not None, wrong, right)


def each(rule: Rule) -> Rule:
    """Apply a rule to each entry of a list that is separated by commas. Empty entries are ignored."""
    return Rule(
        lambda value: all(rule.fits(entry.strip()) for entry in value.split(",") if entry.strip()),
        rule.wrong,
        rule.right,
    )


def number(lowest: int, highest: int) -> Rule:
    def fits(value: str) -> bool:
        return re.fullmatch(r"0|[1-9][0-9]{0,8}", value) is not None and lowest <= int(value) <= highest

    return Rule(fits, f"is not a number from {lowest} to {highest}", "use digits only")


def _is_amount(value: str) -> bool:
    """As both generations of Compose read it: 768m, 1.5g, 512MB, 805306368. The engine's minimum is 6 MiB."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kmgt]?)b?", value.lower())
    return found is not None and float(found[1]) * 1024.0 ** " kmgt".index(found[2] or " ") >= 6 * 1024**2


def _is_duration(value: str) -> bool:
    """At most SLOWEST_HEALTH, because `make up` waits three minutes until all containers are healthy."""
    found = re.fullmatch(r"([1-9][0-9]{0,2})([sm])", value)
    return found is not None and int(found[1]) * {"s": 1, "m": 60}[found[2]] <= SLOWEST_HEALTH


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value[1:-1] if value.startswith("[") and value.endswith("]") else value)
    except ValueError:
        return False
    return True


def _is_safe_secret(value: str) -> bool:
    return not any(word in value.lower() for word in PLACEHOLDERS)


SLOWEST_HEALTH = 120  # seconds
# As in uploadstack/env.py: words that it refuses in SECRET_KEY, and the minimum length.
PLACEHOLDERS = ("change-me", "changeme", "change_me", "!!!", "placeholder", "insecure", "example")
SECRET_LENGTH = 32
RANDOM = "replace it in {file} with a random value; this command prints one: openssl rand -hex 32"

PORT = Rule(number(1, 65535).fits, "is not a port", "use a number from 1 to 65535")
SIZE = pattern(
    r"[1-9][0-9]{0,14}|[1-9][0-9]{0,7}[kmgKMG]",
    "is not a size",
    "use digits followed by k, m or g, such as {name}=100m",
)
AMOUNT = Rule(
    _is_amount, "is not an amount of memory", "use digits followed by m or g, at least 6m, such as {name}=768m"
)
CPUS = pattern(
    r"(?!0*\.?0*$)[0-9]*\.?[0-9]+", "is not a number of CPUs", "use a decimal number above 0, such as {name}=1.5"
)
FLAG = pattern(r"(?i)true|1|yes|on|false|0|no|off", "is neither true nor false", "use {name}=true or {name}=false")
SWITCH = pattern(r"on|off", "is neither on nor off", "use {name}=on or {name}=off")
NO_PLACEHOLDER = Rule(lambda value: value.strip().lower() != "change-me", "is still the placeholder", RANDOM)
IMAGE = pattern(
    r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?",
    "is not the name of an image",
    "use name:tag, after the registry if the image has one, such as registry.example.com/python:3.14",
)


def place(volume: str) -> Rule:
    """A folder, or the volume that compose.yaml declares for it."""
    return pattern(
        rf"{volume}|\.{{0,2}}/[^:]*",
        f"is neither a folder nor the volume {volume}",
        f"use a path that begins with / or ./ and has no colon, or the default: {{name}}={volume}",
    )


# A password may contain delimiters of an address if they are percent-encoded, such as %2F (RFC 3986, section 2.1).
_USER = r"([^\[\]/?#@:]*(:[^\[\]/?#]*)?@)?"
_HOST = r"(\[[0-9A-Fa-f:]+\]|[^\[\]/?#@:]*)(:[1-9][0-9]*)?"


def _is_unambiguous(address: str) -> bool:
    """Whether no character can be mistaken for a delimiter of the address, or be dropped. As in uploadstack/env.py."""
    try:
        parts = urlsplit(address)
        is_port = parts.port is None or parts.port > 0
        if "[" in parts.netloc:
            ipaddress.IPv6Address(parts.hostname or "")
    except ValueError:
        return False
    server = rf"[a-z0-9-]+://{_USER}{_HOST}/[^/?#]+(\?.*)?"
    known = re.fullmatch(rf"(sqlite|spatialite|oracle|oraclegis)://.*|{server}", address)
    return is_port and known is not None and not re.search(r"#|%(?![0-9A-Fa-f]{2})|[\x00-\x1f\x7f]", address)


DATABASE = (
    pattern(
        r"[a-z][a-z0-9+.-]*://.*",
        "is not the address of a database",
        "use an address such as postgres://user:password@host:5432/name",
    ),
    pattern(
        r"(sqlite|spatialite|postgres|postgresql|pgsql|postgis|mysql2?|mysql-connector|mysqlgis|mssql|mssqlms"
        r"|oracle|oraclegis|redshift|cockroach|timescale|timescalegis)://.*",
        "names an unknown kind of database",
        "use an address that begins with postgres:// or sqlite:////",
    ),
    pattern(
        r"(?:sqlite|spatialite):///(/[^?]+)(\?.*)?|(?!sqlite|spatialite).*",
        "does not name an absolute path, so the database would not be kept",
        "write four slashes, such as sqlite:////srv/data/db.sqlite3",
    ),
    pattern(
        r"(?:sqlite|spatialite)://.*|[^:]+://(?:.*@)?[^@/?]*/[^/?]+(\?.*)?",
        "lacks the name of the database",
        "write the name last, such as postgres://user:password@host:5432/name",
    ),
    Rule(
        _is_unambiguous,
        "is not an address such as postgres://USER:PASSWORD@HOST:5432/NAME",
        "use a password of letters and digits, or write / ? # [ ] % in it as %2F %3F %23 %5B %5D %25",
    ),
    pattern(
        r"(?!.*:change-me@).*",
        "has the placeholder as its password",
        "use the password of that database's role",
    ),
)

RULES: dict[str, tuple[Rule, ...]] = {
    "SECRET_KEY": (
        NO_PLACEHOLDER,
        Rule(_is_safe_secret, "contains a well-known placeholder", RANDOM),
        Rule(lambda value: len(value) >= SECRET_LENGTH, f"has fewer than {SECRET_LENGTH} characters", RANDOM),
    ),
    "DEMO_USER": (
        pattern(
            r"[^\x00-\x1f\x7f]{1,150}",
            "is not a name for a user",
            "use at most 150 characters, without control characters",
        ),
    ),
    "DEMO_PASSWORD": (NO_PLACEHOLDER,),
    "POSTGRES_PASSWORD": (NO_PLACEHOLDER,),
    "GRAFANA_PASSWORD": (NO_PLACEHOLDER,),
    "COMPOSE_PROJECT_NAME": (
        pattern(
            r"[a-z0-9]+((_{1,2}|-+)[a-z0-9]+)*",  # the names of images begin with it
            "is not a name for a project",
            "use lower-case letters and digits, with - or _ between them, such as uploadstack",
        ),
    ),
    "IMAGE_TAG": (
        pattern(
            r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
            "is not a tag",
            "use at most 128 letters, digits, ., - and _, such as local",
        ),
    ),
    "BIND_ADDRESS": (
        Rule(_is_address, "is not an IP address", "use an address, not a name: 127.0.0.1, 0.0.0.0 or [::]"),
    ),
    "HTTP_PORT": (PORT,),
    "GUNICORN_PORT": (PORT,),
    "RUNSERVER_PORT": (PORT,),
    "PROMETHEUS_PORT": (PORT,),
    "GRAFANA_PORT": (PORT,),
    "ALLOWED_HOSTS": (),  # nginx/entrypoint.sh
    "TLS": (SWITCH,),
    "HTTPS_PORT": (PORT,),
    "TLS_FOLDER": (place("certificates"),),
    "TRUSTED_PROXIES": (),  # nginx/entrypoint.sh
    "CSRF_TRUSTED_ORIGINS": (
        each(
            pattern(
                r"https?://(\*\.)?[^/,*\s]+",
                "is not an origin",
                "use https:// and a host name without a path, such as https://photos.example.com",
            )
        ),
    ),
    "CORS_ALLOWED_ORIGINS": (),  # nginx/entrypoint.sh
    "DJANGO_SETTINGS_MODULE": (
        pattern(
            r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*",
            "is not the name of a module",
            "use the settings module of the project in app/, such as mysite.settings",
        ),
    ),
    "UPLOAD_MAX": (SIZE,),
    "ANONYMOUS_UPLOADS": (SWITCH,),
    "USER_QUOTA": (
        Rule(
            lambda value: value == "0" or SIZE.fits(value),
            "is neither 0 nor a size",
            "use 0 for no limit, or digits followed by k, m or g, such as {name}=10g",
        ),
    ),
    "GALLERY_PUBLIC": (FLAG,),
    "DEBUG": (FLAG,),
    "DATABASE_URL": DATABASE,
    "COMPOSE_PROFILES": (
        Rule(
            lambda value: {"", "demo", "postgres", "monitoring", "prometheus"} >= set(value.split(",")),
            "names something that is not a profile",
            "use demo, postgres, monitoring or prometheus; separate several by commas without blanks",
        ),
    ),
    "WEB_WORKERS": (number(1, 512),),
    "WEB_THREADS": (number(1, 512),),
    "WEB_REPLICAS": (number(1, 100),),
    "WEB_MEMORY": (AMOUNT,),
    "WEB_CPUS": (CPUS,),
    "NGINX_WORKERS": (),  # nginx/entrypoint.sh
    "NGINX_MEMORY": (AMOUNT,),
    "NGINX_CPUS": (CPUS,),
    "CLIENT_CONNECTIONS": (),  # nginx/entrypoint.sh
    "TOTAL_CONNECTIONS": (),  # nginx/entrypoint.sh
    "LOGIN_RATE": (),  # nginx/entrypoint.sh
    "LOGIN_FAILURES": (number(1, 999999999),),
    "NGINX_SPOOL": (place("nginx-spool"),),
    "WEB_SPOOL": (place("spool"),),
    "SWEEP_AGE": (number(1, 999999999),),
    "SWEEP_INTERVAL": (number(1, 999999999),),
    "SWEEP_QUARANTINE": (number(0, 999999999),),
    "DB_MEMORY": (AMOUNT,),
    "DB_CPUS": (CPUS,),
    "HEALTH_INTERVAL": (
        Rule(
            _is_duration,
            f"is not a time from 1s to {SLOWEST_HEALTH}s",
            "use digits followed by s (seconds) or m (minutes), such as HEALTH_INTERVAL=5s",
        ),
    ),
    "PYTHON_IMAGE": (IMAGE,),
    "NGINX_IMAGE": (IMAGE,),
    "POSTGRES_IMAGE": (IMAGE,),
    "PROMETHEUS_IMAGE": (IMAGE,),
    "GRAFANA_IMAGE": (IMAGE,),
}
SECRETS = {"SECRET_KEY", "DEMO_PASSWORD", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
# Names that Compose and Docker's client read.
FOREIGN = re.compile(r"(COMPOSE|DOCKER|BUILDKIT|BUILDX)_\w+|(?i:https?_proxy|no_proxy)")
PLACES = {"TLS_FOLDER", "NGINX_SPOOL", "WEB_SPOOL"}


def problems(values: Mapping[str, str], file: str) -> Iterator[Problem]:
    """Yield the first problem of each value. `file` is the path of .env, for messages."""
    yield from _different_passwords(values)
    for name, rules in RULES.items():
        value = values.get(name, "")
        if not value or _is_ignored(name, value, values):
            continue
        for rule in rules:
            if not rule.fits(value):
                yield Problem(f"{_shown(name, value)} {rule.wrong}", rule.right.format(name=name, file=file))
                break


def _is_ignored(name: str, value: str, values: Mapping[str, str]) -> bool:
    """Whether nothing reads the value, or another Compose file may declare the volume that it names."""
    if name == "GRAFANA_PASSWORD":
        return "monitoring" not in values.get("COMPOSE_PROFILES", "")
    return name in PLACES and "COMPOSE_FILE" in values and re.fullmatch(r"[\w.-]+", value) is not None


def _different_passwords(values: Mapping[str, str]) -> Iterator[Problem]:
    """Compare the password of the role in this stack's own database with the address, in which %42 means B."""
    address = values.get("DATABASE_URL", "")
    own = re.match(r"(?:postgres|postgresql|pgsql|postgis)://uploads:(.*)@db(?::5432)?/", address)
    password = values.get("POSTGRES_PASSWORD", "")
    if own and password and unquote(own[1]) != password:
        yield Problem(
            "DATABASE_URL and POSTGRES_PASSWORD have different passwords for one role of this stack's database",
            "write the same password in both; in DATABASE_URL write / ? # [ ] % as %2F %3F %23 %5B %5D %25",
        )


def _shown(name: str, value: str) -> str:
    if name in SECRETS:
        return name
    line = " ".join(value.split()) if name != "DATABASE_URL" else re.sub(r"://.*@", "://...@", " ".join(value.split()))
    return f"{name}: '{line}'"


# --- names ------------------------------------------------------------------------------------------------------------


def unread(names: Iterable[str], others: Iterable[str]) -> Iterator[Problem]:
    """Yield unknown names, each with the most similar setting. `others` are names that something else reads."""
    read = {*RULES, *others}
    for name in dict.fromkeys(names):
        if name not in read and not FOREIGN.fullmatch(name):
            near = difflib.get_close_matches(name.upper(), RULES, 1, 0.66)
            yield Problem(
                f"{name} is not a known setting",
                f"did you mean {near[0]}?" if near else ".env.example lists the settings",
            )
