"""PEP 3333: a parsed request becomes an `environ`, the application is called, its response becomes bytes.

Reading order: `environ`, `forwarded` (which proxies are believed about the client), `gateway` (one call of the
application), `filewrapper` (`wsgi.file_wrapper`). Nothing here knows a socket.
"""
