"""make deploy, backup, restore, doctor and soak, on a stack of their own, because they replace and stop containers.

OPERATION_ENV_FILE=file pytest tests/stack/test_12_operation.py     use the stack that runs with these settings
"""

import contextlib
import datetime as dt
import os
import shutil
import socket
import sqlite3
import subprocess
import tarfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.soak import OFTEN, Soak, Tally, growing, report
from tests.stack.operating import (
    archive_of,
    attempt,
    backup,
    check_deploy,
    check_fails,
    check_round_trip,
    ids,
    kill_restore,
    leftovers,
    undo,
    unharmed,
    upload,
)
from tests.stack.pictures import Picture
from tests.stack.stack import SCRIPTS, Stack, clean_environment, free_ports, run
from tests.stack.starting import FIRST_START, overlaid, provided

# With an option, as the scripts may meet it.
DATABASE_URL = "sqlite:////srv/data/db.sqlite3?timeout=20"

pytestmark = pytest.mark.timeout(FIRST_START)  # the first one starts the stack; and others have the machine, too


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with provided(tmp_path_factory, "operation", DATABASE_URL=DATABASE_URL) as running:
        yield running


# --- deploy -----------------------------------------------------------------------------------------------------------


def test_a_deploy_loses_no_request(stack: Stack) -> None:
    check_deploy(stack, WEB_THREADS="3")


# Setting -> a value that cannot be, what is said, and what the logs say.
BROKEN = {
    "WEB_WORKERS": ("none", "the new application cannot be loaded", "'none' will not do"),
    "SECRET_KEY": ("short", "the new application cannot be loaded", "fewer than 32 characters"),
    "DEMO_PASSWORD": ("change-me", "the database could not be migrated", "a placeholder"),
    "LOGIN_RATE": ("none", "nginx does not take its new configuration", "LOGIN_RATE=none is no rate"),
}


@pytest.mark.parametrize("setting", BROKEN)
def test_what_is_broken_leaves_the_old_one_in_place(stack: Stack, photo: Picture, name: str, setting: str) -> None:
    value, complaint, reason = BROKEN[setting]
    before = ids(stack)
    deploy = attempt(stack, "deploy.sh", **{"WEB_THREADS": "3", setting: value})
    assert deploy.returncode == 1
    assert complaint in deploy.stderr
    assert reason in deploy.stderr
    assert ids(stack) == before
    upload(stack, name, photo)


# What Compose is told of web, over compose.yaml -> what the logs say.
UNWELL = {
    "it ends when it is not only looked at": (
        """{command: ["sh", "-c", "echo not today; [ $$WSGISERVER_CHECK_CONFIG ]"]}""",
        "not today",
    ),
    "none can be made beside the old one": (
        "{container_name: $NGINX}",
        "did not start all of them",
    ),
}


@pytest.mark.parametrize("case", UNWELL)
def test_what_does_not_become_well_leaves_the_old_one_in_place(
    stack: Stack, photo: Picture, name: str, tmp_path: Path, case: str
) -> None:
    web, reason = UNWELL[case]
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"services: {{web: {web}}}".replace("$NGINX", stack.container("nginx")["Name"].lstrip("/")))
    before = ids(stack)
    deploy = attempt(stack, "deploy.sh", **overlaid(overlay))
    assert deploy.returncode == 1
    assert "the new web did not become well" in deploy.stderr, deploy.stderr
    assert reason in deploy.stderr
    assert ids(stack) == before
    upload(stack, name, photo)


def test_nothing_changed_is_fine(stack: Stack) -> None:
    assert attempt(stack, "deploy.sh", WEB_THREADS="3").returncode == 0
    before = ids(stack)
    deploy = attempt(stack, "deploy.sh", WEB_THREADS="3")
    assert (deploy.returncode, "nothing had changed" in deploy.stderr) == (0, True), deploy.stderr
    assert ids(stack) == before


def test_tls_can_be_switched_on_and_off(stack: Stack) -> None:
    """The last to be replaced is nginx: the one that has to find the new web has the old setting still."""
    for tls, replicas in (("on", "2"), ("off", "1")):
        deploy = attempt(stack, "deploy.sh", WEB_THREADS="3", TLS=tls, WEB_REPLICAS=replicas)
        assert deploy.returncode == 0, deploy.stderr


@pytest.mark.parametrize("script", ["deploy.sh", "backup.sh"])
def test_where_nothing_runs_make_up_comes_first(stack: Stack, script: str) -> None:
    refused = attempt(stack, script, COMPOSE_PROJECT_NAME=f"uploadstack-none-{uuid.uuid4().hex}")
    assert (refused.returncode, "run: make up" in refused.stderr) == (1, True)


