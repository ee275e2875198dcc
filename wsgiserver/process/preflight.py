"""What is found out before anything listens: settings that cannot be, by themselves or on this machine.

SettingError says what is wrong and what would be right; nothing is bound, forked or imported here.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from wsgiserver.binds import option_name
from wsgiserver.buffers.spool import check_folder
from wsgiserver.process import listeners
from wsgiserver.settings import Settings
from wsgiserver.telemetry import resources
from wsgiserver.telemetry.log import check_file, event
from wsgiserver.telemetry.scoreboard import MOST_WORKERS
from wsgiserver.values import SettingError
from wsgiserver.wsgi.forwarded import Trust

Made = TypeVar("Made")


def with_workers(settings: Settings) -> Settings:
    """Take `--workers auto` for a number."""
    advice = resources.advise(resources.cpus(), threads=settings.threads)
    event("workers-chosen", workers=advice.workers, reason=advice.reason)
    return replace(settings, workers=min(advice.workers, MOST_WORKERS))


def within_descriptors(settings: Settings) -> Settings:
    """Raise the limit of descriptors as far as is needed, and take as many connections as then fit."""
    connections, threads = settings.max_connections, settings.threads
    resources.raise_descriptor_limit(resources.descriptors_needed(connections, threads))
    limit = resources.descriptor_limit()
    fits = resources.connections_within(limit, threads)
    if fits < threads:
        needed = resources.descriptors_needed(threads, threads)
        raise SettingError(
            f"--threads {threads}: a process may have {limit} descriptors (ulimit -n), and needs at least {needed}"
        )
    return replace(settings, max_connections=min(connections, fits))


def check(settings: Settings, root: Path = Path("/")) -> None:
    """Find out now what would otherwise fail in the middle of an upload, or end one worker after the other."""
    if settings.workers > MOST_WORKERS:
        raise SettingError(f"--workers: at most {MOST_WORKERS}")
    if reason := too_many(settings.workers, settings.threads, root):
        raise SettingError(f"--workers {settings.workers}, --threads {settings.threads}: {reason}")
    check_values(settings)


def check_values(settings: Settings) -> None:
    """Find out what cannot be used, however many processes there are."""
    made("--forwarded-allow-ips", lambda: Trust(settings.forwarded_allow_ips))
    for bind in settings.bind:
        trusted = bind.given.get("forwarded_allow_ips", ())
        made(f"--bind {bind.address}: forwarded-allow-ips", partial(Trust, trusted))
    made("--spool-dir: no file can be made there", lambda: check_folder(settings.spool_dir))
    made("--access-logfile", lambda: check_file(settings.access_logfile))


def too_many(workers: int, threads: int, root: Path = Path("/")) -> str:
    """Say why so many workers cannot be started; "" where they can."""
    tasks = resources.spare_tasks(root)
    needed = resources.tasks_needed(workers, threads)
    if tasks is None or needed <= tasks.left:
        return ""
    fits = resources.workers_within(tasks.left, threads)
    instead = f"have at most {fits} workers of {threads} threads" if fits else "have fewer threads"
    return (
        f"they need {needed} processes and threads, and the control group has room for {tasks.left}"
        f" (pids.max is {tasks.limit}; pids_limit in Compose): raise it, or {instead}"
    )


def made(source: str, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except (OSError, ValueError) as error:
        raise SettingError(f"{source}: {error}") from error


def places(settings: Settings) -> listeners.Found:
    """Find out where to listen, without doing so. Raises SettingError for what is no place, or excludes another."""
    try:
        return listeners.find({"--bind": [bind.address for bind in settings.bind], "--admin-bind": settings.admin_bind})
    except ValueError as error:
        raise SettingError(str(error)) from error


def refuse_options(settings: Settings) -> None:
    """Raise SettingError for options of `--bind` where inherited sockets are used in its place."""
    for bind in settings.bind:
        if bind.given:
            names = ", ".join(map(option_name, bind.given))
            raise SettingError(
                f"--bind {bind.address}: {names} would hold for no listener, because the sockets of LISTEN_FDS are used"
                " in its place; --proxy-protocol and --forwarded-allow-ips hold for them"
            )
