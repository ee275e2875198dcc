"""What the stack and a project agree on about MEDIA_ROOT, for backups, restores and a project's own housekeeping.

What begins with a dot is nobody's upload: nginx does not serve it, and a backup leaves it out but for these.
"""

from typing import Final

INCOMING: Final = "incoming"  # a folder for uploads that are being received: not in a backup
# A file, if the project keeps one: ids of the databases that have stored files here. It goes and comes with the files.
LIBRARY_ID: Final = ".library-id"
# A file, if the project keeps one: a count that the database has as well, and that tells an older copy of it.
LIBRARY_COUNT: Final = ".library-count"
# A folder: what a restore has replaced. While it is there, a project deletes nothing on its own.
RESTORING: Final = ".before-restore"
