"""What breaks below: spools and disks that are full or read-only, a database that is locked.

The spools are those of the stack, replaced by small ones for a while. For the photos' disk and the database there is an
annex: the application in a container beside web, with a small disk and a database of its own, because those of the
stack are shared by all that runs.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import pictures
from tests.stack.faults import (
    FRAMINGS,
    PHOTO,
    SLOW,
    WELL_AGAIN,
    Upload,
    check_told,
    is_reached,
    trouble,
    wait_until_well,
)
from tests.stack.pictures import Picture
from tests.stack.stack import COMPOSE, KILL_WORKERS, ROOT, Probe, Stack, eventually, run
from tests.stack.wire import Answer, Relayed, Request, Wire, exchange

pytestmark = pytest.mark.timeout(SLOW)

MEGABYTE = 1024**2
ROOM = 24  # megabytes on each small disk
UPLOAD_MAX = 16  # megabytes, for the annex: one more fits on its empty disk
HUGE = 400 * MEGABYTE
LARGE = pictures.padded(PHOTO, 15 * MEGABYTE)
MOST_OF_IT = 9 * 16  # pieces of 64 KB: two such halves leave room for a photo, and not for another
USERS = {"nginx": 10002, "web": 10001}
SPOOLS = {"nginx": "/var/spool/nginx", "web": "/var/spool/wsgiserver"}


@pytest.fixture(scope="module")
def cramped(stack: Stack) -> Iterator[Stack]:
    """The stack with nginx and web in little room, and back again."""
    files = os.pathsep.join([str(ROOT / "compose.yaml"), str(ROOT / "tests" / "stack" / "cramped.yaml")])
    recreate = ["up", "-d", "--no-deps", "nginx", "web"]
    volumes = {service: f"{stack.project}-little-for-{service}" for service in USERS}
    with contextlib.ExitStack() as afterwards:
        for service, user in USERS.items():
            afterwards.enter_context(volume(stack, volumes[service], user))
        afterwards.callback(wait_until_well, stack)
        afterwards.callback(stack.compose, *recreate)
        stack.compose(*recreate, COMPOSE_FILE=files, NGINX_SPOOL="little-for-nginx", WEB_SPOOL="little-for-web")
        wait_until_well(stack)
        yield stack


@contextlib.contextmanager
def volume(stack: Stack, name: str, user: int) -> Iterator[None]:
    """A disk with little room, in memory."""
    options = ["type=tmpfs", "device=tmpfs", f"o=size={ROOM}m,uid={user},gid={user},mode=0755"]
    run("docker", "volume", "create", *labels(stack), *(f"--opt={option}" for option in options), name)
    try:
        yield
    finally:
        run("docker", "volume", "rm", name)


def labels(stack: Stack) -> list[str]:
    """Whoever clears up after the stack clears this up, too."""
    return [f"--label={COMPOSE}.project={stack.project}", f"--label={COMPOSE}.project.working_dir={ROOT}"]


# --- spools -----------------------------------------------------------------------------------------------------------


def used(stack: Stack, service: str) -> int:
    """Megabytes. Files that have no name any more take their room, too."""
    size = stack.exec(service, "df", "--block-size=1M", "--output=used", SPOOLS[service])
    return int(size.split()[-1])


# Whose spool it is, how the uploads come that fill it, and who says so.
FULL = {
    "nginx's": ("nginx", "buffered"),
    "web's, through nginx": ("web", "streamed"),
    "web's": ("web", "direct"),
}


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("whose", FULL)
def test_a_spool_is_full(cramped: Stack, whose: str, framing: str) -> None:
    """Who does not fit is told; who does, and who was there before, is not harmed; afterwards there is room again."""
    service, route = FULL[whose]
    with trouble(cramped) as uploads:
        halves = [uploads.begin(route, framing, LARGE, MOST_OF_IT) for _ in range(2)]
        eventually(lambda: used(cramped, service) >= 16, WELL_AGAIN, "the first two have taken most of the room")
        refused = uploads.whole(route, framing, LARGE)
        check_spool_full(refused)
        eventually(lambda: used(cramped, service) < ROOM - 5, WELL_AGAIN, "what was refused has made room")
        uploads.stored(route, framing)
        # The first two cannot both be right now: one of them goes on, when the other has gone away.
        halves[0].give_up()
        eventually(lambda: used(cramped, service) < 16, WELL_AGAIN, "what nobody will finish has made room")
        halves[1].finish()
        assert halves[1].status == 201, str(halves[1])
        uploads.stored(route, framing, LARGE)


def check_spool_full(upload: Upload) -> None:
    """By nginx or by web, in the same form."""
    assert upload.answer, str(upload)
    assert upload.status == 507, str(upload)
    assert upload.answer.json()["error"] == "spool-full"


def test_workers_are_killed_while_they_answer(cramped: Stack) -> None:
    """A client must not take the part that it got for the whole.

    Not the whole container, because one that vanishes may not say so: then its clients, and nginx's, hang until a time
    limit (proxy_read_timeout, 70 s).
    """
    with trouble(cramped) as uploads, contextlib.ExitStack() as wires:
        upload = uploads.stored()
        # More than all buffers on the way hold; a hole in a file takes no room.
        original = cramped.probe("photo", upload.name)["original"]
        cramped.exec("gunicorn", "truncate", f"--size={HUGE}", f"/srv/media/{original}")
        readers: list[Wire] = [cramped.nginx("web"), cramped.relay("web")]
        for wire in readers:
            wires.enter_context(wire)
            wire.send(Request("GET", f"/photos/{upload.name}", {}).head(wire.host, None))
            assert b" 200 " in wire.reader.readline()
        cramped.exec("web", "python", "-c", KILL_WORKERS)
        for wire in readers:
            with contextlib.suppress(ConnectionError):  # which says it, too
                assert len(wire.reader.read()) < HUGE
        uploads.delete(upload)


# --- the disk of the photos, and the database -------------------------------------------------------------------------


class Annex(Stack):
    """The application beside web: reached directly, with its own photos and rows."""

    def __init__(self, beside: Stack, container: str) -> None:
        super().__init__(Path(beside.environment["ENV_FILE"]))
        self.id = container
        self.token = beside.token
        self.probe = Probe(container)
        self._beside = beside

    def relay(self, service: str, port: int = 8000) -> Relayed:  # noqa: ARG002 - there is but one
        return self._beside.relay(self.id[:12], port)  # its host name

    def nginx(self, server: str) -> Relayed:
        return self.relay(server)

    def containers(self) -> dict[str, dict[str, object]]:
        return {}

    def leftovers(self) -> list[str]:
        return []

    def ask(self, method: str, target: str) -> Answer:
        with self.relay("web") as wire:
            return exchange(wire, Request(method, target, {}), self.token)

    def readiness(self) -> dict[str, str]:
        said: dict[str, str] = self.ask("GET", "/readyz").json()
        return said


# The stack's own rows without photos, so that its users and tokens are good here.
_BEGIN = """
import os, sqlite3
theirs, ours = sqlite3.connect("/srv/theirs/db.sqlite3"), sqlite3.connect("/srv/data/db.sqlite3")
theirs.backup(ours)
ours.execute("DELETE FROM photos_photo")
ours.commit()
"""


@pytest.fixture(scope="module")
def disks(stack: Stack) -> Iterator[dict[str, str]]:
    """Small ones, for photos and for the database."""
    names = {folder: f"{stack.project}-annex-{folder}" for folder in ("media", "data")}
    with contextlib.ExitStack() as volumes:
        for name in names.values():
            volumes.enter_context(volume(stack, name, USERS["web"]))
        yield names


@contextlib.contextmanager
def annex_beside(stack: Stack, disks: dict[str, str], begin: str, mode: str = "rw") -> Iterator[Annex]:
    web = stack.container("web")
    changed = {
        "X_ACCEL_PREFIX": "",
        "DATABASE_URL": f"sqlite:////srv/data/db.sqlite3?timeout={PATIENCE}",
        "WSGISERVER_SPOOL_DIR": "/tmp",
        "UPLOAD_MAX": f"{UPLOAD_MAX}m",
        "WSGISERVER_MAX_BODY": f"{UPLOAD_MAX}m",
    }
    environment = dict(pair.split("=", 1) for pair in web["Config"]["Env"]) | changed
    serve = "exec wsgiserver config.wsgi:application --bind 0.0.0.0:8000 --workers 1"
    command = ["docker", "run", "--detach", "--init", "--read-only", "--cap-drop=ALL", "--user=10001:10001"]
    command += ["--security-opt=no-new-privileges", "--tmpfs=/tmp:mode=1777"]
    command += [f"--network={stack.project}_inside", *labels(stack)]
    command += [f"--volume={disks['media']}:/srv/media:{mode}", f"--volume={disks['data']}:/srv/data"]
    command += [f"--volume={stack.project}_data:/srv/theirs"]
    command += [f"--env={name}={value}" for name, value in environment.items()]
    container = run(*command, web["Config"]["Image"], "sh", "-c", f"{begin} {serve}").strip()
    try:
        with Annex(stack, container) as annex:
            eventually(lambda: is_reached(annex) or not runs(container), WELL_AGAIN, "the annex answers")
            assert runs(container), "the annex has ended"
            yield annex
    finally:
        run("docker", "rm", "--force", container)


def runs(container: str) -> bool:
    return run("docker", "inspect", "--format={{.State.Running}}", container).strip() == "true"


PATIENCE = 2  # seconds that the annex waits for its database


@pytest.fixture(scope="module")
def annex(stack: Stack, disks: dict[str, str]) -> Iterator[Annex]:
    with annex_beside(stack, disks, f"python -c '{_BEGIN}' &&") as new:
        yield new


def test_the_disk_of_the_photos_is_full(annex: Annex) -> None:
    with trouble(annex, routes=["direct"]) as uploads:
        assert annex.readiness()["disk"] == "ok"
        large = uploads.stored("direct", "length", LARGE)
        for framing in FRAMINGS:
            check_told(uploads.whole("direct", framing, LARGE).answer, (507, "disk-full"))
        assert annex.readiness() == {"status": "failed", "database": "ok", "media": "ok", "disk": "failed"}
        uploads.stored("direct")  # what fits is taken
        uploads.delete(large)
        assert annex.readiness()["status"] == "ok"
        uploads.delete(uploads.stored("direct", "chunked", LARGE))


def test_the_disk_of_the_photos_is_read_only(stack: Stack, annex: Annex, disks: dict[str, str]) -> None:
    """As a kernel mounts it after an error. Nothing can be stored; what is there can be seen."""
    with trouble(annex, routes=["direct"]) as uploads, annex_beside(stack, disks, "", "ro") as frozen:
        upload = uploads.uploads[0]
        for shape in FRAMINGS.values():
            with frozen.relay("web") as wire:
                check_told(exchange(wire, shape("new.jpg", PHOTO.content), frozen.token), (503, "storage-unavailable"))
        assert frozen.readiness()["media"] == "failed"
        assert Picture(frozen.ask("GET", f"/photos/{upload.name}").body).sha256 == PHOTO.sha256


_LOCK = """
import sqlite3, sys
database = sqlite3.connect("/srv/data/db.sqlite3", isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_the_database_is_locked(annex: Annex) -> None:
    """By another process, for longer than anybody waits. Who only reads does not mind."""
    command = ["docker", "exec", "-i", annex.id, "python", "-c", _LOCK]
    with trouble(annex, routes=["direct"]) as uploads:
        upload = uploads.uploads[0]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == b"locked\n"
            for framing in FRAMINGS:
                check_told(uploads.whole("direct", framing).answer, (503, "database-unavailable"))
            check_told(annex.ask("DELETE", f"/api/photos/{upload.name}"), (503, "database-unavailable"))
            assert annex.ask("GET", "/api/photos/").status == 200
            assert Picture(annex.ask("GET", f"/photos/{upload.name}").body).sha256 == PHOTO.sha256
            holder.communicate()
