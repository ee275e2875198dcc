"""`make doctor`: checks for common problems, and prints how to fix each. Changes nothing. Fails if it finds one."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shlex
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import compose, database, dev, engine, fit, images, inspection, ownership, ports, programs, python
from . import settings as settings_
from .settings import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .settings import Settings

MIN_UPLOADS = 4  # uploads of the largest size at the same time, which is not unusual
CERTIFICATE_DAYS = 21  # a certificate should be valid for at least this long
SAFE_SWEEP_AGE = 120  # seconds: twice as long as web gives the application
STANDIN_MAX_DAYS = 30
MAX_CLOCK_DRIFT = 5  # seconds
MAX_COMMIT_LEAD = 300  # seconds
MEDIA = "/srv/media"


class Doctor:
    """Prints the results of checks, and counts the problems."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.problems = 0

    def fine(self, text: str) -> None:
        print(f"  ok       {text}", flush=True)

    def note(self, text: str) -> None:
        print(f"  note     {text}", flush=True)

    def problem(self, wrong: str, right: str) -> None:
        self.problems += 1
        print(f"  PROBLEM  {wrong}\n           -> {right}", flush=True)

    def check(self, check: Callable[[Doctor], None], well: str = "") -> None:
        """Run a check. Print `well` if it finds no problem."""
        before = self.problems
        check(self)
        if well and self.problems == before:
            self.fine(well)


def main(_: Sequence[str]) -> int:
    settings = settings_.here()
    doctor = Doctor(settings)
    doctor.check(check_file, f"settings: {settings.file}" if settings.has_file else "")
    doctor.check(check_fit, "settings: valid, and consistent with each other")
    doctor.check(check_clock)
    doctor.check(check_python)
    doctor.check(check_engine)
    doctor.check(check_ports, "ports: free, or used by this stack")
    print()
    print(f"Problems: {doctor.problems}" if doctor.problems else "No problems found.")
    return 1 if doctor.problems else 0


# --- settings ---------------------------------------------------------------------------------------------------------


def check_file(doctor: Doctor) -> None:
    settings = doctor.settings
    if not settings.has_file:
        doctor.note(f"{settings.file} does not exist yet; make up writes it")
        return
    mode = stat.S_IMODE(settings.file.stat().st_mode)
    if mode & 0o077:
        remedy = f"chmod 600 {shlex.quote(str(settings.file))}"
        doctor.problem(f"other users of this machine can read {settings.file} (mode {mode:o})", remedy)
    for name in settings.example.without_default:
        if settings.is_required(name) and not settings.in_file(name):
            remedy = f"add a line {name}=...; .env.example explains it"
            doctor.problem(f"{name} has no value in {settings.file}", remedy)


def check_fit(doctor: Doctor) -> None:
    """Report what `make up` would refuse, and questionable settings that it accepts."""
    settings = doctor.settings
    if settings.has_file:
        for unread in fit.unread_names(settings):
            doctor.note(f"{settings.file}: {unread.wrong} ({unread.right})")
    for problem in fit.problems(settings):
        doctor.problem(problem.wrong, problem.right)
    if settings.number("SWEEP_AGE", 1, SAFE_SWEEP_AGE - 1):
        doctor.note(
            f"SWEEP_AGE={settings['SWEEP_AGE']} (seconds): an upload that Django takes longer to store may be deleted"
            f" in the meantime; {SAFE_SWEEP_AGE} is safe"
        )


# --- this machine -----------------------------------------------------------------------------------------------------


def check_clock(doctor: Doctor) -> None:
    """A wrong clock makes tokens and sessions expire.

    The clock is wrong if the last commit is in the future. The clock of a virtual machine, which Docker Desktop uses,
    can drift from this machine's.
    """
    before = time.time()
    newest = programs.output(["git", "-C", str(doctor.settings.root), "log", "-1", "--format=%ct"])
    now = time.strftime("%c")
    if newest.isdigit() and int(newest) > before + MAX_COMMIT_LEAD:
        doctor.problem(
            f"the clock shows {now}, which is before the last commit", "set the clock (timedatectl set-ntp true)"
        )
        return
    nginx = engine.first(doctor.settings.project, "nginx")
    served = programs.output(["docker", "exec", nginx, "date", "+%s"]) if nginx else ""
    if served.isdigit() and not before - MAX_CLOCK_DRIFT <= int(served) <= time.time() + MAX_CLOCK_DRIFT:
        doctor.problem(
            f"the clock of the containers differs from this machine's by {int(served) - int(before)} seconds",
            "restart Docker",
        )
    else:
        doctor.fine(f"clock: {now}")


def check_python(doctor: Doctor) -> None:
    if found := python.find(doctor.settings.environment):
        doctor.fine(f"Python for make test and make dev: {programs.output([found, '--version'])}")
    else:
        doctor.note(
            f"no Python 3.11 or newer with venv: make up works with {platform.python_version()}, make test and make dev"
            " do not"
        )


