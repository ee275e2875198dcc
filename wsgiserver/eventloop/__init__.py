"""Many clients and a few threads: who is ready, who is late, and which thread leads.

Reading order: `loop` (readiness, deadlines, connections that come and go), `poller` (epoll or poll), `handoff` (the
thread that leads, and those that follow; calls that take long, and calls that hang).
"""
