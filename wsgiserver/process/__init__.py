"""Processes: the parent that supervises, and the workers that serve.

Reading order: `preflight` (what is checked first), `supervisor` (forks, signals, restarts), `roster` (which worker
comes or goes next), `listeners` (where to listen), `worker` (one process: what it is made of, and its way out),
`importing` (the application), `reloader` (`--reload`).
"""