def check_disk(doctor: Doctor, folder: str) -> None:
    """An upload needs space in nginx's spool, in the server's, and among the photos; and several arrive at a time."""
    largest = settings_.size(doctor.settings["UPLOAD_MAX"])
    if largest is None:
        return
    folder = folder if Path(folder).is_dir() else str(doctor.settings.root)
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    need = 3 * MIN_UPLOADS * largest + 2 * GIB
    if free < need:
        doctor.problem(
            f"{free // GIB} GiB free under {folder}; the images and {MIN_UPLOADS} uploads of UPLOAD_MAX at a time need"
            f" {need // GIB} GiB",
            "free some space (docker system df shows what Docker uses), or lower UPLOAD_MAX",
        )
    else:
        doctor.fine(f"disk: {free // GIB} GiB free under {folder}")


def check_ports(doctor: Doctor) -> None:
    settings = doctor.settings
    ours = {"HTTP_PORT"} if dev.process(settings) else set()
    for name in ports.published(settings):
        holder = ports.other_holder(settings, settings[name])
        if holder and name not in ours:
            remedy = f"stop it, or set {name} in {settings.file} to another port"
            doctor.problem(f"port {settings[name]} is taken by {holder}", remedy)


# --- the engine -------------------------------------------------------------------------------------------------------


def check_engine(doctor: Doctor) -> None:
    settings = doctor.settings
    if trouble := compose.trouble(settings):
        doctor.problem(trouble, "until that is fixed, make dev runs the application without containers")
        check_disk(doctor, str(settings.root))
        return
    _check_versions(doctor)
    _check_standins(doctor)
    if folder := ownership.another_copy(settings):
        doctor.problem(ownership.belongs_to(settings, folder), ownership.another_name(settings))
    else:
        _check_containers(doctor)
        _check_role(doctor)
        doctor.check(_check_volumes, "volumes: writable for their users, or not made yet")
        _check_library(doctor)
        for name, place, image in SPOOLS:
            _check_spool(doctor, name, place, image)
        _check_certificate(doctor)
    check_disk(doctor, programs.output(["docker", "info", "--format", "{{.DockerRootDir}}"]))


def _check_versions(doctor: Doctor) -> None:
    version = compose.version(doctor.settings)
    engine_version = programs.output(["docker", "version", "--format", "{{.Server.Version}}"])
    doctor.fine(f"engine: Docker {engine_version}, {' '.join(compose.command(doctor.settings))} {version}")
    if not compose.has_buildx():
        doctor.note("buildx is not installed: the classic builder builds the images")
    if compose.is_too_old(version):
        doctor.problem(
            f"Compose {version} is too old", "install docker-compose-plugin 2.22 or newer, or docker-compose 1.29"
        )


