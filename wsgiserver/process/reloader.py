"""`--reload`, for development: notices when a file that the application was loaded from has changed.

A thread of the worker checks the files of all modules once a second. An application that does not load is replaced by a
page with the reason, and the files that had a part in the failure are watched until one of them changes. It knows
neither processes nor signals: it calls `changed` once, and ends.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from time import sleep, time
from types import ModuleType
from typing import Any, Final

SCAN_INTERVAL: Final = 1.0  # seconds between two scans


class Reloader:
    """Make it before the application is loaded: a file that changes during the import has changed."""

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._began = clock()
        self._seen: dict[str, float] = {}  # time of modification at the first scan

    def start(self, changed: Callable[[str], None], failure: BaseException | None) -> None:
        """Watch, and call `changed` from another thread; `failure` is why the application could not be loaded."""
        more = _files_of(failure) if failure is not None else set()
        threading.Thread(target=self._watch, args=(changed, more), name="reloader", daemon=True).start()

    def scan(self, files: Iterable[str]) -> str | None:
        """Return one of the files if it has changed since the last scan, or since this was made."""
        now = self._clock()
        for file in files:
            try:
                modified = os.stat(file).st_mtime  # noqa: PTH116 - hundreds of files, each second
            except OSError:  # an editor is just replacing it
                continue
            before = self._seen.setdefault(file, modified)
            if before != modified or self._began <= modified <= now:
                return file
        return None

    def _watch(self, changed: Callable[[str], None], more: set[str]) -> None:
        while (file := self.scan(_loaded_files() | more)) is None:
            sleep(SCAN_INTERVAL)
        changed(file)


def import_error_app(failure: BaseException) -> Callable[..., Iterable[bytes]]:
    """Return an application that shows why the real one could not be loaded."""
    text = "".join(traceback.format_exception(failure)).encode("utf-8", "backslashreplace")

    def application(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
        return [text]

    return application


def _loaded_files() -> set[str]:
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    files = {vars(module).get("__file__") for module in modules}  # getattr() would wake up modules that load lazily
    return {file for file in files if isinstance(file, str)}


def _files_of(failure: BaseException) -> set[str]:
    """Return the files that appear in a failure, and their folders, where a missing file may appear."""
    files = {frame.filename for frame in traceback.extract_tb(failure.__traceback__)}
    if isinstance(failure, SyntaxError) and failure.filename:
        files.add(failure.filename)
    return files | {str(Path(file).parent) for file in files} | {str(Path.cwd())}
