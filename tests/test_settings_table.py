"""Every setting of .env.example with invalid values, which are refused by its name, and with valid values.

One list of checks (scripts/ops/fit.py, scripts/ops/values.py) for up, deploy and doctor alike. No engine needed.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from scripts.ops import fit, values
from scripts.ops import settings as settings_
from scripts.ops.console import Failure

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
EXAMPLE = (ROOT / ".env.example").read_text()
NAMES = re.findall(r"(?m)^#?([A-Z_]+)=", EXAMPLE)
LONG = "0123456789abcdef-a-secret-of-the-tests"

# Variable -> invalid values, each with a part of its complaint. nginx checks those with None.
INVALID: dict[str, dict[str, str | None]] = {
    "SECRET_KEY": {
        "change-me": "still the placeholder",
        "short": "fewer than 32 characters",
        f"django-insecure-{LONG}": "a well-known placeholder",
    },
    "DEMO_USER": {"x" * 151: "not a name for a user", "a\x07b": "not a name for a user"},
    "DEMO_PASSWORD": {"change-me": "still the placeholder"},
    "POSTGRES_PASSWORD": {"Change-Me": "still the placeholder"},
    "GRAFANA_PASSWORD": {"change-me": "still the placeholder"},
    "COMPOSE_PROJECT_NAME": {"My Site": "not a name for a project", "-x": "not a name", "Site": "not a name"},
    "IMAGE_TAG": {"a b": "not a tag", "a/b": "not a tag", ".a": "not a tag"},
    "BIND_ADDRESS": {
        "localhost": "not an IP address",
        "127.0.0": "not an IP address",
        "0.0.0.0:80": "not an IP address",
    },
    "HTTP_PORT": {"http": "not a port", "0": "not a port", "65536": "not a port", "8080-8081": "not a port"},
    "GUNICORN_PORT": {"08081": "not a port"},
    "RUNSERVER_PORT": {"eight": "not a port"},
    "PROMETHEUS_PORT": {"-1": "not a port"},
    "GRAFANA_PORT": {"3000/tcp": "not a port"},
    "ALLOWED_HOSTS": {"https://example.com": None, "example.com:8080": None, ",": None},
    "TLS": {"yes": "neither on nor off", "On": "neither on nor off"},
    "HTTPS_PORT": {"443s": "not a port"},
    "TLS_FOLDER": {"certs": "neither a folder nor the volume", "etc/certs": "neither a folder", "/a:/b": "neither"},
    "TRUSTED_PROXIES": {"0.0.0.0/0": None, "proxy": None},
    "CSRF_TRUSTED_ORIGINS": {"photos.example.com": "not an origin", "https://a.example,b": "not an origin"},
    "CORS_ALLOWED_ORIGINS": {"*": None, "https://a.example/": None},
    "DJANGO_SETTINGS_MODULE": {"mysite/settings.py": "not the name of a module", "my-site.settings": "not the name"},
    "UPLOAD_MAX": {"100mb": "not a size", "1.5g": "not a size", "0": "not a size", "9999999999g": "not a size"},
    "ANONYMOUS_UPLOADS": {"true": "neither on nor off"},
    "USER_QUOTA": {"none": "neither 0 nor a size", "10gb": "neither 0 nor a size"},
    "GALLERY_PUBLIC": {"public": "neither true nor false"},
    "DEBUG": {"2": "neither true nor false"},
    "DATABASE_URL": {
        "postgres//uploads@db/uploads": "not the address of a database",
        "postgress://uploads@db/uploads": "an unknown kind of database",
        "postgres://uploads:s3cret@db:5432": "lacks the name of the database",
        "postgres://uploads:change-me@db:5432/uploads": "placeholder as its password",
        "sqlite:///db.sqlite3": "not name an absolute path",
        "sqlite://:memory:": "not name an absolute path",
    },
    "COMPOSE_PROFILES": {"postgre": "not a profile", "demo, postgres": "not a profile"},
    "WEB_WORKERS": {"two": "not a number from 1 to 512", "0": "not a number", "auto": "not a number"},
    "WEB_THREADS": {"4.0": "not a number", "-1": "not a number"},
    "WEB_REPLICAS": {"0": "not a number", "101": "not a number"},
    "WEB_MEMORY": {"lots": "not an amount of memory", "768": "not an amount", "768MiB": "not an amount"},
    "WEB_CPUS": {"1,5": "not a number of CPUs", "0": "not a number of CPUs", "0.0": "not a number of CPUs"},
    "NGINX_WORKERS": {"auto": None, "29": None},
    "NGINX_MEMORY": {"384 m": "not an amount"},
    "NGINX_CPUS": {"all": "not a number of CPUs"},
    "CLIENT_CONNECTIONS": {"many": None},
    "TOTAL_CONNECTIONS": {"0": None},
    "LOGIN_RATE": {"10/m": None, "none": None},
    "LOGIN_FAILURES": {"0": "not a number", "ten": "not a number"},
    "NGINX_SPOOL": {"spool": "neither a folder nor the volume nginx-spool"},
    "WEB_SPOOL": {"srv/spool": "neither a folder nor the volume spool"},
    "SWEEP_AGE": {"10m": "not a number", "0": "not a number"},
    "SWEEP_INTERVAL": {"soon": "not a number"},
    "SWEEP_QUARANTINE": {"7d": "not a number"},
    "DB_MEMORY": {"512mm": "not an amount"},
    "DB_CPUS": {"-1": "not a number of CPUs"},
    "HEALTH_INTERVAL": {"5": "not a time", "0s": "not a time", "3m": "not a time"},
    "PYTHON_IMAGE": {"python 3.14": "not the name of an image"},
    "NGINX_IMAGE": {"Nginx:1.30": "not the name of an image"},
    "POSTGRES_IMAGE": {"postgres:": "not the name of an image"},
    "PROMETHEUS_IMAGE": {":3": "not the name of an image"},
    "GRAFANA_IMAGE": {"https://example.com/grafana": "not the name of an image"},
}
VALID = {
    "UPLOAD_MAX": ["100M", "1g", "104857600"],
    "USER_QUOTA": ["0", "10G"],
    "GALLERY_PUBLIC": ["on", "True", "0", "NO"],
    "DEBUG": ["off", "1"],
    "BIND_ADDRESS": ["0.0.0.0", "::", "[::]", "192.0.2.1"],
    "DATABASE_URL": [
        "postgres://uploads:${POSTGRES_PASSWORD}@db:5432/uploads",
        "postgresql://a:b%2Fc%23d%3Fe@db/uploads?sslmode=disable",
        "postgres:///uploads",
        "sqlite:////srv/data/db.sqlite3?timeout=20",
        "mysql://a:b@db.example.com/uploads",
    ],
    "CSRF_TRUSTED_ORIGINS": ["https://a.example.com,https://*.example.com", "http://localhost:8080"],
    "COMPOSE_PROFILES": ["demo,postgres", "monitoring"],
    "WEB_MEMORY": ["768MB", "1.5g", "805306368"],
    "WEB_CPUS": [".5", "2", "0.25"],
    "TLS_FOLDER": ["certificates", "/etc/certificates", "./certificates"],
    "HEALTH_INTERVAL": ["2m", "120s"],
    "SWEEP_QUARANTINE": ["0"],
    "PYTHON_IMAGE": ["registry.example.com:5000/library/python:3.14-slim", f"python@sha256:{'a' * 64}"],
    "DEMO_USER": ["ada", "ada@example.com", "Ада"],
    "LOGIN_FAILURES": ["1"],
    "COMPOSE_PROJECT_NAME": ["my-site_2"],
}
TABLE = [(name, value) for name, values in INVALID.items() for value in values]


def complaints(name: str, value: str) -> list[tuple[str, str]]:
    """Return the complaints about a value, with the profile enabled that reads it."""
    return list(values.problems({"COMPOSE_PROFILES": "monitoring", name: value}, ".env"))


def test_every_setting_of_the_example_has_a_rule_and_a_test() -> None:
    assert sorted(INVALID) == sorted(values.RULES) == sorted(NAMES)


@pytest.mark.parametrize(("name", "value"), TABLE)
def test_an_invalid_value_is_refused_by_the_name_of_its_setting(name: str, value: str) -> None:
    expected = INVALID[name][value]
    if expected is None:
        assert not values.RULES[name]
        output = output_of_nginx(name, value)
        assert output.startswith(f"nginx: {name}: '")
        return
    ((complaint, remedy),) = complaints(name, value)
    assert complaint.startswith(name)
    assert expected in complaint
    assert remedy
    assert "{" not in remedy.replace("{16}", "")


def output_of_nginx(name: str, value: str) -> str:
    defaults = dict(re.findall(r"(?m)^#?([A-Z_]+)=(.*)$", EXAMPLE))
    environment = {**defaults, name: value, "PATH": os.environ["PATH"], "PIDS_MAX": "64"}
    command = ["sh", str(ROOT / "nginx" / "entrypoint.sh"), "--check"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALID.items() for value in values])
def test_a_valid_value_is_accepted(name: str, value: str) -> None:
    assert complaints(name, value) == []


def test_the_defaults_are_accepted() -> None:
    defaults = dict(re.findall(r"(?m)^#([A-Z_]+)=(.*)$", EXAMPLE))
    assert list(values.problems(defaults, ".env")) == []


def test_no_secret_and_no_password_is_printed() -> None:
    found = [
        *complaints("SECRET_KEY", "hunter2"),
        *complaints("DATABASE_URL", "postgress://uploads:hunter2@db/uploads"),
    ]
    assert len(found) == 2
    assert "hunter2" not in str(found)


def test_the_grafana_password_is_not_checked_without_grafana() -> None:
    assert list(values.problems({"GRAFANA_PASSWORD": "change-me"}, ".env")) == []


# --- names ------------------------------------------------------------------------------------------------------------

# Lines of .env -> the complaints.
NAMED = {
    "WEB_WORKERS=4": [],
    "# WEB_WORKER=4": [],
    "#WEB_WORKER=4": [],
    "WEB_WORKER=4": [("WEB_WORKER is not a known setting", "did you mean WEB_WORKERS?")],
    "export UPLOADMAX=1g": [("UPLOADMAX is not a known setting", "did you mean UPLOAD_MAX?")],
    "upload_max=1g": [("upload_max is not a known setting", "did you mean UPLOAD_MAX?")],
    "ALLOWED_HOST = a": [("ALLOWED_HOST is not a known setting", "did you mean ALLOWED_HOSTS?")],
    "AWS_REGION=x": [("AWS_REGION is not a known setting", ".env.example lists the settings")],
    "COMPOSE_FILE=a.yaml": [],
    "DOCKER_HOST=x": [],
    "HTTPS_PROXY=x": [],
    "OTHER=x": [],  # another Compose file reads it
    "PASSWORD=x\nDATABASE_URL=postgres://a:${PASSWORD}@b/c": [],
    "UPLOAD_MAX: 1g": [],  # not NAME=value: has no name, and the line is refused
    'DEMO_PASSWORD="two\nlines=1"\nTSL=on': [("TSL is not a known setting", "did you mean TLS?")],
    "UPLOAD_MAX=1g\r\nWEB_WORKER=4\r": [("WEB_WORKER is not a known setting", "did you mean WEB_WORKERS?")],
}


@pytest.mark.parametrize("text", NAMED)
def test_an_unknown_name_is_reported_with_the_nearest_known_one(tmp_path: Path, text: str) -> None:
    env_file, other = tmp_path / "env", tmp_path / "compose.other.yaml"
    env_file.write_text(f"{text}\n", newline="")
    other.write_text("services: {one: {image: '${OTHER}'}}")
    environment = {"ENV_FILE": str(env_file), "COMPOSE_FILE": f"compose.yaml:{other}"}
    assert list(fit.unread_names(settings_.read(ROOT, environment))) == NAMED[text]


def test_other_compose_files_are_found_in_the_folder_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripts run Compose there, wherever they are called."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".env.example").touch()
    (tmp_path / "project" / ".env").write_text("OTHER=x\n")
    (tmp_path / "project" / "other.yaml").write_text("services: {one: {image: '${OTHER}'}}")
    monkeypatch.chdir(tmp_path)
    found = settings_.read(tmp_path / "project", {"COMPOSE_FILE": "compose.yaml:other.yaml"})
    assert list(fit.unread_names(found)) == []


def test_an_invalid_line_is_reported_without_its_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first word of an invalid line may be a secret."""
    env_file = tmp_path / "env"
    env_file.write_text("s3cret-1\ns3cret-2: x\n s3cret-3 s3cret\n")
    with pytest.raises(Failure):
        fit.refuse(settings_.read(ROOT, {"PATH": os.environ["PATH"], "ENV_FILE": str(env_file)}))
    printed = capsys.readouterr().err
    assert [number for number in "123" if f"line {number} of {env_file}: this is neither" not in printed] == []
    assert "s3cret" not in printed