def _check_standins(doctor: Doctor) -> None:
    for _, image, in_place_of in images.lines(doctor.settings):
        created = programs.output(["docker", "image", "inspect", "--format", "{{.Created}}", image])
        if not created:
            continue
        made = dt.datetime.strptime(created[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=dt.timezone.utc)
        age = (dt.datetime.now(dt.timezone.utc) - made).days
        if age > STANDIN_MAX_DAYS:
            doctor.problem(
                f"{image}, the stand-in for {in_place_of}, has had no security fixes for {age} days",
                f"docker image rm {image} && make up",
            )
        else:
            doctor.note(f"{image} is the stand-in for {in_place_of}; {images.RETRY}")


def _check_containers(doctor: Doctor) -> None:
    if not doctor.settings.has_file:
        return
    containers = engine.containers(doctor.settings.project)
    before = doctor.problems
    for container in containers:
        if container.state == "stopped":
            doctor.problem(f"{container.service} is stopped", "to start it: make up")
        elif not container.is_healthy:
            doctor.problem(
                f"{container.service} is {container.state} (restarted {container.restarts} times)",
                f"for its log: make logs S={container.service}",
            )
    if not containers:
        doctor.note("the stack does not run")
    elif doctor.problems == before:
        doctor.fine(f"containers: {len(containers)}, all healthy or done")


def _check_role(doctor: Doctor) -> None:
    """An earlier version made the application a superuser, which can run programs in the database's container."""
    db = engine.first(doctor.settings.project, "db")
    if not db or not programs.succeeds(["docker", "exec", db, "pg_isready", "--quiet", "--host=127.0.0.1"]):
        return
    if database.superuser(db) == database.APPLICATION:
        doctor.problem(
            "the application is a superuser of the database, as an earlier version set it up",
            "to fix that: make deploy (or make up)",
        )
    else:
        doctor.fine("database: the role of the application is not a superuser")


# --- volumes ----------------------------------------------------------------------------------------------------------

# Setting, path in the container, and an image to inspect it with.
SPOOLS = [("NGINX_SPOOL", "/var/spool/nginx", "nginx"), ("WEB_SPOOL", "/var/spool/wsgiserver", "runtime")]
# The certificate may belong to another user, if nginx can read it.
IS_USABLE = 'test -w "$1"'
IS_READABLE = (
    'cd "$1" && if test -e fullchain.pem || test -e privkey.pem; then test -r fullchain.pem && test -r privkey.pem;'
    " else test -w .; fi"
)


def _check_volumes(doctor: Doctor) -> None:
    """A volume that another user made may not be writable."""
    settings = doctor.settings
    for volume, user, place, image, test in (
        ("media", 10001, MEDIA, "runtime", IS_USABLE),
        ("data", 10001, "/srv/data", "runtime", IS_USABLE),
        (settings["WEB_SPOOL"], 10001, "/var/spool/wsgiserver", "runtime", IS_USABLE),
        (settings["NGINX_SPOOL"], 10002, "/var/spool/nginx", "nginx", IS_USABLE),
        (settings["TLS_FOLDER"], 10002, "/srv/certificates", "nginx", IS_READABLE),
        ("postgres", 999, "/var/lib/postgresql", "postgres", IS_USABLE),
    ):
        inside = inspection.of(settings, volume, place, image)
        if inside and not inside.permits(user, test):
            mount = shlex.quote(f"{inside.volume}:{place}")
            doctor.problem(
                f"user {user} cannot use the volume {inside.volume}",
                f"docker run --rm --user 0 --entrypoint chown -v {mount} {inside.image} -R {user}:{user} {place}",
            )


def _check_spool(doctor: Doctor, name: str, place: str, image: str) -> None:
    """The spool of nginx holds each upload while it is received, then that of web. One that does not fit gets 507."""
    settings = doctor.settings
    largest = settings_.size(settings["UPLOAD_MAX"])
    inside = inspection.of(settings, settings[name], place, image)
    free = inside.free_bytes() if inside else None
    if not largest or not inside or free is None:
        return
    fits = free // largest
    at_a_time, of_all = settings["CLIENT_CONNECTIONS"], settings["TOTAL_CONNECTIONS"]
    if fits < MIN_UPLOADS:
        doctor.problem(
            f"{name} ({inside.volume}) has {free // MIB} MiB free: room for {fits} upload{'s' * (fits != 1)} of"
            f" UPLOAD_MAX={settings['UPLOAD_MAX']} at a time, the next one gets 507",
            "free some space, set a larger volume (docs/operations.md), or lower UPLOAD_MAX",
        )
    elif fits < (settings.number("CLIENT_CONNECTIONS", 1, 999999999) or 0):
        doctor.note(
            f"{name} has room for {fits} uploads of UPLOAD_MAX at a time; a single address may send {at_a_time}"
            " (CLIENT_CONNECTIONS)"
        )
    else:
        doctor.fine(
            f"{name}: {free // GIB} GiB free, room for {fits} uploads of UPLOAD_MAX at a time; at most {of_all} are"
            " accepted (TOTAL_CONNECTIONS)"
        )


def _check_certificate(doctor: Doctor) -> None:
    """Check the certificate in use. nginx renews a self-signed one when it starts."""
    settings = doctor.settings
    inside = inspection.of(settings, settings["TLS_FOLDER"], "/srv/certificates", "nginx")
    if settings["TLS"] != "on" or not inside:
        return
    program = (
        'cd "$1"; test -e fullchain.pem && file=fullchain.pem || file=self-signed.pem\n'
        'openssl x509 -in "$file" -noout -enddate -checkend "$2"'
    )
    printed = inside.run(10002, program, str(CERTIFICATE_DAYS * 86400)).stdout
    end = next((line for line in printed.splitlines() if line.startswith("notAfter=")), "")
    if "will expire" in printed:
        doctor.problem(
            f"the certificate in TLS_FOLDER expires within {CERTIFICATE_DAYS} days: {end}",
            "put a new one there (nginx renews a self-signed one when it starts), then run:"
            " scripts/compose.sh restart nginx",
        )
    elif end:
        doctor.fine(f"certificate: valid until {end.partition('=')[2]}")


def _check_library(doctor: Doctor) -> None:
    """Files without a row are deleted, but only if the database can be shown to belong to the files."""
    web = engine.first(doctor.settings.project, "web")
    if not web:
        return
    done = programs.attempt(["docker", "exec", web, "python", "manage.py", "adopt_media"])
    printed = " ".join((done.stdout + done.stderr).split())
    if done.returncode == 0:
        doctor.fine(f"photos: {printed}")
    elif "published files" in printed:
        doctor.problem(
            f"photos and database cannot be shown to belong together, so no leftover files are deleted: {printed}",
            "check DATABASE_URL and the volume media. If they do belong together, run:"
            f" docker exec {web} python manage.py adopt_media --yes",
        )
