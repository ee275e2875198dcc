"""`python -m wsgiserver` and the `wsgiserver` command: the same thing."""

import sys

from wsgiserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
