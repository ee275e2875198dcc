"""Completes a project's settings from the environment that compose.yaml sets.

At the end of the project's settings: `from uploadstack.settings import configure`, and `configure(globals())`.
"""

from typing import Any

from uploadstack import database, env, json_logging

_OUTERMOST = [
    "uploadstack.request_id.RequestId",
    "uploadstack.health.HealthChecks",  # before everything that can fail, and before the Host header is checked
    "uploadstack.redirects.KeepBodies",  # around everything that redirects
    "uploadstack.security_headers.SecurityHeaders",
]


def configure(settings: dict[str, Any]) -> None:
    """Complete the settings of a project, given as the globals of their module.

    It replaces the settings that differ between environments (secret, hosts, database, folders) and LOGGING. It adds
    middleware, and the commands of this package. It keeps the names of cookies if the project sets them. Raises
    ImproperlyConfigured, with the variable's name, if a variable is missing or wrong.
    """
    settings |= _from_environment()
    settings["INSTALLED_APPS"] = [*settings.get("INSTALLED_APPS", []), "uploadstack"]
    settings["MIDDLEWARE"] = [*_OUTERMOST, *settings.get("MIDDLEWARE", [])]
    # nginx reads this cookie (nginx/anonymous.conf.template).
    settings.setdefault("SESSION_COOKIE_NAME", env.cookie("sessionid"))
    settings.setdefault("CSRF_COOKIE_NAME", env.cookie("csrftoken"))


def _from_environment() -> dict[str, Any]:
    """Return the settings that differ between environments. Relative paths are for `make dev`, which starts at the
    repository's root.
    """
    media = env.text("MEDIA_ROOT")
    return {
        "SECRET_KEY": env.secret("SECRET_KEY"),
        "DEBUG": env.flag("DEBUG", default=False),
        "ALLOWED_HOSTS": env.items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]"),
        "CSRF_TRUSTED_ORIGINS": env.items("CSRF_TRUSTED_ORIGINS"),
        "DATABASES": {"default": database.settings(env.text("DATABASE_URL", "sqlite:///var/db.sqlite3"))},
        "UPLOAD_MAX": env.size("UPLOAD_MAX", "100m"),  # bytes of one request's body, as nginx counts
        "MEDIA_URL": "/media/",
        "MEDIA_ROOT": media or "var/media",
        "FILE_UPLOAD_TEMP_DIR": media or None,  # it has room for large files; a container's /tmp has 64 MB
        "STATIC_URL": "/static/",
        "STATIC_ROOT": env.text("STATIC_ROOT", "var/static"),
        "LOGGING": json_logging.configuration(env.text("LOG_LEVEL", "INFO").upper()),
    }
