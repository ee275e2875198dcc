"""The WSGI application: `wsgiserver config.wsgi:application`, `gunicorn config.wsgi:application`."""

import logging
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

logging.captureWarnings(capture=True)  # as log lines like all others

application = get_wsgi_application()
