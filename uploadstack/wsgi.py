"""The WSGI application that the stack serves: the application of the project in `app/`, behind the trust boundary.

    wsgiserver uploadstack.wsgi:application        gunicorn uploadstack.wsgi:application

DJANGO_SETTINGS_MODULE names the project's settings. WSGI_APPLICATION in the settings names the project's application,
as `startproject` writes it. So the boundary stays, whatever replaces the sample project. Raises ImproperlyConfigured,
ImportError.
"""

import logging
from wsgiref.types import WSGIApplication

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils.module_loading import import_string

from uploadstack.boundary import guarded

logging.captureWarnings(capture=True)  # so that warnings are log lines like all others


def _of_project() -> WSGIApplication:
    path = settings.WSGI_APPLICATION
    application: WSGIApplication = import_string(path) if path else get_wsgi_application()
    return application


application = guarded(_of_project())
