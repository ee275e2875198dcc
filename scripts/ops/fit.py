"""Checks whether the settings can work. Commands that start the stack refuse wrong ones before they change anything;
doctor reports them.

values.py checks each value on its own. This module checks values against each other and against this machine. Settings
that only nginx reads are checked by nginx/entrypoint.sh, which checks them again when nginx starts.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import database, engine, ports, values
from .console import Failure, warn
from .settings import OF_NGINX
from .values import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .settings import Settings

# The limits of compose.yaml (pids_limit): processes and threads. tests/test_limits.py compares them.
WEB_PIDS = 512
NGINX_PIDS = 64
# Processes and threads of a worker of web besides WEB_THREADS: its own threads, one helper, and some short-lived
# children that decode pictures. While a worker is replaced there is one more. CONTAINER_PIDS is for the init, the
# parent, the admin process, and commands that are run in the container.
WORKER_PIDS = 8
CONTAINER_PIDS = 16
# Measured: a worker with Django takes 60 to 80 MiB; decoding takes 430 for a large picture, and 80 for each of two
# small ones at the same time.
WORKER_MIB = 80
DECODING_MIB = 590
# The memory of nginx: at most per request in progress, for itself, and for each worker beyond the usual two (which also
# needs 1 KiB per connection). docs/nginx.md explains the numbers.
REQUEST_KIB = 272
NGINX_KIB = 48 * 1024
NGINX_WORKER_KIB = 4 * 1024
USUAL_NGINX_WORKERS = 2
MAX_PROCESSES = 512


def problems(settings: Settings) -> list[Problem]:
    of_values = list(_values(settings))
    return [
        *_lines(settings),
        *of_values,
        *_nginx(settings, of_values),
        *_profiles(settings),
        *_processes(settings),
        *_memory(settings),
        *_ports(settings),
        *_places(settings),
        *_cpus(settings),
    ]


def refuse(settings: Settings) -> None:
    for unread in unread_names(settings):
        warn(f"{settings.file}: {unread.wrong} ({unread.right})")
    found = problems(settings)
    for problem in found:
        print(f"error: {problem.wrong}\n       -> {problem.right}", file=sys.stderr, flush=True)
    if found:
        raise Failure("these settings cannot work; nothing was changed")


# --- the file itself --------------------------------------------------------------------------------------------------


def _lines(settings: Settings) -> Iterator[Problem]:
    """Find lines that the two generations of Compose read differently, or not at all."""
    if settings.has_file and b"\0" in settings.file.read_bytes():
        yield Problem(f"{settings.file} contains a NUL byte, which editors do not show", "save the file again as text")
    for complaint in settings.read.complaints:
        yield Problem(f"line {complaint.number} of {settings.file}: {complaint.wrong}", complaint.right)


def unread_names(settings: Settings) -> Iterator[Problem]:
    """Yield names in .env that nothing reads. Other Compose files may read more names than compose.yaml."""
    others = [Path(name) for name in settings["COMPOSE_FILE"].split(":") if name]
    files = {*settings.root.glob("compose*.y*ml"), *(settings.root / other for other in others)}
    read = {name for file in files if file.is_file() for name in re.findall(r"\$\{?([A-Za-z_]\w*)", _text(file))}
    return values.unread(settings.read.values, {*read, *settings.read.used})


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


# --- one by one -------------------------------------------------------------------------------------------------------


def _values(settings: Settings) -> Iterator[Problem]:
    """Check the settings that are set; the others have their defaults."""
    names = ["COMPOSE_FILE", *settings.example.names]
    given = {name: settings[name] for name in names if settings.is_set(name)}
    if any(settings.root.glob("compose.override.y*ml")):  # which may declare other volumes
        given.setdefault("COMPOSE_FILE", "")
    return values.problems(given, str(settings.file))


def _nginx(settings: Settings, known: list[Problem]) -> Iterator[Problem]:
    """Run the container's own check, with the container's limit of processes instead of this machine's.

    It reports one problem at a time, so it runs again with the default of that setting.
    """
    given = {name: settings[name] for name in ["TLS", *OF_NGINX]}
    command = ["sh", str(settings.root / "nginx" / "entrypoint.sh"), "--check"]
    asked: set[str] = set()
    while True:
        environment = {**settings.environment, **given, "PIDS_MAX": str(NGINX_PIDS)}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, encoding="utf-8")
        printed = (done.stdout + done.stderr).strip().removeprefix("nginx: ")
        name = printed.partition(":")[0]
        if done.returncode == 0 or name in asked:
            return
        asked.add(name)
        if not any(problem.wrong.startswith(f"{name}:") for problem in known):
            wrong, separator, right = printed.rpartition("; ")
            yield Problem(wrong, right) if separator else Problem(printed, f"{name} is explained in .env.example")
        given[name] = settings.example.defaults.get(name, "")


def _profiles(settings: Settings) -> Iterator[Problem]:
    if database.kind(settings["DATABASE_URL"]) == "postgresql" and "postgres" not in settings.profiles:
        yield Problem(
            "DATABASE_URL names the database of this stack, but the profile postgres, which starts it, is off",
            "set COMPOSE_PROFILES=postgres, or another DATABASE_URL",
        )


# --- together ---------------------------------------------------------------------------------------------------------


def _processes(settings: Settings) -> Iterator[Problem]:
    workers, threads = (settings.number(name, 1, MAX_PROCESSES) for name in ("WEB_WORKERS", "WEB_THREADS"))
    if not workers or not threads:
        return
    need = (workers + 1) * (threads + WORKER_PIDS) + CONTAINER_PIDS
    if need > WEB_PIDS:
        yield Problem(
            f"WEB_WORKERS={workers} with WEB_THREADS={threads} may need {need} processes and threads, but a container"
            f" of web or gunicorn may have {WEB_PIDS}",
            f"lower one of them: (WEB_WORKERS + 1) * (WEB_THREADS + {WORKER_PIDS}) must be at most"
            f" {WEB_PIDS - CONTAINER_PIDS}",
        )


def _memory(settings: Settings) -> Iterator[Problem]:
    if workers := settings.number("WEB_WORKERS", 1, MAX_PROCESSES):
        what = f"{workers} workers (WEB_WORKERS) and the decoding of pictures"
        yield from _too_little_memory(settings, "WEB_MEMORY", workers * WORKER_MIB + DECODING_MIB, what, "WEB_WORKERS")
    if total := settings.number("TOTAL_CONNECTIONS", 1, 99999):
        more = max(0, (settings.number("NGINX_WORKERS", 1, MAX_PROCESSES) or 0) - USUAL_NGINX_WORKERS)
        kib = total * REQUEST_KIB + NGINX_KIB + more * (NGINX_WORKER_KIB + total)
        what = f"{total} requests under way (TOTAL_CONNECTIONS)"
        yield from _too_little_memory(settings, "NGINX_MEMORY", -(-kib // 1024), what, "TOTAL_CONNECTIONS")


def _too_little_memory(settings: Settings, name: str, need: int, what: str, cause: str) -> Iterator[Problem]:
    """`need` is in MiB. values.py reports an amount that the engine cannot read."""
    has = mebibytes(settings[name])
    if has is not None and has < need:
        service = name.partition("_")[0].lower()
        yield Problem(
            f"{what} may need {need} MiB in {service}, which has {name}={settings[name]}",
            f"set {name}={need}m or more, or lower {cause}",
        )


def mebibytes(amount: str) -> int | None:
    """Return the amount in whole MiB, as the engine reads it: 768m, 1.5g, 512MB, 805306368. None if it cannot."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:b|([kmgt])(?:i?b)?)?", amount.lower())
    return int(float(found[1]) * 1024 ** "_kmgt".index(found[2] or "_") / 1024**2) if found else None


