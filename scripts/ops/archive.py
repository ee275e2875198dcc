"""Steps of backup and restore that run next to the data. Each is a program in a container.

Steps of uploadstack/archive.py run in a container of web's image, with web's volumes and nothing else. Programs of
PostgreSQL run in the container of the server, as its superuser, a role without a password that can log in only there.
Data goes through stdin and stdout, so no folder of this machine is shared with a container. Errors go to stderr.
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

from . import database, engine
from .console import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .settings import Settings

PROGRAMS = ("uploadstack.archive", "pg_dump", "pg_restore", "psql", "createdb", "dropdb")  # named in messages
MEDIA, DATA = "/srv/media", "/srv/data"
# Runs a command of manage.py with its arguments; does nothing if the project has no such command.
_IF_DEFINED = """
commands=$(python manage.py help --commands) || exit
! echo "$commands" | grep -qx "$1" || exec python manage.py "$@"
"""


def backups(settings: Settings) -> Path:
    """Return the folder of the archives: BACKUPS, or backups/."""
    return Path(settings.environment.get("BACKUPS") or settings.root / "backups")


def if_defined(*command: str) -> list[str]:
    """Return the words that run a command of manage.py in a container, if the project has that command."""
    return ["sh", "-c", _IF_DEFINED, "sh", *command]


def step(settings: Settings, name: str, *arguments: str) -> list[str]:
    """Return the command for a step of uploadstack/archive.py."""
    web = web_of(settings)
    limits = ["--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"]
    labels = [
        f"--label={engine.LABEL}.{label}=" for label in ("project", "service")
    ]  # override the labels of the image
    volumes = [f"--volume={web.mounts[place]}:{place}" for place in (MEDIA, DATA)]
    its = ["--rm", "--interactive", "--log-driver=none", "--user=10001:10001", "--entrypoint=python"]
    options = [*its, *limits, *labels, *volumes]
    return ["docker", "run", *options, web.image_id, "-I", "-m", "uploadstack.archive", name, *arguments]


def web_of(settings: Settings) -> engine.Container:
    """Return a container of web, whether it runs or not. Raises Failure if there is none."""
    found = engine.containers(settings.project, "web")
    if not found:
        raise Failure("web has no container; start the stack first: make up")
    return found[0]


def postgres(settings: Settings, *words: str) -> list[str]:
    """Return the command for a program of PostgreSQL."""
    db = engine.first(settings.project, "db")
    if not db:
        raise Failure("the database does not run; start it first: make up")
    options = ["--env=PGOPTIONS=--client-min-messages=warning", f"--env=PGUSER={database.superuser(db)}"]
    return ["docker", "exec", "--interactive", *options, db, *words]


def run(command: Sequence[str], source: Path | None = None, target: Path | None = None) -> None:
    """Run it, with its input and output from and to files if they are given. Raises Failure, after its own message."""
    with _opened(source, target) as (stdin, stdout):
        done = subprocess.run(command, stdin=stdin, stdout=stdout, check=False, close_fds=False)
    _check(command, done.returncode)


def pipe(first: Sequence[str], second: Sequence[str], source: Path, target: Path | None = None) -> None:
    """Run both, with the output of the first as input of the second. Raises Failure if either fails."""
    with _opened(source, target) as (stdin, stdout):
        giving = subprocess.Popen(first, stdin=stdin, stdout=subprocess.PIPE, close_fds=False)
        with giving:
            assert giving.stdout  # noqa: S101  # it is a pipe
            done = subprocess.run(second, stdin=giving.stdout, stdout=stdout, check=False, close_fds=False)
    _check(second, done.returncode)
    _check(first, giving.returncode)


def output(command: Sequence[str], source: Path | None = None) -> str:
    """Return its output. Raises Failure, after its own message."""
    with _opened(source, None) as (stdin, _):
        done = subprocess.run(command, stdin=stdin, stdout=subprocess.PIPE, check=False, close_fds=False)
    _check(command, done.returncode)
    return done.stdout.decode(errors="surrogateescape")


@contextlib.contextmanager
def _opened(source: Path | None, target: Path | None) -> Iterator[tuple[IO[bytes] | int, IO[bytes] | int]]:
    with contextlib.ExitStack() as files:
        yield (
            files.enter_context(source.open("rb")) if source else subprocess.DEVNULL,
            files.enter_context(target.open("wb")) if target else subprocess.DEVNULL,
        )


def _check(command: Sequence[str], status: int) -> None:
    if status:
        name = next((word for word in PROGRAMS if word in command), command[0])
        raise Failure(f"{name} failed with exit code {status}: the reason is above")
