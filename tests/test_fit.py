"""Settings that are valid one by one and incompatible with each other: refused by name, before any change.

Also what scripts print only once, and files that only their owner may write. No engine needed.
"""

import io
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.ops import database, fit, lock, python
from scripts.ops import settings as settings_
from scripts.ops.console import Failure
from scripts.ops.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
# No engine: it would report the number of CPUs.
NOWHERE = {"DOCKER_HOST": "unix:///nowhere"}


def environment(env_file: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(env_file.parent), "ENV_FILE": str(env_file), **more}


def bash(script: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    program = f'source "{SCRIPTS}/lib.sh"; {script}'
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program], env=env, capture_output=True, text=True, check=False
    )


def with_lines(folder: Path, lines: str, **more: str) -> Settings:
    """Return the settings with these lines, separated by blanks, in .env."""
    env_file = folder / "env"
    env_file.write_text(lines.replace(" ", "\n") + "\n")
    return settings_.read(ROOT, environment(env_file, **more))


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the engine, which would report the number of CPUs."""
    monkeypatch.setenv("DOCKER_HOST", NOWHERE["DOCKER_HOST"])


def complaints(folder: Path, lines: str) -> list[tuple[str, str]]:
    return list(fit.problems(with_lines(folder, lines)))


# --- where settings come from -----------------------------------------------------------------------------------------

# What the environment sets, and the name of a setting -> its value. The file has the lines below.
LINES = 'HTTP_PORT=1001\nUPLOAD_MAX=\nDEMO_PASSWORD="it\'s"'
KNOWN = {
    ("", "HTTP_PORT"): "1001",
    ("", "UPLOAD_MAX"): "100m",  # the example's: an empty value counts as the default
    ("HTTP_PORT=9", "HTTP_PORT"): "9",
    ("HTTP_PORT=", "HTTP_PORT"): "8080",
    ("", "DEMO_PASSWORD"): "it's",
    ("", "NO_SUCH"): "",
}


@pytest.mark.parametrize(("given", "name"), KNOWN)
def test_settings_come_from_environment_then_file_then_example(tmp_path: Path, given: str, name: str) -> None:
    """Python and bash read the same values."""
    more = dict([given.split("=")]) if given else {}
    settings = with_lines(tmp_path, LINES, **more)
    assert settings[name] == KNOWN[given, name]
    done = bash(f"setting {name}", settings.environment)
    assert (done.stdout, done.stderr) == (f"{KNOWN[given, name]}\n", "")


def test_a_missing_file_sets_nothing(tmp_path: Path) -> None:
    settings = settings_.read(ROOT, environment(tmp_path / "none"))
    assert (settings["HTTP_PORT"], settings.in_file("HTTP_PORT"), settings.has_file) == ("8080", "", False)
    (tmp_path / "none").write_text("HTTP_PORT=1003\n")
    assert settings.reread()["HTTP_PORT"] == "1003"


def test_reading_a_setting_in_bash_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("HTTP_PORT=1001\n")
    done = bash("PATH=/nowhere; setting HTTP_PORT; setting UPLOAD_MAX", environment(tmp_path / "env"))
    assert (done.stdout, done.stderr) == ("1001\n100m\n", "")


MANAGED = "DATABASE_URL=postgres://x:y@db.example.com/uploads"
OWN = "DATABASE_URL=postgres://uploads:x@db:5432/uploads"
PASSWORD = "DATABASE_URL=postgres://uploads:${POSTGRES_PASSWORD}@db:5432/uploads"
COMPATIBLE = [
    "",
    "WEB_WORKERS=8 WEB_THREADS=16 WEB_MEMORY=1230m",
    "WEB_WORKERS=8 WEB_THREADS=16 WEB_MEMORY=1.5g",
    "WEB_WORKERS=1 WEB_THREADS=240",
    "WEB_MEMORY=805306368",
    "WEB_MEMORY=768MB",
    "NGINX_WORKERS=28 NGINX_MEMORY=1g",
    "TOTAL_CONNECTIONS=2000 NGINX_MEMORY=580m",
    "TOTAL_CONNECTIONS=20000 NGINX_MEMORY=6g",
    "TLS=on HTTP_PORT=80 HTTPS_PORT=443",
    "HTTP_PORT=8082",  # the port of runserver, which does not run
    "BIND_ADDRESS=192.0.2.1 HTTP_PORT=8081",  # gunicorn's is on loopback
    "COMPOSE_PROFILES=postgres,demo",
    f"COMPOSE_PROFILES=postgres {OWN}",
    f"COMPOSE_PROFILES=postgres POSTGRES_PASSWORD=5ecre7 {PASSWORD}",
    "COMPOSE_PROFILES=postgres POSTGRES_PASSWORD=a%42/# DATABASE_URL=postgres://uploads:a%2542%2F%23@db/uploads",
    "COMPOSE_PROFILES=postgres POSTGRES_PASSWORD=y DATABASE_URL=postgres://others:x@db/others",
    f"POSTGRES_PASSWORD=y {MANAGED}",
    MANAGED,
    "HEALTH_INTERVAL=2m",
    "SWEEP_AGE=5",
    "DEBUG=True GALLERY_PUBLIC=no",
]
# Lines of .env -> words that the complaint must contain.
INCOMPATIBLE = {
    "WEB_WORKERS=8 WEB_THREADS=16": ["WEB_WORKERS", "WEB_MEMORY"],
    "WEB_WORKERS=1 WEB_THREADS=241": ["WEB_WORKERS=1", "WEB_THREADS=241", "512"],
    "WEB_WORKERS=32 WEB_THREADS=16 WEB_MEMORY=8g": ["WEB_WORKERS=32", "WEB_THREADS=16", "808"],
    "WEB_WORKERS=0": ["WEB_WORKERS: '0'"],
    "WEB_WORKERS=two": ["WEB_WORKERS: 'two'"],
    "WEB_WORKERS=08": ["WEB_WORKERS: '08'"],
    "WEB_THREADS=-1": ["WEB_THREADS: '-1'"],
    "WEB_REPLICAS=0": ["WEB_REPLICAS: '0'"],
    "WEB_MEMORY=lots": ["WEB_MEMORY: 'lots'"],
    "WEB_MEMORY=512m": ["WEB_MEMORY=512m", "750 MiB"],
    "NGINX_WORKERS=100 NGINX_MEMORY=2g": ["NGINX_WORKERS: '100'", "more than 28", "64"],
    "NGINX_WORKERS=29 NGINX_MEMORY=2g": ["NGINX_WORKERS: '29'"],
    "NGINX_WORKERS=auto": ["NGINX_WORKERS: 'auto'"],
    "NGINX_WORKERS=28": ["TOTAL_CONNECTIONS", "NGINX_MEMORY=384m"],
    "TOTAL_CONNECTIONS=2000": ["TOTAL_CONNECTIONS", "NGINX_MEMORY=384m"],
    "TOTAL_CONNECTIONS=0": ["TOTAL_CONNECTIONS: '0'"],
    "CLIENT_CONNECTIONS=many": ["CLIENT_CONNECTIONS: 'many'"],
    "HTTP_PORT=8081": ["GUNICORN_PORT", "HTTP_PORT", "8081"],
    "HTTP_PORT=8443": ["HTTPS_PORT", "HTTP_PORT"],
    "BIND_ADDRESS=0.0.0.0 GUNICORN_PORT=8080": ["GUNICORN_PORT", "HTTP_PORT"],
    "RUNSERVER_PORT=8080 COMPOSE_PROFILES=demo": ["RUNSERVER_PORT", "HTTP_PORT"],
    "PROMETHEUS_PORT=8081 COMPOSE_PROFILES=prometheus": ["PROMETHEUS_PORT", "GUNICORN_PORT"],
    "GUNICORN_PORT=70000": ["GUNICORN_PORT: '70000'"],
    "COMPOSE_PROFILES=postgre": ["COMPOSE_PROFILES", "postgre"],
    OWN: ["DATABASE_URL", "postgres"],
    "HEALTH_INTERVAL=5": ["HEALTH_INTERVAL: '5'"],
    "HEALTH_INTERVAL=0s": ["HEALTH_INTERVAL: '0s'"],
    "HEALTH_INTERVAL=3m": ["HEALTH_INTERVAL: '3m'"],
    "SWEEP_AGE=0": ["SWEEP_AGE: '0'"],
    "SWEEP_INTERVAL=soon": ["SWEEP_INTERVAL: 'soon'"],
    "UPLOAD_MAX=100mb": ["UPLOAD_MAX: '100mb'"],
    "WEB_SPOOL=nginx-spool": ["WEB_SPOOL: 'nginx-spool'"],
    "WEB_SPOOL=/tmp NGINX_SPOOL=/tmp": ["NGINX_SPOOL", "WEB_SPOOL"],
    "GALLERY_PUBLIC=maybe": ["GALLERY_PUBLIC: 'maybe'"],
    "DATABASE_URL=postgres://u:a/b@db.example.com/uploads": ["DATABASE_URL", "is not "],
    "DATABASE_URL=postgres://u:a#b@db.example.com/uploads": ["DATABASE_URL", "is not "],
    "DATABASE_URL=postgres://u:a?b@db.example.com/uploads": ["DATABASE_URL", "is not "],
    "DATABASE_URL=postgres://u:a[b@db.example.com/uploads": ["DATABASE_URL", "is not "],
    "DATABASE_URL=postgres://u:100%@db.example.com/uploads": ["DATABASE_URL", "is not "],
    "DATABASE_URL=uploads.sqlite3": ["DATABASE_URL", "is not "],
    # The password in an address is decoded: %42 is B. (x is not y; another role has its own password.)
    f"COMPOSE_PROFILES=postgres POSTGRES_PASSWORD=a%42 {PASSWORD}": [
        "DATABASE_URL and POSTGRES_PASSWORD",
        "different passwords",
    ],
    f"COMPOSE_PROFILES=postgres POSTGRES_PASSWORD=y {OWN}": [
        "DATABASE_URL and POSTGRES_PASSWORD",
        "different passwords",
    ],
    'UPLOAD_MAX="50m': ["line 1", "UPLOAD_MAX", "no closing quote"],
    "TLS=on\0": ["NUL byte"],
    "TLS=yes": ["TLS: 'yes'"],
    "ANONYMOUS_UPLOADS=maybe": ["ANONYMOUS_UPLOADS: 'maybe'"],
    "LOGIN_RATE=none": ["LOGIN_RATE: 'none'"],
}


# Databases on other machines, and passwords with percent-encoded characters.
DATABASES = [
    "sqlite:////srv/data/db.sqlite3",
    "postgres://u:a%2Fb%23c@db.example.com:5432/uploads?sslmode=require",
    "postgresql://u:a:b@[::1]/uploads",
    "postgres:///uploads?host=%2Frun%2Fpostgresql",
    "mysql://u:x@db.example.com/uploads",
]


@pytest.mark.parametrize("address", DATABASES)
def test_valid_database_addresses_are_accepted(tmp_path: Path, address: str) -> None:
    assert complaints(tmp_path, f"DATABASE_URL={address}") == []


@pytest.mark.parametrize("lines", COMPATIBLE)
def test_compatible_settings_are_accepted(tmp_path: Path, lines: str) -> None:
    assert complaints(tmp_path, lines) == []


@pytest.mark.parametrize("lines", INCOMPATIBLE)
def test_incompatible_settings_are_refused_by_name_with_a_remedy(tmp_path: Path, lines: str) -> None:
    found = complaints(tmp_path, lines)
    assert found
    complaint, remedy = found[0]
    assert [name for name in INCOMPATIBLE[lines] if name not in complaint] == []
    assert remedy


def test_two_different_passwords_are_reported_without_printing_them(tmp_path: Path) -> None:
    (complaint,) = complaints(
        tmp_path, "COMPOSE_PROFILES=postgres POSTGRES_PASSWORD=5ecre7 DATABASE_URL=postgres://uploads:s3cret@db/uploads"
    )
    assert [secret for secret in ("5ecre7", "s3cret") if secret in str(complaint)] == []


@pytest.mark.parametrize("lines", ["WEB_WORKERS=8", "TOTAL_CONNECTIONS=2000", "NGINX_WORKERS=28"])
def test_the_settings_of_the_remedy_are_accepted(tmp_path: Path, lines: str) -> None:
    (complaint,) = complaints(tmp_path, lines)
    setting = re.search(r"set (\w+=\w+) or more", complaint[1])
    assert setting, complaint
    assert complaints(tmp_path, f"{lines} {setting[1]}") == []


@pytest.mark.parametrize("command", ["up", "deploy"])
def test_up_and_deploy_refuse_incompatible_settings_before_they_take_ports(command: str) -> None:
    text = (SCRIPTS / "ops" / f"{command}.py").read_text()
    assert text.index(" fit.refuse(") < text.index(" ports.refuse_taken(") < text.index(" images.provide(")


def test_doctor_reports_what_make_up_would_refuse(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("NGINX_WORKERS=100\nGUNICORN_PORT=8080\n")
    env = environment(env_file, **NOWHERE)
    with pytest.raises(Failure, match="nothing was changed"):
        fit.refuse(settings_.read(ROOT, env))
    done = subprocess.run([SCRIPTS / "doctor.sh"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for complaint in complaints(tmp_path, "NGINX_WORKERS=100 GUNICORN_PORT=8080"):
        assert f"PROBLEM  {complaint[0]}\n" in done.stdout


# --- what only the first run prints, and files that only their owner may write ----------------------------------------


@pytest.mark.parametrize("what", ["stack", "dev"])
def test_passwords_are_printed_by_the_first_run_only(tmp_path: Path, what: str) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("DEMO_PASSWORD=5ecre7\nGRAFANA_PASSWORD=m0n170r\nCOMPOSE_PROFILES=monitoring\n")
    env = environment(env_file, GRAFANA_IMAGE="one/that:is-not-asked-for")
    outputs = [
        subprocess.run(
            [SCRIPTS / "welcome.sh", what, *more], env=env, capture_output=True, text=True, check=True
        ).stdout
        for more in (["first"], [])
    ]
    secrets = {"stack": ["5ecre7", "m0n170r"], "dev": ["5ecre7"]}[what]
    assert [secret for secret in secrets if secret not in outputs[0]] == []
    assert [secret for secret in secrets if secret in outputs[1]] == []
    assert f"{env_file}: DEMO_PASSWORD" in outputs[1]


@pytest.mark.parametrize("before", [None, 0o666])
def test_the_lock_of_a_stack_is_writable_by_its_owner_only(tmp_path: Path, before: int | None) -> None:
    """An earlier version left the lock writable by everyone."""
    file = tmp_path / "var" / "one.lock"
    if before is not None:
        file.parent.mkdir()
        file.touch()
        file.chmod(before)
    settings = with_lines(tmp_path, "COMPOSE_PROJECT_NAME=one")
    settings.root = tmp_path
    lock.prepare(settings)
    assert stat.S_IMODE(file.stat().st_mode) & 0o022 == 0


# ALLOWED_HOSTS and other settings -> the printed address, and whether a warning says that no name leads here yet.
ADDRESSES = {
    "": ("http://127.0.0.1:8080/", False),
    "ALLOWED_HOSTS=*": ("http://127.0.0.1:8080/", False),
    "ALLOWED_HOSTS=example.org,localhost": ("http://localhost:8080/", False),
    "ALLOWED_HOSTS=.localhost": ("http://localhost:8080/", False),
    "ALLOWED_HOSTS=.example.org": ("http://example.org:8080/", True),
    "ALLOWED_HOSTS=photos.example.org,www.example.org": ("http://photos.example.org:8080/", True),
    "ALLOWED_HOSTS=127.0.0.12": ("http://127.0.0.12:8080/", True),
    "ALLOWED_HOSTS=example.org BIND_ADDRESS=0.0.0.0 HTTP_PORT=80": ("http://example.org/", True),
    "ALLOWED_HOSTS=localhost,192.0.2.1 BIND_ADDRESS=192.0.2.1": ("http://192.0.2.1:8080/", False),
    "ALLOWED_HOSTS=localhost BIND_ADDRESS=192.0.2.1": ("http://localhost:8080/", True),
    "BIND_ADDRESS=::": ("http://[::1]:8080/", False),
    "ALLOWED_HOSTS=example.org TLS=on": ("https://example.org:8443/", True),
}


@pytest.mark.parametrize("lines", ADDRESSES)
def test_the_printed_address_is_one_that_the_site_accepts(tmp_path: Path, lines: str) -> None:
    address, has_warning = ADDRESSES[lines]
    env_file = tmp_path / "env"
    env_file.write_text(lines.replace(" ", "\n") + "\n")
    env = environment(env_file)
    output = subprocess.run([SCRIPTS / "welcome.sh"], env=env, capture_output=True, text=True, check=True).stdout
    assert f"  Gallery    {address} " in output
    assert f'" {address}api/photos/sample.jpg' in output
    assert ("ALLOWED_HOSTS has no name of this machine" in output) is has_warning
    assert ("--resolve" in output) is has_warning


# --- another database -------------------------------------------------------------------------------------------------

SQLITE = "sqlite:////srv/data/db.sqlite3"
# The old and the new DATABASE_URL -> the new address as reported, if it is another database.
CHANGES = {
    (SQLITE, f"{SQLITE}?timeout=20"): None,
    ("postgres://uploads:old@db:5432/uploads", "postgresql://uploads:new/x@db/uploads?sslmode=disable"): None,
    (SQLITE, "postgres://uploads:s3cret@db:5432/uploads"): "postgres://db/uploads",
    ("postgres://a:s3cret@one/uploads", "postgres://a:s3cret@two/uploads"): "postgres://two/uploads",
    (SQLITE, "sqlite:////srv/data/other.sqlite3"): "sqlite:////srv/data/other.sqlite3",
}
# An engine with photos and without containers.
PHOTOS = "#!/bin/sh\n[ $1 = volume ] || exit 0\n"


@pytest.mark.parametrize(("before", "now"), CHANGES)
@pytest.mark.parametrize("yes", ["", "1"])
def test_another_database_is_reported_and_refused_without_confirmation(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    before: str,
    now: str,
    yes: str,
) -> None:
    engine = tmp_path / "docker"
    engine.write_text(PHOTOS)
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    settings = with_lines(tmp_path, "COMPOSE_PROJECT_NAME=one", YES=yes)
    settings.root = tmp_path
    settings.environment["DATABASE_URL"] = before
    database.remember(settings)
    settings.environment["DATABASE_URL"] = now
    expected = CHANGES[before, now]
    refused = ""
    try:
        database.refuse_another(settings)
    except Failure as failure:
        refused = str(failure)
    printed = capsys.readouterr().err
    assert bool(refused) is (expected is not None and yes != "1")
    assert ("names another database" in printed) is (expected is not None)
    assert (f"from now on  {expected}\n" in printed) is (expected is not None)
    assert "s3cret" not in printed + refused + (tmp_path / "var" / "one.database").read_text()
    assert ("YES=1" in refused) is bool(refused)


@pytest.mark.parametrize("command", ["up", "deploy"])
def test_up_and_deploy_check_the_database_before_they_build(command: str) -> None:
    text = (SCRIPTS / "ops" / f"{command}.py").read_text()
    assert text.index(" fit.refuse(") < text.index(" database.refuse_another(") < text.index(" building.build(")
    assert text.index("building.build(") < text.index(" database.remember(")


# --- another copy's stack ---------------------------------------------------------------------------------------------

# An engine with containers of one project that was started in another folder. It records all other commands.
OTHER_COPY = """#!/bin/sh
case "$*" in
    version* | compose\\ version*) echo 5.0.0 ;;
    *working_dir*) echo "$OTHER" ;;
    ps*) echo "0123 web" ;;
    *) echo "$*" >> "$0.touched"; exit 1 ;;
