"""Names in MEDIA_ROOT on which the stack and a project agree, for backups, restores and the project's own sweeps.

Names that begin with a dot are never uploads: nginx does not serve them, and a backup contains none but those below.
"""

from typing import Final

INCOMING: Final = "incoming"  # a folder for uploads in progress: not in a backup
# A file, if the project writes one: ids of the databases that have stored files here. A restore restores it.
LIBRARY_ID: Final = ".library-id"
# A file, if the project writes one: a count that the database also has, and that identifies an older copy of it.
LIBRARY_COUNT: Final = ".library-count"
# A folder: the files that a restore has replaced. While it exists, the project must delete nothing on its own.
RESTORING: Final = ".before-restore"
