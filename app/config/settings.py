"""Django's settings. Every value that differs between environments is read here, once, from environment variables.

The defaults are those of a production container, except that files and database are in var/ at the repository's root
unless a variable says otherwise. `.env.example` explains the variables; `uploadstack/env.py` refuses wrong values.
"""

from datetime import timedelta
from pathlib import Path

from photos import limits
from uploadstack import database, env, json_logging

BASE_DIR = Path(__file__).resolve().parent.parent
_VAR = BASE_DIR.parent / "var"

SECRET_KEY = env.secret("SECRET_KEY")
DEBUG = env.flag("DEBUG", default=False)
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")
CORS_ALLOWED_ORIGINS = env.origins("CORS_ALLOWED_ORIGINS")  # sites whose pages may use the API, with tokens

# --- What this project adds -------------------------------------------------------------------------------------------

UPLOAD_MAX = env.size("UPLOAD_MAX", "100m")  # bytes of one request's body, as nginx counts
# Bytes that all photos of one user may have; 0 disables the limit.
USER_QUOTA = 0 if env.text("USER_QUOTA", "0") == "0" else env.size("USER_QUOTA", "10g")
LOGIN_FAILURES = env.number("LOGIN_FAILURES", 10)  # failed logins of one account until further attempts have to wait
GALLERY_PUBLIC = env.flag("GALLERY_PUBLIC", default=True)  # False: viewing needs a login as well
X_ACCEL_PREFIX = env.text("X_ACCEL_PREFIX")  # nginx's internal location; empty: Django sends the files itself
UPLOAD_SECONDS = limits.UPLOAD_SECONDS
# Requests lock the files that they work on, so this need only be longer than the time between creating and locking.
SWEEP_AGE = env.seconds("SWEEP_AGE", 600)
SWEEP_INTERVAL = env.seconds("SWEEP_INTERVAL", 600)  # between the sweeps that uploads start
# Published files without a row are deleted only after this time, because the database may have been wrong.
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
    "corsheaders",
    "photos",
    "uploadstack",
]
MIDDLEWARE = [
    "uploadstack.request_id.RequestId",
    "photos.middleware.Deadline",
    "uploadstack.health.HealthChecks",  # before everything that can fail, and before the Host header is checked
    "uploadstack.redirects.KeepBodies",  # around everything that redirects
    "django.middleware.security.SecurityMiddleware",
    "uploadstack.security_headers.SecurityHeaders",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "photos.middleware.PrivateAnswers",
    "photos.middleware.LowerCaseMediaType",
    "photos.middleware.BodyLimit",  # before the CSRF check, which reads a form's body
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if CORS_ALLOWED_ORIGINS:  # without origins the middleware would still add `Vary: Origin` to each response
    # Around everything that responds, so that pages of other sites can read errors as well.
    MIDDLEWARE.insert(MIDDLEWARE.index("uploadstack.redirects.KeepBodies"), "corsheaders.middleware.CorsMiddleware")
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
# Messages end with the session that they are for: a cookie would show them to the browser's next user.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING = json_logging.configuration(env.text("LOG_LEVEL", "INFO").upper())
HEALTH_CHECKS = {
    "database": "uploadstack.health.check_database",
    "media": "uploadstack.health.check_media",
    "disk": "uploadstack.health.check_disk",
    "photos": "photos.health.check_photos",
}

# --- Database ---------------------------------------------------------------------------------------------------------

if not (_database := env.text("DATABASE_URL")):
    _VAR.mkdir(exist_ok=True)  # SQLite creates the file, but not its folder
    _database = f"sqlite:///{_VAR / 'db.sqlite3'}"
DATABASES = {"default": database.settings(_database)}
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
    "staticfiles": {"BACKEND": "uploadstack.static_files.StaticFiles"},
}
WHITENOISE_USE_FINDERS = True  # plain names work without collectstatic
WHITENOISE_ROOT = BASE_DIR / "photos" / "root"  # files that browsers request at the root of a site: /favicon.ico
WHITENOISE_AUTOREFRESH = DEBUG

# Files in forms, of any size, are written directly to MEDIA_ROOT/incoming, by the same code as raw bodies. So they are
# on the media volume, and a rename publishes them. Other projects use FILE_UPLOAD_TEMP_DIR for this.
FILE_UPLOAD_HANDLERS = ["photos.multipart.IncomingFileHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes of a form without its files; ours contain a name and a password
DATA_UPLOAD_MAX_NUMBER_FILES = 100

# --- Sessions, logins and headers -------------------------------------------------------------------------------------

SESSION_COOKIE_NAME = env.cookie("sessionid")  # nginx reads it: nginx/anonymous.conf.template
CSRF_COOKIE_NAME = env.cookie("csrftoken")
KNOWN_BROWSER_COOKIE_NAME = env.cookie("known_browser")  # photos/logins.py
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "gallery"
LOGOUT_REDIRECT_URL = "gallery"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# No inline code or styles; `blob:` is for previews of files that the visitor has chosen.
CONTENT_SECURITY_POLICY_HEADER = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PERMISSIONS_POLICY_HEADER = "camera=(), geolocation=(), microphone=()"
CSRF_COOKIE_HTTPONLY = True  # the page's script reads the token from the form
CSRF_FAILURE_VIEW = "photos.problems.csrf_failure"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # HSTS is the task of the proxy that terminates TLS
    "security.W008",  # and so is the redirect to HTTPS
    "security.W012",  # uploadstack/security_headers.py marks cookies Secure whenever the request came over HTTPS
    "security.W016",
]

# --- API --------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    # Because the first class has a challenge, a missing login is answered 401 instead of 403.
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
# What pages of other sites may request: the API, and the pictures named in its responses. Never with a session cookie.
CORS_URLS_REGEX = r"^/(api|photos|thumbs|renditions)/"
CORS_ALLOW_CREDENTIALS = False
CORS_ALLOW_HEADERS = [
    *("accept", "authorization", "content-type", "range"),
    *("if-match", "if-none-match", "if-unmodified-since", "if-modified-since"),
]
CORS_EXPOSE_HEADERS = ["Content-Disposition", "ETag", "Last-Modified", "Location", "Retry-After", "X-Request-ID"]
SPECTACULAR_SETTINGS = {
    "TITLE": "Photos",
    "DESCRIPTION": "Upload pictures in any framing of HTTP/1.1, list them, download them and delete them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["photos.schema.require_bodies", "photos.schema.declare_schemes"],
    "COMPONENT_SPLIT_REQUEST": True,  # otherwise a file to upload is described as the address of a file
}
