"""make doctor finds problems and prints remedies; make spool makes disks of a fixed size."""

import datetime as dt
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.stack.operating import PATIENCE, attempt
from tests.stack.stack import SCRIPTS, Stack, clean_environment, free_ports, run

pytestmark = pytest.mark.timeout(PATIENCE)


def doctor(env_file: Path) -> str:
    command = [str(SCRIPTS / "doctor.sh")]
    environment = {**clean_environment(), "ENV_FILE": str(env_file)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout


@pytest.fixture
def stopped_stack(stack: Stack, tmp_path: Path) -> Iterator[tuple[Path, Callable[..., str]]]:
    """The settings file of a stack that does not run, and a function that makes volumes for it."""
    project = f"uploadstack-doctor-{uuid.uuid4().hex[:8]}"
    http, https, gunicorn, runserver = free_ports(4)
    pairs = [f"COMPOSE_PROJECT_NAME={project}", f"HTTP_PORT={http}", f"HTTPS_PORT={https}"]
    pairs += [f"GUNICORN_PORT={gunicorn}", f"RUNSERVER_PORT={runserver}", "UPLOAD_MAX=16m"]
    run(str(SCRIPTS / "env.sh"), "--output", str(tmp_path / "env"), *pairs, env=clean_environment())
    images = {service: f"{project}-{kind}:local" for service, kind in (("web", "runtime"), ("nginx", "nginx"))}
    for service, name in images.items():  # doctor inspects volumes with the images of the stack
        run("docker", "tag", stack.container(service)["Image"], name)
    made = []

    def volume(name: str, *options: str) -> str:
        made.append(f"{project}_{name}")
        run("docker", "volume", "create", *options, made[-1])
        return made[-1]

    yield tmp_path / "env", volume
    run("docker", "image", "rm", "--no-prune", *images.values())
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


def test_doctor_finds_volumes_of_another_user_and_prints_the_remedy(
    stack: Stack, stopped_stack: tuple[Path, Callable[..., str]]
) -> None:
    """The volumes hold a file: the engine gives an empty volume the owner of the folder in the image."""
    env_file, volume = stopped_stack
    for name, (service, path) in VOLUMES.items():
        change_owner = f"touch {path}/x && chown -R 0:0 {path} && chmod 755 {path}"
        own = ["--entrypoint", "sh", image(stack, service), "-c", change_owner]
        run("docker", "run", "--rm", "--user", "0", "-v", f"{volume(name)}:{path}", *own)
    output = doctor(env_file)
    assert output.count("cannot use the volume") == len(VOLUMES), output
    remedies = [line.strip().removeprefix("-> ") for line in output.splitlines() if "--entrypoint chown" in line]
    assert len(remedies) == len(VOLUMES)
    for remedy in remedies:
        run("bash", "-c", remedy)
    assert "cannot use the volume" not in doctor(env_file)


def test_doctor_finds_a_spool_that_is_too_small(stopped_stack: tuple[Path, Callable[..., str]]) -> None:
    env_file, volume = stopped_stack
    volume("nginx-spool", "--driver=local", "--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=40m,uid=10002")
    volume("spool")
    output = doctor(env_file)
    assert "NGINX_SPOOL" in output
    assert "2 uploads of UPLOAD_MAX=16m at a time, the next one gets 507" in output
    assert output.count("the next one gets 507") == 1, output


def test_doctor_finds_a_port_in_use_and_a_secret_that_is_not_set(
    stopped_stack: tuple[Path, Callable[..., str]],
) -> None:
    env_file, _ = stopped_stack
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = env_file.read_text()
        secret = next(line for line in text.splitlines() if line.startswith("SECRET_KEY="))
        changed = text.replace(secret, "SECRET_KEY=change-me") + f"\nHTTPS_PORT={port}\n"
        env_file.write_text(changed)
        output = doctor(env_file)
    assert f"port {port} is taken by" in output
    assert "SECRET_KEY is still the placeholder" in output


# Settings -> the memory that nginx needs, if it has less.
MEMORIES = {
    "": None,
    "TOTAL_CONNECTIONS=2000": "580m",
    "TOTAL_CONNECTIONS=2000\nNGINX_MEMORY=579m": "580m",
    "TOTAL_CONNECTIONS=2000\nNGINX_MEMORY=580m": None,
    "TOTAL_CONNECTIONS=20000\nNGINX_MEMORY=1g": "5361m",
    "NGINX_MEMORY=1.5g": None,  # valid for the engine; doctor ignores it
}


@pytest.mark.parametrize("lines", MEMORIES)
def test_doctor_finds_that_nginx_has_too_little_memory(
    stopped_stack: tuple[Path, Callable[..., str]], lines: str
) -> None:
    env_file, _ = stopped_stack
    with env_file.open("a") as file:
        file.write(f"\n{lines}\n")
    remedies = [line.strip() for line in doctor(env_file).splitlines() if "set NGINX_MEMORY=" in line]
    need = MEMORIES[lines]
    assert remedies == ([f"-> set NGINX_MEMORY={need} or more, or lower TOTAL_CONNECTIONS"] if need else [])


@pytest.mark.parametrize(("days", "is_reported"), [(5, True), (60, False)])
def test_doctor_reports_a_certificate_that_expires_soon(
    stack: Stack, stopped_stack: tuple[Path, Callable[..., str]], days: int, is_reported: bool
) -> None:
    env_file, volume = stopped_stack
    where = "-keyout /srv/certificates/privkey.pem -out /srv/certificates/fullchain.pem"
    make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN=x {where}"
    mount = f"{volume('certificates')}:/srv/certificates"
    run("docker", "run", "--rm", "-v", mount, "--entrypoint", "sh", image(stack, "nginx"), "-c", make)
    with env_file.open("a") as file:
        file.write("\nTLS=on\n")
    output = doctor(env_file)
    assert ("expires within 21 days" in output) is is_reported, output
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    assert str(end.year) in next(line for line in output.splitlines() if "certificate" in line)


# --- spools of a fixed size -------------------------------------------------------------------------------------------

BEFORE = "# what was there before"  # the content of fstab, without a line end
needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mkfs.ext4"), reason="only root makes disks")


@dataclass
class Disks:
    """The files that `make spool` changes, and the command itself: `disks.spool("80m")`."""

    env_file: Path
    folder: Path
    fstab: Path
    spool: Callable[..., "subprocess.CompletedProcess[str]"]

    @property
    def web(self) -> Path:
        return self.folder / "web"


@pytest.fixture
def no_disks(stack: Stack, stopped_stack: tuple[Path, Callable[..., str]], tmp_path: Path) -> Disks:
    env_file, _ = stopped_stack
    folder, fstab = tmp_path / "disks", tmp_path / "fstab"
    fstab.write_text(BEFORE)
    paths = {"ENV_FILE": str(env_file), "SPOOLS": str(folder), "FSTAB": str(fstab)}
    return Disks(env_file, folder, fstab, partial(attempt, stack, "spool.sh", **paths))


@pytest.fixture
def disks(no_disks: Disks) -> Iterator[Disks]:
    """Disks of 80 MB each. Removing them restores the files."""
    before = no_disks.env_file.read_text()
    made = no_disks.spool("80m")
    try:
        assert made.returncode == 0, made.stderr
        yield no_disks
    finally:
        removed = no_disks.spool("0")
    assert removed.returncode == 0, removed.stderr
    assert no_disks.env_file.read_text() == before
    assert no_disks.fstab.read_text() == f"{BEFORE}\n"
    assert not list(no_disks.folder.iterdir())


@needs_root
def test_make_spool_refuses_a_size_without_room_for_two_uploads(no_disks: Disks) -> None:
    before = no_disks.env_file.read_text()
    refused = no_disks.spool("20m")
    assert (refused.returncode, "no room for two uploads" in refused.stderr) == (1, True), refused.stderr
    assert (no_disks.env_file.read_text(), no_disks.fstab.read_text()) == (before, BEFORE)
    assert not no_disks.folder.exists()


@needs_root
def test_make_spool_creates_disks_of_a_fixed_size(disks: Disks) -> None:
    """The spools are in .env and in fstab, and doctor reports their size."""
    assert f"NGINX_SPOOL={disks.folder}/nginx\nWEB_SPOOL={disks.web}\n" in disks.env_file.read_text()
    first, *added = disks.fstab.read_text().splitlines()
    assert first == BEFORE
    assert [line.split()[1:3] for line in added] == [[f"{disks.folder}/{name}", "ext4"] for name in ("nginx", "web")]
    output = doctor(disks.env_file)
    assert "cannot use the volume" not in output
    assert output.count("room for 4 uploads of UPLOAD_MAX at a time") == 2, output


@needs_root
def test_make_spool_does_not_remove_spools_in_use(stack: Stack, disks: Disks) -> None:
    command = ["docker", "run", "--detach", "--rm", "--entrypoint=sleep", f"--volume={disks.web}:/spool"]
    user = run(*command, image(stack, "web"), "60").strip()
    try:
        refused = disks.spool("0")
    finally:
        run("docker", "rm", "--force", user)
    assert (refused.returncode, f"a container uses {disks.web}" in refused.stderr) == (1, True), refused.stderr
    assert disks.web.is_mount()


@needs_root
def test_make_spool_removes_nothing_if_the_engine_cannot_be_asked(disks: Disks) -> None:
    failed = disks.spool("0", DOCKER_HOST="unix:///nowhere")
    assert (failed.returncode, "Nothing was removed" in failed.stderr) == (1, True), failed.stderr
    assert disks.web.is_mount()


def test_doctor_finds_photos_and_database_that_do_not_belong_together(stack: Stack) -> None:
    def photos_line() -> str:
        return next(line for line in attempt(stack, "doctor.sh").stdout.splitlines() if " photos" in line)

    stack.exec("gunicorn", "python", "manage.py", "adopt_media", "--yes")
    assert photos_line().startswith("  ok       photos: ")
    library = "/srv/media/.library-id"
    stack.exec("gunicorn", "sh", "-c", f"mv {library} {library}-kept && echo {'0' * 32} > {library}")
    try:
        assert photos_line().startswith("  PROBLEM  photos and database")
        assert "belongs to another database" in photos_line()
    finally:
        stack.exec("gunicorn", "mv", f"{library}-kept", library)
