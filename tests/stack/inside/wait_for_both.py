"""Waits until web and gunicorn of an echo network answer (echo.Backends)."""

import time
import urllib.request

for service in ("web", "gunicorn"):
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://{service}:8000/_seen/", timeout=10).read()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