esac
"""


@pytest.mark.parametrize("script", ["down.sh", "token.sh", "shell.sh"])
def test_a_stack_of_another_copy_is_refused_before_any_action(tmp_path: Path, script: str) -> None:
    (tmp_path / "env").write_text("COMPOSE_PROJECT_NAME=anothers\nHTTP_PORT=1\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "compose.yaml").touch()
    engine = tmp_path / "docker"
    engine.write_text(OTHER_COPY)
    engine.chmod(0o755)
    env = environment(tmp_path / "env", OTHER=str(tmp_path / "other"), COMPOSE="docker compose")
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    done = subprocess.run([SCRIPTS / script], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the stack anothers belongs to the folder"), done.stderr
    assert not (tmp_path / "docker.touched").exists()


# --- checks leave a running stack's images alone ----------------------------------------------------------------------

# An engine that records each command with its project.
RECORDER = """#!/bin/sh
echo "$COMPOSE_PROJECT_NAME $*" >> "$0.commands"
case "$*" in *version*) echo 5.0.0 ;; esac
"""


def test_make_check_builds_its_own_image_and_removes_it(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(SCRIPTS, copy / "scripts")
    shutil.copy2(ROOT / ".env.example", copy)
    engine = tmp_path / "docker"
    engine.write_text(RECORDER)
    engine.chmod(0o755)
    env = environment(tmp_path / "none", TMPDIR=str(tmp_path), COMPOSE="docker compose")
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    program = f'source "{copy}/scripts/check.sh"; PATH="{tmp_path}:$PATH"; check_stack'
    subprocess.run(["bash", "-c", program, "test"], env=env, capture_output=True, check=False, cwd=copy)
    commands = (tmp_path / "docker.commands").read_text()
    project = re.search(r"(?m)^(\S+) compose .*build nginx$", commands)
    assert project, commands
    assert re.fullmatch(r"uploadstack-check-[0-9]+", project[1])
    assert "uploadstack-nginx" not in commands
    assert f" image rm {project[1]}-nginx:local\n" in commands
    assert list(tmp_path.glob("tmp.*")) == []


# --- blanks in paths --------------------------------------------------------------------------------------------------


def test_the_path_of_the_python_setting_can_contain_a_blank(tmp_path: Path) -> None:
    program = tmp_path / "with a blank" / "python"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    assert python.find({"PYTHON": str(program)}) == str(program)


def test_commands_printed_by_doctor_are_quoted(tmp_path: Path) -> None:
    env_file = tmp_path / "with a blank; and more" / "env"
    env_file.parent.mkdir()
    env_file.touch(mode=0o644)
    env_file.chmod(0o644)
    output = subprocess.run(
        [SCRIPTS / "doctor.sh"], env=environment(env_file, **NOWHERE), capture_output=True, text=True, check=False
    ).stdout
    line = re.search(r"-> (chmod .*)", output)
    assert line, output
    assert shlex.split(line[1]) == ["chmod", "600", str(env_file)]


def test_a_spool_with_a_blank_in_its_path_is_refused(tmp_path: Path) -> None:
    """A path with a blank would be two words in /etc/fstab."""
    env_file = tmp_path / "env"
    env_file.write_text("COMPOSE_PROJECT_NAME=one\n")
    env = environment(env_file, SPOOLS=str(tmp_path / "a blank"), FSTAB=str(tmp_path / "fstab"))
    done = subprocess.run([SCRIPTS / "spool.sh", "0"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "has a blank" in done.stderr) == (1, True), done.stderr
