"""Django's settings of a database: its address, and the options without which simultaneous uploads fail."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from uploadstack import env


def settings(address: str) -> dict[str, Any]:
    """Return an entry of DATABASES. Options in the address (...?timeout=5) override the defaults.

    Raises ImproperlyConfigured.
    """
    database: dict[str, Any] = dict(env.database(address))
    if env.is_unset(str(database["PASSWORD"])):
        raise ImproperlyConfigured("The password in DATABASE_URL is still a placeholder; set POSTGRES_PASSWORD.")
    database.update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)  # seconds
    options: dict[str, Any] = {}
    if database["ENGINE"] == "django.db.backends.sqlite3":
        options = {
            # SQLite refuses a transaction that first reads and then writes if another one wrote in between, whatever
            # the timeout. With IMMEDIATE it takes the write lock at its start, and waits for it.
            # https://docs.djangoproject.com/en/5.2/ref/databases/#transactions-behavior
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,  # seconds to wait for that lock
            # With WAL, readers continue while one connection writes. With FULL, each commit syncs the log: a
            # confirmed upload also survives a power failure.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
    if database["ENGINE"] == "django.db.backends.postgresql":
        options = {"connect_timeout": 3}  # seconds; clients soon get an error if the database is down
    database["OPTIONS"] = {**options, **database.get("OPTIONS", {})}
    return database
