"""The version of the server: of the package, of `--version` and of the metric `wsgiserver_build_info`."""

from typing import Final

VERSION: Final = "0.1.0"
