"""What the stack needs of a project's settings, from the environment that compose.yaml makes.

At the end of the settings: `from uploadstack.settings import configure`, and `configure(globals())`.
"""

from typing import Any

from uploadstack import database, env, json_logging

_OUTERMOST = [
    "uploadstack.request_id.RequestId",
    "uploadstack.health.HealthChecks",  # before all that could fail, and before the Host header is checked
    "uploadstack.redirects.KeepBodies",  # around all that redirects
    "uploadstack.security_headers.SecurityHeaders",
]


def configure(settings: dict[str, Any]) -> None:
    """Complete the settings of a project, given as the globals of their module.

    Replaced: what says where the project runs (secret, hosts, database, folders), and LOGGING. Added: middleware, and
    the commands of this package. Kept: names of cookies, if the project has its own. Raises ImproperlyConfigured, with
    the variable's name, when the environment lacks a value or has a wrong one.
    """
    settings |= _place()
    settings["INSTALLED_APPS"] = [*settings.get("INSTALLED_APPS", []), "uploadstack"]
    settings["MIDDLEWARE"] = [*_OUTERMOST, *settings.get("MIDDLEWARE", [])]
    settings.setdefault(
        "SESSION_COOKIE_NAME", env.cookie("sessionid")
    )  # nginx looks for it (nginx/anonymous.conf.template)
    settings.setdefault("CSRF_COOKIE_NAME", env.cookie("csrftoken"))


def _place() -> dict[str, Any]:
    """Return what differs between places. Relative paths are for `make dev`, which starts at the repository's root."""
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
        "FILE_UPLOAD_TEMP_DIR": media or None,  # where there is room for large ones: a container's /tmp has 64 MB
        "STATIC_URL": "/static/",
        "STATIC_ROOT": env.text("STATIC_ROOT", "var/static"),
        "LOGGING": json_logging.configuration(env.text("LOG_LEVEL", "INFO").upper()),
    }
