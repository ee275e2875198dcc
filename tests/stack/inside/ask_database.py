"""Runs statements over the database URL of Django, as ROLE with the password of Django.

    ask_database.py ROLE STATEMENT...

Prints a line of JSON for each: the rows, or the name of the error.
"""

import json
import os
import re
import sys

import psycopg

role, *statements = sys.argv[1:]
url = re.sub("//[^:]*:", f"//{role}:", os.environ["DATABASE_URL"], count=1)
with psycopg.connect(url, autocommit=True) as connection:
    for statement in statements:
        try:
            found: object = connection.execute(statement).fetchall()
        except psycopg.Error as error:
            found = type(error).__name__
        print(json.dumps(found))
