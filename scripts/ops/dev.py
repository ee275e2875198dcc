"""Without an engine: the same Django project on our server, SQLite and pictures under var/, no nginx.

scripts/dev.sh             in the foreground, until Ctrl-C: what `make dev` runs
scripts/dev.sh --detach    in the background, until `make down`: what `make up` runs where there is no engine
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

from . import env, ports, programs, welcome
from . import settings as settings_
from .console import Failure, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import IO

    from .settings import Settings

ANSWERS_WITHIN = 30  # seconds
# The settings that compose.yaml passes to web. Paths and database keep their defaults under var/.
FORWARDED_SETTINGS = (
    "COMPOSE_PROJECT_NAME",
    "DJANGO_SETTINGS_MODULE",
    "SECRET_KEY",
    "DEBUG",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "CORS_ALLOWED_ORIGINS",
    "UPLOAD_MAX",
    "USER_QUOTA",
    "LOGIN_FAILURES",
    "GALLERY_PUBLIC",
    "DEMO_USER",
    "DEMO_PASSWORD",
)
LEFT_OUT = {"DATABASE_URL", "MEDIA_ROOT", "STATIC_ROOT", "X_ACCEL_PREFIX"}


# --- the running process ----------------------------------------------------------------------------------------------


def note(settings: Settings, kind: str) -> Path:
    """Return the file of its `pid` or `log`, one for each port, so that each settings file has its own server."""
    return settings.root / "var" / f"dev-{settings['HTTP_PORT']}.{kind}"


def process(settings: Settings) -> int:
    """Return its id; 0 if it does not run."""
    return process_in(note(settings, "pid"))


def process_in(file: Path) -> int:
    try:
        number = int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    # It may have ended, and its number may belong to another process now.
    return number if "wsgiserver" in programs.output(["ps", "-o", "args=", "-p", str(number)]) else 0


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def notes_of_others(settings: Settings) -> list[Path]:
    return [file for file in (settings.root / "var").glob("dev-*.pid") if file != note(settings, "pid")]


# --- starting it ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    settings = settings_.here()
    is_first = not (settings.root / "var" / "db.sqlite3").exists()
    if process(settings):
        say("the server runs already; to stop it: make down")
        welcome.show(settings, "dev", is_first=is_first)
        return 0
    port = settings["HTTP_PORT"]
    if ports.is_taken(port):
        raise Failure(
            f"port {port} is taken by {ports.holder(port)}; stop it, or set HTTP_PORT in {settings.file} to another"
            " port"
        )
    env.write_if_missing(settings)
    settings = settings.reread()
    _prepare(settings)
    if arguments[:1] == ["--detach"]:
        return _in_background(settings, is_first=is_first)
    return _in_foreground(settings, is_first=is_first)


def _prepare(settings: Settings) -> None:
    if programs.run([str(settings.root / "scripts" / "venv.sh"), "app"], settings.environment):
        raise Failure("the environment .venv could not be made: the reason is above")
    for name in ("spool", "static", "media"):
        (settings.root / "var" / name).mkdir(parents=True, exist_ok=True)
    _manage(settings, "migrate", "--noinput")
    # As in compose.yaml: only if the project has the command.
    commands = programs.output([*manage(settings), "help", "--commands"], environment(settings)).split()
    if "demo_user" in commands:
        _manage(settings, "demo_user")


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables for Django. PYTHONPATH begins with app/, where a project of your own is as well."""
    kept = {name: value for name, value in settings.environment.items() if name not in LEFT_OUT}
    forwarded = {name: settings[name] for name in FORWARDED_SETTINGS}
    path = f"{settings.root / 'app'}:{settings.root}"
    return {**kept, **forwarded, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def manage(settings: Settings) -> list[str]:
    return [_python(settings), str(settings.root / "app" / "manage.py")]


def _python(settings: Settings) -> str:
    return str(settings.root / ".venv" / "bin" / "python")


def _manage(settings: Settings, *arguments: str) -> None:
    command = ["sh", "-c", 'exec "$@" >&2', "sh", *manage(settings), *arguments]
    if subprocess.run(command, env=environment(settings), cwd=settings.root, check=False).returncode:
        raise Failure(f"manage.py {arguments[0]} failed: the reason is above")


def _serve(settings: Settings, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    command = [_python(settings), "-m", "wsgiserver", "uploadstack.wsgi:application"]
    command += ["--bind", f"{settings['BIND_ADDRESS']}:{settings['HTTP_PORT']}"]
    command += ["--workers", settings["WEB_WORKERS"], "--threads", settings["WEB_THREADS"]]
    command += ["--max-body", settings["UPLOAD_MAX"], "--spool-dir", str(settings.root / "var" / "spool")]
    server = subprocess.Popen(
        command,
        env=environment(settings),
        cwd=settings.root,
        stdin=subprocess.DEVNULL if output else None,
        stdout=output,
        stderr=output,
        start_new_session=output is not None,
    )
    note(settings, "pid").write_text(f"{server.pid}\n", encoding="utf-8")
    return server


def _in_background(settings: Settings, *, is_first: bool) -> int:
    log = note(settings, "log")
    with log.open("wb") as output:
        server = _serve(settings, output)
    _wait_until_listening(settings, server)
    say(f"the server runs in the background; its log is {log.relative_to(settings.root)}; to stop it: make down")
    welcome.show(settings, "dev", is_first=is_first)
    server.returncode = 0  # it keeps running; Popen must not wait for it
    return 0


def _in_foreground(settings: Settings, *, is_first: bool) -> int:
    server = _serve(settings)
    try:
        _wait_until_listening(settings, server)
        say("to stop the server: Ctrl-C")
        welcome.show(settings, "dev", is_first=is_first)
        return server.wait()
    finally:
        server.terminate()
        server.wait()
        note(settings, "pid").unlink()


def _wait_until_listening(settings: Settings, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + ANSWERS_WITHIN
    while not ports.is_taken(settings["HTTP_PORT"]):
        if server.poll() is not None:
            log = note(settings, "log")
            printed = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if log.exists() else []
            raise Failure("\n".join(["the server ended right after its start:", *printed]))
        if time.monotonic() >= deadline:
            raise Failure(f"the server does not respond on port {settings['HTTP_PORT']} after {ANSWERS_WITHIN} seconds")
        time.sleep(0.2)
