"""Fills the disk of the photos up to N free bytes: `fill.py BYTES`."""

import os
import sys
from pathlib import Path

folder = os.statvfs("/srv/media")
with Path("/srv/media/filler").open("wb") as filler:
    os.posix_fallocate(filler.fileno(), 0, folder.f_bavail * folder.f_frsize - int(sys.argv[1]))
