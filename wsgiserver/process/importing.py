"""The application: from its name to a callable, and what goes wrong on the way.

`load` raises whatever an import raises; `loaded` is the boundary that logs it. `preload` does the same in the process
that will be the parent of all workers. Nothing here knows how the application is served.
"""

import gc
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Final, TypeVar

from wsgiserver.appspec import parse
from wsgiserver.telemetry.log import event
from wsgiserver.wsgi.gateway import Application

CANNOT_IMPORT: Final = 3  # the exit code that tells the supervisor not to try again
Result = TypeVar("Result")
ApplicationOrSpec = Application | str  # the callable itself, or the name of what is to be imported


def load(text: str) -> Application:
    """Import it, and call the factory. Raises ValueError, TypeError if it cannot be called, or whatever that raises."""
    application: Application = _found(text, "WSGI application")
    return application


def _found(text: str, what: str) -> Callable[..., Any]:
    spec = parse(text)
    here = os.getcwd()  # noqa: PTH109 - a string, as sys.path has them
    if "" not in sys.path and here not in sys.path:  # as `python -m` would have it
        sys.path.insert(0, here)
    target: Any = importlib.import_module(spec.module)
    for name in spec.names:
        target = getattr(target, name)
    if spec.arguments is not None:
        target = target(*spec.arguments.positional, **spec.arguments.named)
    if not callable(target):
        raise TypeError(f"{text} is not callable: it is {target!r}, no {what}")
    found: Callable[..., Any] = target
    return found


def loaded(spec: str) -> Application | BaseException:
    """As `load`, but what goes wrong is logged, and returned."""
    return _attempt(load, spec, "application-not-loaded", application=spec)


def prepared(application: ApplicationOrSpec, worker_init: str | None) -> Application | BaseException:
    """In a new worker: call the hook, if there is one, then load the application, unless that was done before the fork.

    What goes wrong is logged, and returned. Without its hook a worker serves nothing.
    """
    failure = None if worker_init is None else _hook(lambda spec: _found(spec, "hook")(), worker_init)
    if isinstance(failure, BaseException):
        return failure
    return loaded(application) if isinstance(application, str) else application


def can_be_loaded(spec: str, worker_init: str | None) -> bool:
    """Whether the application and the hook are there. The hook is not called; what is wrong is logged."""
    hook = None if worker_init is None else _hook(lambda spec: _found(spec, "hook"), worker_init)
    return not isinstance(hook, BaseException) and not isinstance(loaded(spec), BaseException)


def _hook(action: Callable[[str], object], spec: str) -> object:
    return _attempt(action, spec, "worker-init-failed", worker_init=spec)


def _attempt(action: Callable[[str], Result], spec: str, failure: str, **about: str) -> Result | BaseException:
    try:
        return action(spec)
    except BaseException as error:  # noqa: BLE001 - the boundary of importing, whatever it is that fails
        event(failure, **about, error=traceback.format_exc())
        return error


def preload(spec: str) -> Application | None:
    """Load the application in the process that will be the parent of all workers; None where that fails."""
    application = loaded(spec)
    if isinstance(application, BaseException):
        return None
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        event("preload-threads", threads=", ".join(threads), reason="workers are made without them")
    freeze()
    return application


def freeze() -> None:
    """What is loaded stays: later collections need not look at it, and its pages stay shared by processes."""
    gc.collect()
    gc.freeze()
