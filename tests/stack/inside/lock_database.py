"""Locks the SQLite database for writing, prints "locked", and holds the lock until the end of stdin."""

import sqlite3
import sys

database = sqlite3.connect("/srv/data/db.sqlite3", isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
