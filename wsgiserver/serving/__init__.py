"""One client: a socket, the request it sends, and the response it gets.

Reading order: `states` (the states of a connection, and the legal moves), `receiver` (bytes to one whole request),
`exchange` (request to response), `connection` (the socket and its one state), `proxied` (a connection that begins with
a PROXY protocol header), `context` (what all connections of a worker share). The owner of a
connection calls its methods; nothing here knows threads or processes.
"""