# --- backup and restore -----------------------------------------------------------------------------------------------


def test_what_was_backed_up_comes_back(stack: Stack, photo: Picture, name: str, tmp_path: Path) -> None:
    kept = check_round_trip(stack, photo, name, tmp_path)
    with tarfile.open(kept) as tar:
        tar.extractall(tmp_path / "held", filter="data")
    with contextlib.closing(sqlite3.connect(tmp_path / "held" / "database.sqlite3")) as database:
        rows = database.execute("SELECT original, thumbnail, sha256 FROM photos_photo").fetchall()
    assert rows
    lines = (tmp_path / "held" / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for original, thumbnail, sha256 in rows:
        assert sums[f"media/{original}"] == sha256
        assert f"media/{thumbnail}" in sums


def flipped(archive: Path) -> None:
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def cut_short(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size * 2 // 3)


def emptied(archive: Path) -> None:
    archive.write_bytes(b"")


def of_another_kind(archive: Path) -> None:
    archive_of(archive, {"about.json": b"{}", "database.dump": b"PGDMP"})


def something_else(archive: Path) -> None:
    archive_of(archive, {"about.json": b"{}", "database.sqlite3": b"", "../outside": b"x"})


UNSOUND = [flipped, cut_short, emptied, of_another_kind, something_else]


@pytest.fixture(scope="module")
def sound(stack: Stack, photo: Picture, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    upload(stack, f"{uuid.uuid4().hex}.jpg", photo)
    made = attempt(stack, "backup.sh", BACKUPS=str(tmp_path_factory.mktemp("sound")))
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip()).read_bytes()


@pytest.mark.parametrize("spoil", UNSOUND, ids=lambda spoil: spoil.__name__)
def test_an_archive_that_is_not_sound_touches_nothing(
    stack: Stack, sound: bytes, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    spoil(archive)
    before = stack.state(), [container["State"]["StartedAt"] for container in stack.replicas("web")]
    refused = attempt(stack, "restore.sh", str(archive), YES="1")
    assert (refused.returncode, "nothing was changed" in refused.stderr.lower()) == (1, True), refused.stderr
    assert (stack.state(), [container["State"]["StartedAt"] for container in stack.replicas("web")]) == before


def test_nobody_who_does_not_say_yes_is_restored(stack: Stack, sound: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    before = stack.state()
    command = ["bash", "-c", 'echo no | "$0" "$1"', str(SCRIPTS / "restore.sh"), str(archive)]
    refused = subprocess.run(command, capture_output=True, text=True, env=stack.environment, check=False)
    assert (refused.returncode, "nothing was changed" in refused.stderr) == (1, True)
    assert stack.state() == before


def test_a_restore_that_fails_brings_back_what_was_there(
    stack: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    """Its sums are right, but what it calls a database is none; that shows when it is brought up to date."""
    archive = archive_of(
        tmp_path / "archive.tar",
        {"about.json": b"{}", "database.sqlite3": b"not a database", "media/originals/00/x.jpg": b"x"},
    )
    with unharmed(stack, photo, name):
        check_fails(stack, archive, "could not be brought up to date")


def test_a_restore_that_is_killed_early_can_be_begun_again(
    stack: Stack, photo: Picture, name: str, tmp_path: Path
) -> None:
    """Of what is there nothing has been touched yet; half of the archive lies beside it."""
    upload(stack, name, photo)
    archive, before = backup(stack, tmp_path), stack.state()
    kill_restore(stack, archive, "unpacking")
    assert stack.state() == before
    restored = attempt(stack, "restore.sh", str(archive), YES="1")
    stack.forget()
    assert restored.returncode == 0, restored.stderr
    assert stack.state() == before
    assert leftovers(stack) == ""


@pytest.mark.parametrize("point", ["exchanging", "migrating"])
def test_a_restore_that_is_killed_can_be_undone(
    stack: Stack, sound: bytes, photo: Picture, name: str, tmp_path: Path, point: str
) -> None:
    """Even if the stack was started in between, and a backup made."""
    archive = tmp_path / "archive.tar"
    archive.write_bytes(sound)
    with unharmed(stack, photo, name):
        kill_restore(stack, archive, point)
        if point == "migrating":
            stack.script("up.sh")
            stack.forget()
            refused = attempt(stack, "restore.sh", str(archive), YES="1")
            assert (refused.returncode, "restore.sh --undo" in refused.stderr) == (1, True), refused.stderr
            assert attempt(stack, "backup.sh", BACKUPS=str(tmp_path / "between")).returncode == 0
        undo(stack)


# --- doctor -----------------------------------------------------------------------------------------------------------


def doctor(env_file: Path) -> str:
    command = [str(SCRIPTS / "doctor.sh")]
    environment = {**clean_environment(), "ENV_FILE": str(env_file)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout


@pytest.fixture
def patient(stack: Stack, tmp_path: Path) -> Iterator[tuple[Path, Callable[..., str]]]:
    """Settings of a stack that does not run, and what makes volumes for it, which go afterwards."""
    project = f"uploadstack-doctor-{uuid.uuid4().hex[:8]}"
    http, https, gunicorn, runserver = free_ports(4)
    pairs = [f"COMPOSE_PROJECT_NAME={project}", f"HTTP_PORT={http}", f"HTTPS_PORT={https}"]
    pairs += [f"GUNICORN_PORT={gunicorn}", f"RUNSERVER_PORT={runserver}", "UPLOAD_MAX=16m"]
    run(str(SCRIPTS / "env.sh"), "--output", str(tmp_path / "env"), *pairs, env=clean_environment())
    made = []

    def volume(name: str, *options: str) -> str:
        made.append(f"{project}_{name}")
        run("docker", "volume", "create", *options, made[-1])
        return made[-1]

    yield tmp_path / "env", volume
    for name in made:
        run("docker", "volume", "rm", name)


def image(stack: Stack, service: str) -> str:
    name: str = stack.container(service)["Config"]["Image"]
    return name


VOLUMES = {
    "media": ("web", "/srv/media"),
    "data": ("web", "/srv/data"),
    "spool": ("web", "/var/spool/wsgiserver"),
    "nginx-spool": ("nginx", "/var/spool/nginx"),
    "certificates": ("nginx", "/srv/certificates"),
}


def test_doctor_finds_volumes_of_another_user_and_knows_the_remedy(
    stack: Stack, patient: tuple[Path, Callable[..., str]]
) -> None:
    """With something in them: the engine gives an empty volume the owner that the image has there."""
    env_file, volume = patient
    for name, (service, place) in VOLUMES.items():
        spoil = f"touch {place}/x && chown -R 0:0 {place} && chmod 755 {place}"
        own = ["--entrypoint", "sh", image(stack, service), "-c", spoil]
        run("docker", "run", "--rm", "--user", "0", "-v", f"{volume(name)}:{place}", *own)
    said = doctor(env_file)
    assert said.count("cannot use the volume") == len(VOLUMES), said
    remedies = [line.strip().removeprefix("-> ") for line in said.splitlines() if "--entrypoint chown" in line]
    assert len(remedies) == len(VOLUMES)
    for remedy in remedies:
        run("bash", "-c", remedy)
    assert "cannot use the volume" not in doctor(env_file)


def test_doctor_finds_a_spool_that_is_too_small(patient: tuple[Path, Callable[..., str]]) -> None:
    env_file, volume = patient
    volume("nginx-spool", "--driver=local", "--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=40m,uid=10002")
    volume("spool")
    said = doctor(env_file)
    assert "NGINX_SPOOL" in said
    assert "2 uploads of UPLOAD_MAX=16m at a time, the next gets 507" in said
    assert said.count("the next gets 507") == 1, said


def test_doctor_finds_a_port_that_is_taken_and_a_secret_that_is_none(
    patient: tuple[Path, Callable[..., str]],
) -> None:
    env_file, _ = patient
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = env_file.read_text()
        secret = next(line for line in text.splitlines() if line.startswith("SECRET_KEY="))
        changed = text.replace(secret, "SECRET_KEY=change-me") + f"\nHTTPS_PORT={port}\n"
        env_file.write_text(changed)
        said = doctor(env_file)
    assert f"port {port} is taken by" in said
    assert "SECRET_KEY is still the placeholder" in said


@pytest.mark.parametrize(("days", "is_told"), [(5, True), (60, False)])
def test_doctor_looks_when_the_certificate_ends(
    stack: Stack, patient: tuple[Path, Callable[..., str]], days: int, is_told: bool
) -> None:
    env_file, volume = patient
    where = "-keyout /srv/certificates/privkey.pem -out /srv/certificates/fullchain.pem"
    make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN=x {where}"
    mount = f"{volume('certificates')}:/srv/certificates"
    run("docker", "run", "--rm", "-v", mount, "--entrypoint", "sh", image(stack, "nginx"), "-c", make)
    with env_file.open("a") as file:
        file.write("\nTLS=on\n")
    said = doctor(env_file)
    assert ("is not good for 21 more days" in said) is is_told, said
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    assert str(end.year) in next(line for line in said.splitlines() if "certificate" in line)


# --- spools of a fixed size -------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mkfs.ext4"), reason="only root makes disks")
def test_spools_of_a_fixed_size_are_made_and_taken_away(
    stack: Stack, patient: tuple[Path, Callable[..., str]], tmp_path: Path
) -> None:
    env_file, _ = patient
    before = env_file.read_text()
    fstab = tmp_path / "fstab"
    fstab.write_text("# what was there before\n")
    places = {"ENV_FILE": str(env_file), "SPOOLS": str(tmp_path / "disks"), "FSTAB": str(fstab)}
    spool = partial(attempt, stack, "spool.sh", **places)

    too_small = spool("20m")
    assert (too_small.returncode, "no room for two uploads" in too_small.stderr) == (1, True), too_small.stderr
    assert env_file.read_text() == before
    made = spool("80m")
    assert made.returncode == 0, made.stderr
    try:
        assert f"NGINX_SPOOL={tmp_path}/disks/nginx\nWEB_SPOOL={tmp_path}/disks/web\n" in env_file.read_text()
        assert [line.split()[1:3] for line in fstab.read_text().splitlines()[1:]] == [
            [f"{tmp_path}/disks/{name}", "ext4"] for name in ("nginx", "web")
        ]
        said = doctor(env_file)
        assert "cannot use the volume" not in said
        assert said.count("room for 4 uploads of UPLOAD_MAX at a time") == 2, said
        with_spool = [
            "docker",
            "run",
            "--detach",
            "--rm",
            "--entrypoint=sleep",
            f"--volume={tmp_path}/disks/web:/spool",
        ]
        user = run(*with_spool, image(stack, "web"), "60").strip()
        assert "a container uses it" in spool("0").stderr.replace(f"{tmp_path}/disks/web", "it")
        run("docker", "rm", "--force", user)
    finally:
        gone = spool("0")
    assert gone.returncode == 0, gone.stderr
    assert env_file.read_text() == before
    assert fstab.read_text() == "# what was there before\n"
    assert not list((tmp_path / "disks").iterdir())


# --- soak -------------------------------------------------------------------------------------------------------------


def test_a_short_soak_loses_nothing(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Soak(stack, seconds=10).run()
    assert report(tally)
    assert capsys.readouterr().out.endswith("\nlost: 0\n")
    assert tally.counts["worker killed"] + tally.counts["web reloaded"] > 0
    assert any(name.startswith("web") for name in tally.held)


BUSY = dict.fromkeys(OFTEN, 1)


@pytest.mark.parametrize(
    ("lost", "counts", "said"),
    [
        (["cat.jpg: 404"], BUSY, "LOST cat.jpg: 404\nlost: 1\n"),
        ([], BUSY | {"upload: told 401": 3}, "WRONG upload: told 401: nobody gave cause for that\nlost: 0\n"),
        ([], BUSY | {"view: hung": 1}, "WRONG view: hung: nobody gave cause for that\nlost: 0\n"),
        ([], dict.fromkeys(OFTEN[1:], 1), "NEVER upload: stored\nlost: 0\n"),
    ],
)
def test_what_a_soak_found_is_told(
    capsys: pytest.CaptureFixture[str], lost: list[str], counts: dict[str, int], said: str
) -> None:
    assert not report(Tally(lost=lost, counts=Counter(counts)))
    assert capsys.readouterr().out.endswith(said)


def test_being_told_of_a_fault_is_no_loss(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Tally(counts=Counter(BUSY | {"upload: told 502": 3, "view: cut off": 1})))
    assert capsys.readouterr().out.endswith("\nlost: 0\n")


@pytest.mark.parametrize(
    ("looks", "grows"),
    [
        ([(100, 50)] * 40, False),
        ([(100 + number % 7 * 20, 50) for number in range(40)], False),
        ([(100 + number * 10, 50) for number in range(40)], True),
        ([(100, 50 + number * 10) for number in range(40)], True),
        ([(100 + number * 100, 50) for number in range(5)], False),
    ],
    ids=["flat", "up and down", "memory", "descriptors", "too few looks"],
)
def test_what_grows_without_end_is_told(looks: list[tuple[float, float]], grows: bool) -> None:
    assert bool(growing({"web_1": looks})) is grows
