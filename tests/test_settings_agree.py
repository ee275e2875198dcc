"""All readers of a setting agree on its values, and the scripts refuse each value that a reader refuses.

The readers are scripts/ops/values.py, nginx/entrypoint.sh, uploadstack/env.py and wsgiserver/settings.py. Each gets the
same words separately.
"""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from scripts.ops import values
from uploadstack import env
from wsgiserver.settings import from_variables
from wsgiserver.values import SettingError

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = dict(re.findall(r"(?m)^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text()))

SIZES = ["100m", "100M", "1g", "1G", "512k", "52428800", "0", "00", "0100m", "100mb", "100 m", "1.5g", "-1", "m", "1e3"]
SIZES += ["9999999999g", "99999999g", "1t", "٣m"]
FLAGS = ["true", "True", "TRUE", "1", "yes", "on", "ON", "false", "0", "no", "off", "2", "y", "maybe", "enabled"]
NUMBERS = ["1", "2", "512", "0", "-1", "08", "two", "1.0", "1_0", "+1", "4 ", "auto", "²"]


def scripts(name: str) -> Callable[[str], bool]:
    return lambda value: not list(values.problems({name: value}, ".env"))


def nginx(name: str) -> Callable[[str], bool]:
    def accepts(value: str) -> bool:
        environment = {**DEFAULTS, name: value, "PATH": os.environ["PATH"], "PIDS_MAX": "max"}
        command = ["sh", str(ROOT / "nginx" / "entrypoint.sh"), "--check"]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

    return accepts


def django(read: Callable[[dict[str, str]], object]) -> Callable[[str], bool]:
    def accepts(value: str) -> bool:
        try:
            read({"NAME": value})
        except ImproperlyConfigured:
            return False
        return True

    return accepts


def wsgiserver(name: str) -> Callable[[str], bool]:
    def accepts(value: str) -> bool:
        try:
            from_variables({f"WSGISERVER_{name}": value})
        except SettingError:
            return False
        return True

    return accepts


# Setting -> the words, and its readers.
READERS: dict[str, tuple[list[str], list[Callable[[str], bool]]]] = {
    "UPLOAD_MAX": (
        SIZES,
        [nginx("UPLOAD_MAX"), django(lambda given: env.size("NAME", "1m", given)), wsgiserver("MAX_BODY")],
    ),
    "DEBUG": (FLAGS, [django(lambda given: env.flag("NAME", default=True, environ=given))]),
    "TLS": (FLAGS, [nginx("TLS")]),
    "ANONYMOUS_UPLOADS": (FLAGS, [nginx("ANONYMOUS_UPLOADS")]),
    "HTTPS_PORT": ([*NUMBERS, "443", "65535", "65536"], [nginx("HTTPS_PORT")]),
    "LOGIN_FAILURES": (
        [word for word in NUMBERS if word != "4 "],
        [django(lambda given: env.number("NAME", 1, given))],
    ),
}
# Addresses of databases. RFC 3986, Python's urlsplit and people split some of them in different ways.
ADDRESSES = """
postgres://u:p@db/n
postgres://u:p@db:5432/n?sslmode=require
postgres://u:1/x@db/n
postgres://u:p@db:/n
postgres://u:p@db:0/n
postgres://u:p@db:65535/n
postgres://u:p@db:65536/n
postgres://u:p@db:54a/n
postgres://u:p@db:-1/n
postgres://u:p@db/n?a=b#x
postgres://u:p@db/n#
postgres://u:p@db/n/m
postgres://u:p@db/n/
postgres://u:p@db//n
postgres://u:p@db/
postgres://u:p@db
postgres:///n
postgres:///n?host=%2Frun
postgres://u@db/n
postgres://:p@db/n
postgres://u:p@/n
postgres://u:a:b@db/n
postgres://u:a@b@db/n
postgres://u@x:a@db/n
postgres://u:a#b@db/n
postgres://u:a?b@db/n
postgres://u:a[b@db/n
postgres://u:[a]b@db/n
postgres://u:p@[::1]:5432/n
postgres://u:p@[::1]x/n
postgres://u:p@[:::]/n
postgres://u:p@[v1.a]/n
postgres://u:p p@db/n
postgres://u:p\tp@db/n
postgres://u:p@db/n%2Fm
postgres://u:100%@db/n
postgres://u:%zz@db/n
postgres://u%40x:%2F%23@db/n
postgres://u:p\u2100@db/n
postgres://u:p@\uff20/n
POSTGRES://u:p@db/n
postgresql://u:p@db/n
pgsql://u:p@db/n
postgis://u:p@db/n
postgres:u:p@db/n
postgres:/u:p@db/n
postgress://u:p@db/n
mysql://u:p@db/n
mysql://u:1/x@db/n
mysql://u:a#b@db/n
mysql-x://u:p@db/n
mssql-x://u:p@db/n
oracle://u:p@db/n
oracle-x://u:p@db/n
cockroach://u:100%@db/n
cockroach://u:1/x@db/n
redshift://u:p@db/n
sqlite:////srv/d.sqlite3?timeout=20
sqlite:////srv/100%
sqlite:////srv/d#x
sqlite:////srv/a%20b
""".strip("\n").splitlines()

# The scripts may refuse more of these: gunicorn does not check them, and wsgiserver accepts `auto`.
STRICTER: dict[str, tuple[list[str], list[Callable[[str], bool]]]] = {
    "WEB_WORKERS": (NUMBERS, [wsgiserver("WORKERS")]),
    "WEB_THREADS": (NUMBERS, [wsgiserver("THREADS")]),
    "SWEEP_AGE": (NUMBERS, [django(lambda given: env.seconds("NAME", 1, given))]),
    "SWEEP_INTERVAL": (NUMBERS, [django(lambda given: env.seconds("NAME", 1, given))]),
    "SWEEP_QUARANTINE": (NUMBERS, [django(lambda given: env.seconds("NAME", 1, given))]),
}


@pytest.mark.parametrize("name", READERS)
def test_scripts_accept_exactly_the_values_that_all_readers_accept(name: str) -> None:
    words, readers = READERS[name]
    accepted = {word: all(accepts(word) for accepts in readers) for word in words}
    assert {word: scripts(name)(word) for word in words} == accepted
    assert set(accepted.values()) == {True, False}


@pytest.mark.parametrize("name", STRICTER)
def test_no_reader_refuses_a_value_that_the_scripts_accept(name: str) -> None:
    words, readers = STRICTER[name]
    accepted = [word for word in words if scripts(name)(word)]
    assert accepted
    assert [word for word in accepted if not all(accepts(word) for accepts in readers)] == []


def test_scripts_and_django_accept_the_same_databases() -> None:
    def reads(address: str) -> bool:
        try:
            env.database(address)
        except ImproperlyConfigured:
            return False
        return True

    accepted = {address: reads(address) for address in ADDRESSES}
    assert {address: scripts("DATABASE_URL")(address) for address in ADDRESSES} == accepted
    assert set(accepted.values()) == {True, False}


@pytest.mark.parametrize("address", ["postgres://u:1/x@db/n", "mysql://u:1/x@db/n", "postgres://u:p\tp@db/n"])
def test_an_ambiguous_database_address_is_refused(address: str) -> None:
    """Python would read `u` as the host and the rest as the name of a database, or drop the tab."""
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is not the address of a database"):
        env.database(address)
    assert not scripts("DATABASE_URL")(address)


def test_nginx_and_django_accept_the_same_sizes() -> None:
    """If only one of them accepted a size, it would start alone, or one would refuse uploads that the other accepts."""
    of_nginx, of_django = READERS["UPLOAD_MAX"][1][:2]
    assert [word for word in SIZES if of_nginx(word) != of_django(word)] == []