# --- scripts that start the stack -------------------------------------------------------------------------------------

# Lines of .env, quoted or not, and the complaints about them.
LINES = """UPLOAD_MAX="100mb"
WEB_WORKERS=two
LOGIN_RATE=none
USER_QUOTA=1tb
WEB_THREADS="4"
DEBUG='on'
WEB_WORKER=4
"""
COMPLAINTS = [
    "UPLOAD_MAX: '100mb' is not",
    "WEB_WORKERS: 'two' is not",
    "LOGIN_RATE: 'none' is not a rate",
    "USER_QUOTA: '1tb' is neither",
]
STARTERS = {"up.sh": "error: {}", "deploy.sh": "error: {}", "doctor.sh": "PROBLEM  {}"}
# An engine with one running container; it refuses every other command.
ENGINE = """#!/bin/sh
case "$1" in
    version | compose) echo 5.0.0 ;;
    ps) echo 0123 ;;
    volume) exit 1 ;;
    *) echo "$*" >> "$0.touched"; exit 1 ;;
esac
"""


@pytest.mark.parametrize("script", STARTERS)
def test_all_invalid_values_are_reported_before_any_change(tmp_path: Path, script: str) -> None:
    env_file = tmp_path / "env"
    secrets = "".join(f"{name}={LONG}\n" for name in sorted(values.SECRETS))
    env_file.write_text(f"COMPOSE_PROJECT_NAME=tested-{os.getpid()}\nDEMO_USER=demo\n{secrets}{LINES}")
    engine = tmp_path / "docker"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "ENV_FILE": str(env_file)}
    done = subprocess.run([SCRIPTS / script], env=environment, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    (ROOT / "var" / f"tested-{os.getpid()}.lock").unlink(missing_ok=True)
    assert done.returncode == 1, output

    assert [line for line in COMPLAINTS if STARTERS[script].format(line) not in output] == []
    assert "did you mean WEB_WORKERS?" in output
    assert not [name for name in ("WEB_THREADS", "DEBUG") if name in output], "a valid value is reported"
    touched = tmp_path / "docker.touched"
    if script != "doctor.sh" and touched.exists():
        assert {line.split()[0] for line in touched.read_text().splitlines()} <= {"info", "inspect"}
