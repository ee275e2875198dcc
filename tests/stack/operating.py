"""Shared checks of make deploy, backup and restore, for either database and any number of containers.

Some tests replace or stop the container of gunicorn, in which the probe of a Stack runs: hence `stack.forget()`.
"""

import contextlib
import hashlib
import io
import itertools
import os
import signal
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.stack.faults import checked_uploads, in_background
from tests.stack.pictures import Picture
from tests.stack.stack import ROOT, SCRIPTS, Stack, log_of, run, succeeds
from tests.stack.wire import CHUNKED, Request, exchange
from tests.wire.polling import poll

PATIENCE = 900  # seconds for one script, on a busy machine


def attempt(stack: Stack, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a script that may fail; `settings` override the file of the stack."""
    done = subprocess.run(
        [str(SCRIPTS / script), *arguments],
        capture_output=True,
        text=True,
        env={**stack.environment, **settings},
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    stack.forget()
    return done


def ids(stack: Stack) -> dict[str, set[str]]:
    services = ("nginx", "web", "gunicorn")
    return {service: {container["Id"] for container in stack.replicas(service)} for service in services}


def upload(stack: Stack, name: str, picture: Picture) -> None:
    with stack.nginx("web") as wire:
        answer = exchange(wire, CHUNKED(name, picture.content), stack.token)
    assert (answer.status, answer.json()["sha256"]) == (201, picture.sha256)


def delete(stack: Stack, name: str) -> None:
    """Close the connection: to a simple reader, that is the end of an answer without a body and without a length."""
    with stack.nginx("web") as wire:
        request = Request("DELETE", f"/api/photos/{name}", {"Connection": "close"})
        assert exchange(wire, request, stack.token).status == 204


@contextlib.contextmanager
def paused(container: str) -> Iterator[None]:
    """Its processes do not run. A busy kernel may not stop them all in time; then it is asked again."""
    poll(lambda: succeeds("docker", "pause", container), "the container is paused", 60)
    try:
        yield
    finally:
        run("docker", "unpause", container)


# --- deploying --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def small_requests(stack: Stack) -> Iterator[Counter[str]]:
    """Two clients send requests, each on a new connection. Yields how often they got which status."""
    statuses: Counter[str] = Counter()

    def ask() -> None:
        try:
            with stack.nginx("web") as wire:
                status = str(exchange(wire, Request("GET", "/healthz", {}), token=None).status)
        except OSError as error:
            status = repr(error)
        statuses[status] += 1

    with in_background(0.05, ask), in_background(0.05, ask):
        yield statuses


# Half of each upload is sent before the deploy, the other half when the old web stops.
HALVES = [("direct", "length"), ("direct", "chunked"), ("buffered", "chunked"), ("streamed", "chunked")]
# Sent whole, one after the other, all the time. No buffered form: nginx may send a POST into a connection that web is
# closing, and it does not send a POST again.
ALL_THE_TIME = [("buffered", "length"), ("buffered", "chunked"), ("streamed", "length"), ("streamed", "form")]


@dataclass
class Source:
    """The build context of web, in an overlay of compose.yaml."""

    overlay: Path
    built: list[str] = field(default_factory=list)  # images of other contexts, to be removed

    def choose(self, context: Path) -> None:
        self.overlay.write_text(f'services: {{web: {{build: {{context: "{context}"}}}}}}\n')


def check_deploy(stack: Stack, **settings: str) -> None:
    """Web and gunicorn get new containers, nginx stays, and no request or upload fails meanwhile.

    A second deploy at the same time is refused.
    """
    before = ids(stack)
    with checked_uploads(stack) as uploads, contextlib.ExitStack() as afterwards:
        afterwards.callback(stack.forget)  # in any case: gunicorn has another container now
        halves = [uploads.begin(*way) for way in HALVES]
        with (
            small_requests(stack) as statuses,
            uploads.undisturbed(*ALL_THE_TIME),
            _deploying(stack, settings) as deploy,
        ):
            poll(lambda: _is_stopping(before["web"], deploy), "an old web is stopping", PATIENCE)
            refused = attempt(stack, "deploy.sh", **settings)
            assert (refused.returncode, "is working on this stack" in refused.stderr) == (1, True), refused.stderr
            for upload in halves:
                upload.finish()
                assert upload.status == 201, str(upload)
            output = deploy.communicate(timeout=PATIENCE)[0]
            assert deploy.returncode == 0, output
    assert "==> deployed" in output
    assert set(statuses) == {"200"}, statuses
    check_replaced(stack, before, settings)


def check_replaced(stack: Stack, before: dict[str, set[str]], settings: dict[str, str]) -> None:
    after = ids(stack)
    assert after["nginx"] == before["nginx"]
    for service in ("web", "gunicorn"):
        assert not after[service] & before[service], service
        assert len(after[service]) == len(before[service]), service
    stack.compose("up", "-d", **settings)
    assert ids(stack) == after, "make up changed containers"
    assert len(stack.script("token.sh").strip()) == 64, "token.sh did not find the new web"
    assert stack.script("shell.sh", "web", "echo", "here") == "here\n"


@contextlib.contextmanager
def _deploying(stack: Stack, settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [str(SCRIPTS / "deploy.sh")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**stack.environment, **settings},
        cwd=ROOT,
    ) as process:
        yield process


def _is_stopping(containers: set[str], deploy: subprocess.Popen[str]) -> bool:
    assert deploy.poll() is None, deploy.communicate()[0]
    for container in containers:
        try:
            log = log_of(container)
        except subprocess.CalledProcessError:  # it is removed, so it was stopped
            return True
        if '"event":"stopping"' in log:
            return True
    return False


# --- backing up -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def changing_photos(stack: Stack, photo: Picture, name: str) -> Iterator[None]:
    """Upload and delete photos all the time."""
    number = itertools.count()

    def upload_and_delete() -> None:
        temporary = f"gone-{next(number)}-{name}"
        upload(stack, temporary, photo)
        delete(stack, temporary)

    with in_background(0, upload_and_delete):
        yield


def backup(stack: Stack, folder: Path) -> Path:
    """Make a backup: one whole file, readable only by its owner, and no other files are left."""
    made = attempt(stack, "backup.sh", BACKUPS=str(folder))
    assert made.returncode == 0, made.stderr
    path = Path(made.stdout.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in folder.iterdir()] == [path.name]
    assert leftovers(stack) == ""
    return path


def leftovers(stack: Stack) -> str:
    """Files of backups and restores in the volumes."""
    return stack.exec("gunicorn", "sh", "-c", "ls -d /srv/media/.[br]* /srv/data/.[br]* 2>/dev/null; true")


def check_round_trip(stack: Stack, photo: Picture, name: str, folder: Path) -> Path:
    """A restore brings back the state at the time of the backup, byte for byte. Returns the backup."""
    for number in range(3):
        upload(stack, f"{number}-{name}", photo)
    with changing_photos(stack, photo, name):
        backup(stack, folder / "busy")
    rows, files = stack.state()
    quiet = backup(stack, folder / "quiet")
    with tarfile.open(quiet) as tar:
        archived = {entry.removeprefix("media/") for entry in tar.getnames() if entry.startswith("media/")}
    assert archived == set(files)

    delete(stack, f"1-{name}")
    upload(stack, f"later-{name}", photo)
    restored = attempt(stack, "restore.sh", str(quiet), YES="1")
    assert restored.returncode == 0, restored.stderr
    assert stack.state() == (rows, files)
    for number in range(3):
        assert stack.probe("photo", f"{number}-{name}")["file_sha256"] == photo.sha256
    assert leftovers(stack) == ""
    poll(lambda: _accepts_upload(stack, f"after-{name}", photo), "uploads succeed again", 60)
    return quiet


def _accepts_upload(stack: Stack, name: str, photo: Picture) -> bool:
    with stack.nginx("web") as wire:
        return exchange(wire, CHUNKED(name, photo.content), stack.token).status in {200, 201}


# --- restoring that fails, or is killed -------------------------------------------------------------------------------


@contextlib.contextmanager
def state_preserved(stack: Stack, photo: Picture, name: str) -> Iterator[None]:
    """Rows and files are afterwards what they were, no other files are left, and uploads succeed."""
    upload(stack, name, photo)
    before = stack.state()
    yield
    stack.forget()
    assert stack.state() == before
    assert stack.probe("photo", name)["file_sha256"] == photo.sha256
    assert leftovers(stack) == ""
    poll(lambda: _accepts_upload(stack, f"after-{name}", photo), "uploads succeed again", 60)


def check_fails(stack: Stack, archive: Path, reason: str) -> None:
    """The restore fails and brings back the previous state."""
    failed = attempt(stack, "restore.sh", str(archive), YES="1")
    assert (failed.returncode, "the data from before the restore is back" in failed.stderr) == (1, True), failed.stderr
    assert reason in failed.stderr


def kill_restore(stack: Stack, archive: Path, point: str) -> None:
    """Kill the script and its child processes on this machine as soon as it reports this point."""
    command = [str(SCRIPTS / "restore.sh"), str(archive)]
    environment = {**stack.environment, "YES": "1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stderr
        output = ""
        while point not in output:
            line = process.stderr.readline()
            assert line, f"restore.sh ended before {point}: {output}"
            output += line
        os.killpg(process.pid, signal.SIGKILL)


def undo(stack: Stack) -> None:
    undone = attempt(stack, "restore.sh", "--undo")
    assert (undone.returncode, "the data from before the restore is back" in undone.stderr) == (0, True), undone.stderr


def sums(entries: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in entries.items()).encode()


def archive_of(path: Path, entries: dict[str, bytes]) -> Path:
    """An archive in the form of a backup, with any entries."""
    with tarfile.open(path, "w") as tar:
        for name, data in {**entries, "SHA256SUMS": sums(entries)}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path
