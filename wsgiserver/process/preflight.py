"""Checks before anything listens: settings that cannot work, on their own or on this machine.

SettingError says what is wrong and what would be right. Nothing is bound, forked or imported here.
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
from wsgiserver.telemetry.scoreboard import MAX_WORKERS
from wsgiserver.values import SettingError
from wsgiserver.wsgi.forwarded import Trust

Made = TypeVar("Made")


def with_workers(settings: Settings) -> Settings:
    """Replace `--workers auto` by a number."""
    advice = resources.advise(resources.cpus(), threads=settings.threads)
    event("workers-chosen", workers=advice.workers, reason=advice.reason)
    return replace(settings, workers=min(advice.workers, MAX_WORKERS))


def within_descriptors(settings: Settings) -> Settings:
    """Raise the limit of descriptors as far as needed, and lower `max_connections` to what then fits."""
    connections, threads = settings.max_connections, settings.threads
    resources.raise_descriptor_limit(resources.descriptors_needed(connections, threads))
    limit = resources.descriptor_limit()
    fits = resources.connections_within(limit, threads)
    if fits < threads:
        needed = resources.descriptors_needed(threads, threads)
        raise SettingError(
            f"{settings.spelled('threads')}: {threads} threads need {needed} descriptors, and the limit of a process is"
            f" {limit} (ulimit -n); raise it, or use fewer threads"
        )
    return replace(settings, max_connections=min(connections, fits))


def check(settings: Settings, root: Path = Path("/")) -> None:
    """Fail now where an upload would fail later, or one worker after the other would end."""
    if settings.workers > MAX_WORKERS:
        name = settings.spelled("workers")
        raise SettingError(f"{name}: {settings.workers} workers are too many; use at most {MAX_WORKERS}")
    if reason := too_many(settings.workers, settings.threads, root):
        names = settings.spelled("workers"), settings.spelled("threads", "workers")
        raise SettingError(f"{names[0]} {settings.workers}, {names[1]} {settings.threads}: {reason}")
    check_values(settings)


def check_values(settings: Settings) -> None:
    """Check the values that do not depend on the number of processes."""
    made(settings.spelled("forwarded_allow_ips"), lambda: Trust(settings.forwarded_allow_ips))
    for bind in settings.bind:
        trusted = bind.given.get("forwarded_allow_ips", ())
        made(f"{settings.spelled('bind')} {bind.address}: forwarded-allow-ips", partial(Trust, trusted))
    made(
        settings.spelled("spool_dir"),
        lambda: check_folder(settings.spool_dir),
        f"no file can be created in {settings.spool_dir or 'the default directory'}",
        "name a directory that this user may write to",
    )
    made(
        settings.spelled("access_logfile"),
        lambda: check_file(settings.access_logfile),
        f"{settings.access_logfile} cannot be opened",
        "name a file that this user may write to",
    )


def too_many(workers: int, threads: int, root: Path = Path("/")) -> str:
    """Return why that many workers cannot be started; "" where they can."""
    tasks = resources.spare_tasks(root)
    needed = resources.tasks_needed(workers, threads)
    if tasks is None or needed <= tasks.left:
        return ""
    fits = resources.workers_within(tasks.left, threads)
    instead = f"use at most {fits} workers of {threads} threads" if fits else "use fewer threads"
    return (
        f"they need {needed} processes and threads, and the control group has room for {tasks.left}"
        f" (pids.max is {tasks.limit}; pids_limit in Compose); raise it, or {instead}"
    )


def made(source: str, make: Callable[[], Made], problem: str = "", remedy: str = "") -> Made:
    """Return what `make` makes. Raises SettingError; `problem` and `remedy` are what an OSError does not tell."""
    try:
        return make()
    except OSError as error:
        raise SettingError(f"{source}: {problem} ({error.strerror or error}); {remedy}") from error
    except ValueError as error:
        raise SettingError(f"{source}: {error}") from error


def places(settings: Settings) -> listeners.Found:
    """Return all addresses to listen on. Raises SettingError for one that is not valid, or that includes another."""
    wanted = {settings.spelled("bind"): [bind.address for bind in settings.bind]}
    wanted[settings.spelled("admin_bind", "bind")] = list(settings.admin_bind)
    try:
        return listeners.find(wanted)
    except ValueError as error:
        raise SettingError(str(error)) from error


def refuse_options(settings: Settings) -> None:
    """Raise SettingError for options of `--bind` where inherited sockets are used instead."""
    for bind in settings.bind:
        if bind.given:
            names = ", ".join(map(option_name, bind.given))
            raise SettingError(
                f"{settings.spelled('bind')} {bind.address}: {names} would have no effect, because the sockets of"
                " LISTEN_FDS are used instead; set --proxy-protocol and --forwarded-allow-ips, which apply to them"
            )
