"""A WSGI server (PEP 3333) that hands every request body to the application whole, chunked ones too.

Start reading at `cli.py` for the way in, or at `connection.py` for what happens to one request.
`ARCHITECTURE.md` has the map.
"""

__version__ = "0.1.0"
