"""Where the site is to be had on this machine: what a person would type for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

LOOPBACK = "127.0.0.1"
# There to compare with, and on loopback whatever BIND_ADDRESS says.
LOCAL = {"GUNICORN_PORT", "RUNSERVER_PORT"}
USUAL = {("http", "80"), ("https", "443")}


def bound_to(settings: Settings, port: str) -> str:
    """Return the address that the setting `port` is published on, as it stands in a URL. 0.0.0.0 is not one."""
    host = LOOPBACK if port in LOCAL else settings["BIND_ADDRESS"]
    if host == "0.0.0.0":
        return LOOPBACK
    if host in {"[::]", "::"}:
        return "[::1]"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def host_of(settings: Settings, address: str) -> str:
    """Return the name by which ALLOWED_HOSTS lets one ask there.

    The address itself, localhost, or else the first that the site has.
    """
    allowed = [name.strip() for name in settings["ALLOWED_HOSTS"].split(",") if name.strip()]
    names = [address, *(["localhost"] if address in {LOOPBACK, "[::1]"} else [])]
    found = [name for name in names if any(_allows(entry, name) for entry in allowed)]
    return (found or allowed or [address])[0].lstrip(".")


def of(settings: Settings, port: str, *, has_tls: bool) -> str:
    """Return the URL of what listens on the setting `port`, without a slash at its end."""
    scheme = "https" if has_tls and port != "RUNSERVER_PORT" else "http"
    if scheme == "https" and port == "HTTP_PORT":
        port = "HTTPS_PORT"
    number = settings[port]
    return f"{scheme}://{host_of(settings, bound_to(settings, port))}" + (
        "" if (scheme, number) in USUAL else f":{number}"
    )


def _allows(entry: str, name: str) -> bool:
    """As nginx and Django take a name: .example.org is that name and all below it."""
    if entry.startswith(".") and len(entry) > 1:
        return name == entry[1:] or name.endswith(entry)
    return entry in {"*", name}
