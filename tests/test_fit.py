"""Settings that are sound one by one and do not fit together: refused by name, before anything is touched.

And what scripts tell only once, or make for one alone. No engine needed.
"""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
# Without an engine, which knows how many CPUs there are.
NOWHERE = {"DOCKER_HOST": "unix:///nowhere"}


def environment(env_file: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(env_file.parent), "ENV_FILE": str(env_file), **more}


def bash(script: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    program = f'source "{SCRIPTS}/lib.sh"; source "{SCRIPTS}/fit.sh"; {script}'
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", program], env=env, capture_output=True, text=True, check=False
    )


def complaints(folder: Path, lines: str) -> list[str]:
    env_file = folder / "env"
    env_file.write_text(lines.replace(" ", "\n") + "\n")
    done = bash("unfit", environment(env_file, **NOWHERE))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


MANAGED = "DATABASE_URL=postgres://x:y@db.example.com/uploads"
OWN = "DATABASE_URL=postgres://uploads:x@db:5432/uploads"
FIT = [
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
    "HTTP_PORT=8082",  # runserver's, which does not run
    "BIND_ADDRESS=192.0.2.1 HTTP_PORT=8081",  # gunicorn's is on loopback
    "COMPOSE_PROFILES=postgres,demo",
    f"COMPOSE_PROFILES=postgres {OWN}",
    MANAGED,
    "HEALTH_INTERVAL=2m",
    "SWEEP_AGE=5",
    "DEBUG=True GALLERY_PUBLIC=no",
]
# Lines of .env -> names that the complaint has to have.
UNFIT = {
    "WEB_WORKERS=8 WEB_THREADS=16": ["WEB_WORKERS", "WEB_MEMORY"],
    "WEB_WORKERS=1 WEB_THREADS=241": ["WEB_WORKERS=1", "WEB_THREADS=241", "512"],
    "WEB_WORKERS=32 WEB_THREADS=16 WEB_MEMORY=8g": ["WEB_WORKERS=32", "WEB_THREADS=16", "808"],
    "WEB_WORKERS=0": ["WEB_WORKERS=0"],
    "WEB_WORKERS=two": ["WEB_WORKERS=two"],
    "WEB_WORKERS=08": ["WEB_WORKERS=08"],
    "WEB_THREADS=-1": ["WEB_THREADS=-1"],
    "WEB_REPLICAS=0": ["WEB_REPLICAS=0"],
    "WEB_MEMORY=lots": ["WEB_MEMORY=lots"],
    "WEB_MEMORY=512m": ["WEB_MEMORY=512m", "750 MiB"],
    "NGINX_WORKERS=100 NGINX_MEMORY=2g": ["NGINX_WORKERS=100", "more than 28", "64"],
    "NGINX_WORKERS=29 NGINX_MEMORY=2g": ["NGINX_WORKERS=29"],
    "NGINX_WORKERS=auto": ["NGINX_WORKERS=auto"],
    "NGINX_WORKERS=28": ["TOTAL_CONNECTIONS", "NGINX_MEMORY=384m"],
    "TOTAL_CONNECTIONS=2000": ["TOTAL_CONNECTIONS", "NGINX_MEMORY=384m"],
    "TOTAL_CONNECTIONS=0": ["TOTAL_CONNECTIONS=0"],
    "CLIENT_CONNECTIONS=many": ["CLIENT_CONNECTIONS=many"],
    "HTTP_PORT=8081": ["GUNICORN_PORT", "HTTP_PORT", "8081"],
    "HTTP_PORT=8443": ["HTTPS_PORT", "HTTP_PORT"],
    "BIND_ADDRESS=0.0.0.0 GUNICORN_PORT=8080": ["GUNICORN_PORT", "HTTP_PORT"],
    "RUNSERVER_PORT=8080 COMPOSE_PROFILES=demo": ["RUNSERVER_PORT", "HTTP_PORT"],
    "PROMETHEUS_PORT=8081 COMPOSE_PROFILES=prometheus": ["PROMETHEUS_PORT", "GUNICORN_PORT"],
    "GUNICORN_PORT=70000": ["GUNICORN_PORT=70000"],
    "COMPOSE_PROFILES=postgre": ["COMPOSE_PROFILES", "postgre"],
    OWN: ["DATABASE_URL", "postgres"],
    "HEALTH_INTERVAL=5": ["HEALTH_INTERVAL=5"],
    "HEALTH_INTERVAL=0s": ["HEALTH_INTERVAL=0s"],
    "HEALTH_INTERVAL=3m": ["HEALTH_INTERVAL=3m"],
    "SWEEP_AGE=0": ["SWEEP_AGE=0"],
    "SWEEP_INTERVAL=soon": ["SWEEP_INTERVAL=soon"],
    "UPLOAD_MAX=100mb": ["UPLOAD_MAX=100mb"],
    "WEB_SPOOL=nginx-spool": ["NGINX_SPOOL", "WEB_SPOOL"],
    "GALLERY_PUBLIC=maybe": ["GALLERY_PUBLIC=maybe"],
    "TLS=yes": ["TLS=yes"],
    "ANONYMOUS_UPLOADS=maybe": ["ANONYMOUS_UPLOADS=maybe"],
    "LOGIN_RATE=none": ["LOGIN_RATE=none"],
}


