"""Bytes on their way through: in memory while they are few, in an unlinked file from then on.

`spool` is the buffer itself, and holds request bodies; `outbox` holds what a client has not taken of its response yet.
Limits and patience are arguments. Nothing here knows HTTP.
"""
