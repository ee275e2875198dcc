"""The settings of a process: `manage.py` with a new environment."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

MANAGE = Path(__file__).parents[2] / "app" / "manage.py"


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(MANAGE), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set. Run `make env`"),
        ({"SECRET_KEY": "change-me"}, "SECRET_KEY is still a placeholder"),
        ({"DATABASE_URL": "postgres://uploads:change-me@db/uploads"}, "DATABASE_URL is still a placeholder"),
        ({"UPLOAD_MAX": "lots"}, "UPLOAD_MAX: 'lots' is not a size"),
        ({"USER_QUOTA": "lots"}, "USER_QUOTA: 'lots' is not a size"),
        ({"LOGIN_FAILURES": "0"}, "LOGIN_FAILURES: '0' is not a whole number of at least 1"),
        ({"GALLERY_PUBLIC": "perhaps"}, "GALLERY_PUBLIC: 'perhaps' is neither true nor false"),
    ],
)
def test_an_invalid_variable_stops_the_start_with_a_remedy(
    environment: dict[str, str], change: dict[str, str], complaint: str
) -> None:
    done = manage(environment | change, "check")
    assert done.returncode != 0
    assert complaint in done.stderr


def test_the_deployment_check_finds_nothing(environment: dict[str, str]) -> None:
    done = manage(environment, "check", "--deploy", "--fail-level", "INFO")
    assert done.returncode == 0, done.stderr


def test_the_migrations_match_the_models(environment: dict[str, str], transactional_db: None) -> None:
    done = manage(environment, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


def test_static_files_get_names_with_a_hash(environment: dict[str, str], tmp_path: Path) -> None:
    done = manage(environment | {"STATIC_ROOT": str(tmp_path)}, "collectstatic", "--noinput", "-v0")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "photos").glob("style.????????????.css.gz"))) == 1
    assert (tmp_path / "staticfiles.json").exists()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own settings")
@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("busy_timeout", 20_000)])
def test_sqlite_is_set_up_for_several_writers(transactional_db: None, pragma: str, value: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {pragma}")
        assert cursor.fetchone() == (value,)


@pytest.mark.parametrize(
    ("url", "option", "value"),
    [
        ("sqlite:////tmp/db.sqlite3", "timeout", 20),
        ("sqlite:////tmp/db.sqlite3?timeout=3", "timeout", 3),
        ("postgres://u:p@db/u", "connect_timeout", 3),
        ("postgres://u:p@db/u?connect_timeout=9&sslmode=require", "connect_timeout", 9),
    ],
)
def test_an_option_in_the_database_url_overrides_the_default(
    environment: dict[str, str], url: str, option: str, value: int
) -> None:
    program = "from django.conf import settings; print(settings.DATABASES['default']['OPTIONS'])"
    done = manage(environment | {"DATABASE_URL": url, "PYTHONPATH": str(MANAGE.parent)}, "shell", "-v0", "-c", program)
    assert f"'{option}': {value}" in done.stdout, done.stderr


# Characters of a password that have a meaning in an address.
@pytest.mark.parametrize("password", ["a/b", "a#b", "a?b", "a[b", "a]b", "12?3", "12#3", "100%", "%zz"])
def test_a_password_that_breaks_the_url_is_refused_and_not_printed(environment: dict[str, str], password: str) -> None:
    url = f"postgres://uploads:{password}@db:5432/uploads"
    done = manage({**environment, "DATABASE_URL": url}, "check")
    last = done.stderr.strip().splitlines()[-1]
    assert (done.returncode, "DATABASE_URL is not the address of a database" in last) == (1, True), done.stderr
    assert password not in done.stderr