@pytest.mark.parametrize("lines", FIT)
def test_settings_that_fit(tmp_path: Path, lines: str) -> None:
    assert complaints(tmp_path, lines) == []


@pytest.mark.parametrize("lines", UNFIT)
def test_settings_that_do_not_fit_are_refused_by_name_with_a_remedy(tmp_path: Path, lines: str) -> None:
    said = complaints(tmp_path, lines)
    assert said
    complaint, remedy = said[0].split("\t")
    assert [name for name in UNFIT[lines] if name not in complaint] == []
    assert remedy


@pytest.mark.parametrize("lines", ["WEB_WORKERS=8", "TOTAL_CONNECTIONS=2000", "NGINX_WORKERS=28"])
def test_what_the_remedy_says_fits(tmp_path: Path, lines: str) -> None:
    (said,) = complaints(tmp_path, lines)
    setting = re.search(r"set (\w+=\w+) at least", said)
    assert setting, said
    assert complaints(tmp_path, f"{lines} {setting[1]}") == []


@pytest.mark.parametrize("script", ["up.sh", "deploy.sh"])
def test_whatever_starts_the_stack_refuses_what_does_not_fit_before_it_takes_ports(script: str) -> None:
    text = (SCRIPTS / script).read_text()
    assert text.index("    refuse_unfit\n") < text.index("    refuse_taken_ports\n") < text.index('"$HERE/images.sh"')


def test_doctor_says_what_make_up_would_refuse(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("NGINX_WORKERS=100\nGUNICORN_PORT=8080\n")
    env = environment(env_file, **NOWHERE)
    refused = bash("refuse_unfit", env)
    assert (refused.returncode, "nothing was touched" in refused.stderr) == (1, True)
    said = subprocess.run([SCRIPTS / "doctor.sh"], env=env, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    for complaint in complaints(tmp_path, "NGINX_WORKERS=100 GUNICORN_PORT=8080"):
        assert f"PROBLEM  {complaint.partition(chr(9))[0]}\n" in said.stdout


# --- what only the first run tells, and files that are not for all ----------------------------------------------------


@pytest.mark.parametrize("what", ["stack", "dev"])
def test_passwords_are_told_by_the_first_run_only(tmp_path: Path, what: str) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("DEMO_PASSWORD=5ecre7\nGRAFANA_PASSWORD=m0n170r\nCOMPOSE_PROFILES=monitoring\n")
    env = environment(env_file, GRAFANA_IMAGE="one/that:is-not-asked-for")
    told = [
        subprocess.run([SCRIPTS / "story.sh", what, *more], env=env, capture_output=True, text=True, check=True).stdout
        for more in (["first"], [])
    ]
    secrets = {"stack": ["5ecre7", "m0n170r"], "dev": ["5ecre7"]}[what]
    assert [secret for secret in secrets if secret not in told[0]] == []
    assert [secret for secret in secrets if secret in told[1]] == []
    assert f"{env_file}: DEMO_PASSWORD" in told[1]


@pytest.mark.parametrize("before", [None, 0o666])
def test_only_its_owner_may_write_to_the_lock_of_a_stack(tmp_path: Path, before: int | None) -> None:
    """Also one that an earlier version left for all to write to."""
    lock = tmp_path / "var" / "one.lock"
    if before is not None:
        lock.parent.mkdir()
        lock.touch()
        lock.chmod(before)
    (tmp_path / "env").write_text("COMPOSE_PROJECT_NAME=one\n")
    done = bash(f"ROOT='{tmp_path}'; ENV_FILE='{tmp_path}/env'; hold_lock 0", environment(tmp_path / "env"))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(lock.stat().st_mode) & 0o022 == 0
