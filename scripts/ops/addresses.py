"""The URLs of the site on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

LOOPBACK = "127.0.0.1"
# For comparison only, and on loopback whatever BIND_ADDRESS is.
LOCAL = {"GUNICORN_PORT", "RUNSERVER_PORT"}
USUAL = {("http", "80"), ("https", "443")}


def bound_to(settings: Settings, port: str) -> str:
    """Return the address that the setting `port` is published on, as it is written in a URL; 0.0.0.0 cannot be."""
    host = LOOPBACK if port in LOCAL else settings["BIND_ADDRESS"]
    if host == "0.0.0.0":
        return LOOPBACK
    if host in {"[::]", "::"}:
        return "[::1]"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def host_of(settings: Settings, address: str) -> str:
    """Return a host for that address that ALLOWED_HOSTS allows.

    The address itself, localhost, or else the first name in ALLOWED_HOSTS.
    """
    allowed = [name.strip() for name in settings["ALLOWED_HOSTS"].split(",") if name.strip()]
    names = [address, *(["localhost"] if address in {LOOPBACK, "[::1]"} else [])]
    found = [name for name in names if any(_allows(entry, name) for entry in allowed)]
    return (found or allowed or [address])[0].lstrip(".")


def of(settings: Settings, port: str, *, has_tls: bool) -> str:
    """Return the URL of the service on the setting `port`, without a slash at its end."""
    scheme = "https" if has_tls and port != "RUNSERVER_PORT" else "http"
    if scheme == "https" and port == "HTTP_PORT":
        port = "HTTPS_PORT"
    number = settings[port]
    return f"{scheme}://{host_of(settings, bound_to(settings, port))}" + (
        "" if (scheme, number) in USUAL else f":{number}"
    )


def _allows(entry: str, name: str) -> bool:
    """As in nginx and Django, .example.org means that name and its subdomains."""
    if entry.startswith(".") and len(entry) > 1:
        return name == entry[1:] or name.endswith(entry)
    return entry in {"*", name}
