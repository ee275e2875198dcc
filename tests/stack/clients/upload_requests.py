"""requests: python upload_requests.py URL TOKEN FILE

Prints the answer. Exit status 1 when that is a refusal.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import requests


def pieces(file: str) -> Iterator[bytes]:
    """A generator has no length, so requests sends it in chunks."""
    with Path(file).open("rb") as source:
        while piece := source.read(64 * 1024):
            yield piece


url, token, file = sys.argv[1:]
headers = {"Authorization": f"Token {token}"}
answer = requests.put(url, data=pieces(file), headers=headers, timeout=90)  # of silence, not in all
print(answer.text)
sys.exit(not answer.ok)
