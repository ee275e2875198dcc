"""Adds up the anonymous memory of all of this container's processes but this one, until stdin ends.

Says "ready", and at the end, as JSON, the first and the largest sum in bytes. Anonymous: what a process made itself.
Pages of the file that it writes are the kernel's to drop.
"""

import json
import os
import select
import sys
from pathlib import Path


def anonymous() -> int:
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:  # it has ended
            continue
        if int(lines["Pid"]) != os.getpid():
            total += int(lines.get("RssAnon", "0 kB").split()[0]) * 1024
    return total


first = largest = anonymous()
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    largest = max(largest, anonymous())
print(json.dumps([first, largest]))