def _ports(settings: Settings) -> Iterator[Problem]:
    seen: dict[tuple[str, str], str] = {}
    for name in ports.published(settings):
        place = _interface(settings, name), settings[name]
        if place in seen:
            yield Problem(
                f"{name} and {seen[place]} are the same port, {settings[name]}", f"set {name} to another port"
            )
        seen[place] = name


def _interface(settings: Settings, name: str) -> str:
    """Return where it is published: on loopback (alone or with all other addresses), or on another address."""
    address = settings["BIND_ADDRESS"]
    is_everywhere = address in {"127.0.0.1", "0.0.0.0"} or "::" in address
    return "loopback" if name not in {"HTTP_PORT", "HTTPS_PORT"} or is_everywhere else address


def _places(settings: Settings) -> Iterator[Problem]:
    """Each folder has another owner. The engine would create a missing one, but writable for root only."""
    for name in ("NGINX_SPOOL", "WEB_SPOOL", "TLS_FOLDER"):
        place = settings[name]
        if place.startswith(("/", "./", "../")) and not (settings.root / place).is_dir():
            place = place if place.startswith("/") else f"{settings.root}/{place}"
            yield Problem(
                f"{name}: the folder {place} does not exist",
                "create that folder, or name another one (docs/operations.md)",
            )
    if settings["NGINX_SPOOL"] == settings["WEB_SPOOL"]:
        yield Problem(
            f"NGINX_SPOOL and WEB_SPOOL are the same folder or volume, {settings['WEB_SPOOL']}",
            "give each its own: they belong to different users",
        )


# --- on this machine --------------------------------------------------------------------------------------------------


def _cpus(settings: Settings) -> Iterator[Problem]:
    there = engine.cpus()
    if there is None:
        return
    for name in ["WEB_CPUS", "NGINX_CPUS", *(["DB_CPUS"] if "postgres" in settings.profiles else [])]:
        if re.fullmatch(r"[0-9]*\.?[0-9]+", settings[name]) and float(settings[name]) > there:
            yield Problem(
                f"{name}={settings[name]} is more than the {there:g} CPUs of this machine",
                f"set {name} to {there:g} or less",
            )
