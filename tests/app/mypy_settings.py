"""Settings that mypy's Django plugin imports instead of config.settings, which refuses to load without a secret."""

import os
import tempfile

os.environ.setdefault("SECRET_KEY", "only-for-reading-types-0123456789abcdef")
for variable in ("DATABASE_URL", "MEDIA_ROOT", "STATIC_ROOT"):  # named, so that nothing is created
    os.environ.setdefault(variable, f"sqlite:///{tempfile.gettempdir()}/never-created")

from config.settings import *  # noqa: E402, F403 - that is its job
