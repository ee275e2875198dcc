"""These tests use the fixtures of the server."""

from tests.server.conftest import serve

__all__ = ["serve"]
