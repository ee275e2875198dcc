"""A WSGI server (PEP 3333) that hands every request body to the application whole, chunked ones too.

Start reading at `cli.py` for the way in, or at `serving/connection.py` for what happens to one request.
`ARCHITECTURE.md` has the map. `Server` is the server inside another program (`process/embedded.py`).
"""

from typing import TYPE_CHECKING, Any

from wsgiserver.version import VERSION

__all__ = ["Server", "__version__"]
__version__ = VERSION

if TYPE_CHECKING:
    from wsgiserver.process.embedded import Server
else:

    def __getattr__(name: str) -> Any:
        """Import it on first use: `wsgiserver healthcheck` runs every few seconds, and must not load the server."""
        if name == "Server":
            from wsgiserver.process.embedded import Server  # noqa: PLC0415

            return Server
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
