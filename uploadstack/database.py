"""What Django is told of a database: its address, and the options without which uploads at the same time fail."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from uploadstack import env


def settings(address: str) -> dict[str, Any]:
    """An entry of DATABASES. What the address says itself (...?timeout=5) counts."""
    database: dict[str, Any] = dict(env.database(address))
    if env.is_unset(str(database["PASSWORD"])):
        raise ImproperlyConfigured("The password in DATABASE_URL is still a placeholder; set POSTGRES_PASSWORD.")
    database.update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)  # seconds
    options: dict[str, Any] = {}
    if database["ENGINE"] == "django.db.backends.sqlite3":
        options = {
            # A transaction that starts by reading and then writes is refused at once when another one wrote in
            # between, whatever the timeout. IMMEDIATE takes the write lock first, so it waits instead.
            # https://docs.djangoproject.com/en/5.2/ref/databases/#transactions-behavior
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,  # seconds to wait for that lock
            # WAL lets readers go on while one writes. FULL syncs the log on every commit: an upload that was
            # answered survives a power cut, too.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
    if database["ENGINE"] == "django.db.backends.postgresql":
        options = {"connect_timeout": 3}  # seconds; a client hears soon that the database is away
    database["OPTIONS"] = {**options, **database.get("OPTIONS", {})}
    return database
