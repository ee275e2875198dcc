"""Django's settings: every value that differs between places is read from the environment, once, here.

The defaults are those of a production container, except that files and database land in var/ at the repository's root
when nothing says otherwise. `.env.example` explains the variables; `env.py` refuses wrong ones.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from config import env, logs

BASE_DIR = Path(__file__).resolve().parent.parent
_VAR = BASE_DIR.parent / "var"

SECRET_KEY = env.secret("SECRET_KEY")
DEBUG = env.flag("DEBUG", default=False)
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")

# --- What this project adds -------------------------------------------------------------------------------------------

UPLOAD_MAX = env.size("UPLOAD_MAX", "100m")  # bytes, of one request's body, as nginx counts
# Bytes of photos that each user may have in all; 0 is no limit.
USER_QUOTA = 0 if env.text("USER_QUOTA", "0") == "0" else env.size("USER_QUOTA", "10g")
LOGIN_FAILURES = env.number("LOGIN_FAILURES", 10)  # of one account, until each further attempt has to wait
GALLERY_PUBLIC = env.flag("GALLERY_PUBLIC", default=True)  # False: a login is needed to look, too
X_ACCEL_PREFIX = env.text("X_ACCEL_PREFIX")  # nginx's internal location; empty: Django sends the files itself
# Seconds from a request's start until its photos are committed: above what decoding one takes (photos/limits.py), and
# below the server's --timeout, so that what was answered 504 is not stored afterwards (tests/test_limits.py).
UPLOAD_SECONDS = 50
# Files are locked while a request works on them, so this only has to outlast the moment between creating and locking.
SWEEP_AGE = env.seconds("SWEEP_AGE", 600)
SWEEP_INTERVAL = env.seconds("SWEEP_INTERVAL", 600)  # between sweeps that uploads start on the side
# Published files that no row knows are kept for so long before they are deleted: the database may have been wrong.
SWEEP_QUARANTINE = env.seconds("SWEEP_QUARANTINE", 7 * 24 * 3600)

# --- Application ------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "drf_spectacular",
    "photos",
]
MIDDLEWARE = [
    "config.requestid.RequestId",
    "photos.deadline.Deadline",
    "config.health.HealthChecks",  # before all that could fail, and before the Host header is looked at
    "config.redirects.KeepBodies",  # around all that redirects
    "django.middleware.security.SecurityMiddleware",
    "config.headers.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "photos.permissions.PrivateAnswers",
    "photos.bodylimit.BodyLimit",  # before the CSRF check, which reads a form's body
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
# What a message says ends with the login it was for: a cookie would be there for the browser's next user.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING = logs.configuration(env.text("LOG_LEVEL", "INFO").upper())

# --- Database ---------------------------------------------------------------------------------------------------------


def _database(url: str) -> dict[str, Any]:
    if not url:
        _VAR.mkdir(exist_ok=True)  # SQLite creates the file, not the folder
        url = f"sqlite:///{_VAR / 'db.sqlite3'}"
    database: dict[str, Any] = dict(dj_database_url.parse(url))
    if env.is_unset(str(database["PASSWORD"])):
        raise ImproperlyConfigured("The password in DATABASE_URL is still a placeholder: set POSTGRES_PASSWORD.")
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
    database["OPTIONS"] = {**options, **database.get("OPTIONS", {})}  # what the URL says (...?timeout=5) counts
    return database


DATABASES = {"default": _database(env.text("DATABASE_URL"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Files ------------------------------------------------------------------------------------------------------------


def _folder(variable: str, development: Path) -> Path:
    if given := env.text(variable):
        return Path(given)
    development.mkdir(parents=True, exist_ok=True)
    return development


MEDIA_ROOT = _folder("MEDIA_ROOT", _VAR / "media")
STATIC_ROOT = _folder("STATIC_ROOT", _VAR / "static")
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.staticfiles.StaticFiles"},
}
WHITENOISE_USE_FINDERS = True  # the plain names work without collectstatic
WHITENOISE_AUTOREFRESH = DEBUG

# Multipart files go straight to MEDIA_ROOT/incoming, whatever their size, by the same code as raw bodies: on
# the media volume, so that the last step is a rename. That is what FILE_UPLOAD_TEMP_DIR is for elsewhere.
FILE_UPLOAD_HANDLERS = ["photos.multipart.IncomingFileHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes of a form without its files; ours hold a name and a password
DATA_UPLOAD_MAX_NUMBER_FILES = 100

# --- Who may come in --------------------------------------------------------------------------------------------------

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "gallery"
LOGOUT_REDIRECT_URL = "gallery"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
CSRF_COOKIE_HTTPONLY = True  # the page's script takes the token from the form
CSRF_FAILURE_VIEW = "photos.problems.csrf_failure"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # HSTS is for whoever ends TLS
    "security.W008",  # so is the redirect to HTTPS
    "security.W012",  # config/headers.py marks cookies Secure whenever the request came over HTTPS
    "security.W016",
]

# --- API --------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    # The first one's challenge makes a missing login a 401 instead of a 403.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "photos.tokens.BoundTokens",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["photos.permissions.MayLook"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "photos.negotiation.AlwaysJson",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "photos.problems.exception_handler",
}
REST_KNOX = {"TOKEN_TTL": timedelta(days=30)}
SPECTACULAR_SETTINGS = {
    "TITLE": "Photos",
    "DESCRIPTION": "Upload pictures in any framing HTTP/1.1 knows, list them, take them away.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["photos.documentation.require_bodies"],
    "COMPONENT_SPLIT_REQUEST": True,  # or a file to upload is described as the address of one
}
