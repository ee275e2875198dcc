"""One JSON object per line on stderr, so that `docker compose logs` can be read by people and by programs.

A line has time (UTC), level, logger, message, request_id, and whatever the call gave in `extra={"fields": {...}}`;
a traceback is one string in `exception`. Standard library only.
"""

import json
import logging
from typing import Any

from uploadstack import request_id
from uploadstack.timestamp import utc


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identifier := request_id.current() or _of_request(record):
            line["request_id"] = identifier
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _of_request(record: logging.LogRecord) -> str:
    """Django writes its line about a refused request when all middleware is through, with the request in `extra`. So
    does runserver, with a socket in its place.
    """
    return request_id.of(getattr(record, "request", None))


def configuration(level: str) -> dict[str, Any]:
    """The value of Django's LOGGING."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "uploadstack.json_logging.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        # Django attaches handlers of its own to these two; one line per event is enough.
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
        },
    }
