"""HTTP/1.1 as bytes in, values out (RFC 9110, RFC 9112): no socket, file, clock, thread or log in here.

Reading order: `grammar` (the productions), `fields` (header and trailer lines), `head` (the request line before them),
`framing` (where the body ends), `chunked` (the chunked coding), `response` (the way back), `proxy_protocol` (what a
proxy may send before all of it).
"""
