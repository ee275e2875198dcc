"""The server's own fixtures serve here too."""

from tests.server.conftest import serve

__all__ = ["serve"]
