"""What the server reports about itself: events, the access log, counters, and what the machine has left.

`log` writes lines without ever waiting, `accesslog` makes a line of each request, `scoreboard` is memory that processes
share, `metrics` says what the numbers there mean, `admin` serves them, `resources` reads the limits of the machine.
"""
