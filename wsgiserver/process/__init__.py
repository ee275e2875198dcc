"""Processes: the parent that supervises, and the workers that serve.

Reading order: `preflight` (what is checked first), `supervisor` (forks, signals, restarts), `roster` (which worker
is started or stopped next), `listeners` (where to listen), `worker` (one process from start to end),
`importing` (the application), `reloader` (`--reload`).
"""
