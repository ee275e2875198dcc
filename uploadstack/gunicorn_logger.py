"""gunicorn's access log in the form of wsgiserver's: one line of JSON for each request, with the id that nginx gave it.

Only gunicorn imports it (`--logger-class` in compose.yaml). Its own `--access-logformat` would not do: it escapes
quotes but no backslashes, so that a client could end a string, and write what it likes behind it. Probes are left out:
the engine's come every few seconds and say nothing. What gunicorn says of itself stays text.
"""

import json
from datetime import timedelta
from time import time
from typing import Any

from gunicorn.glogging import Logger

from uploadstack.timestamp import utc

_PROBES = {"/healthz", "/readyz"}


class AccessLog(Logger):  # type: ignore[misc]  # it comes without types
    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Gunicorn's hook. The environ of what it refuses itself is not complete."""
        path = environ["RAW_URI"].partition("?")[0]
        if not self.access_log_enabled or path in _PROBES:
            return
        line = {
            "time": utc(time()),
            "event": "request",
            "client": environ.get("HTTP_X_FORWARDED_FOR") or environ["REMOTE_ADDR"],  # the peer is nginx, always
            "request_id": environ.get("HTTP_X_REQUEST_ID", ""),
            "method": environ["REQUEST_METHOD"],
            "path": path,
            "status": int(str(resp.status).split()[0]),
            "sent_bytes": resp.sent,
            "total_seconds": request_time.total_seconds(),  # reading the body and sending the answer included
        }
        self.access_log.info("%s", json.dumps(line, separators=(",", ":")))
