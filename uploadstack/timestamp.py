"""The one form of time stamps in the stack's logs."""

from datetime import UTC, datetime


def utc(seconds: float) -> str:
    """Return seconds since the epoch as UTC with milliseconds (RFC 3339): `2026-11-30T18:04:16.042Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
