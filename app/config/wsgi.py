"""The WSGI application: `wsgiserver config.wsgi:application`, `gunicorn config.wsgi:application`."""

import logging
import os

from django.core.wsgi import get_wsgi_application

from config.boundary import guarded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

logging.captureWarnings(capture=True)  # as log lines like all others

application = guarded(get_wsgi_application())
