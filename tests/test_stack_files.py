"""The files of the stack agree: settings, services, the trust boundary, targets. No engine needed."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.ops import compose as compose_
from scripts.ops import database, dotenv, env, images, settings

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = (ROOT / ".env.example").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
LOADED: dict[str, Any] = yaml.safe_load(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = LOADED["services"]
LONG_RUNNING = sorted(set(SERVICES) - {"migrate"})
SETTING = re.compile(r"(?m)^(#?)([A-Z_]+)=(.*)$")
DEFAULT = re.compile(r"\$\{([A-Z_]+):-([^}]*)\}")
MONITORING = {"prometheus", "grafana"}
# Read by Compose itself.
COMPOSE_OWN = {"COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES"}


# --- .env.example and its readers -----------------------------------------------------------------------------------


def test_every_setting_is_used_and_every_variable_is_documented() -> None:
    documented = {name for _, name, _ in SETTING.findall(EXAMPLE)}
    read = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE))
    assert documented - COMPOSE_OWN == read - COMPOSE_OWN


def test_a_commented_setting_shows_the_default_that_compose_uses() -> None:
    shown = {name: value for comment, name, value in SETTING.findall(EXAMPLE) if comment}
    for name, default in DEFAULT.findall(COMPOSE):
        assert shown.get(name, default) == default, name
    for name, image in re.findall(r"(?m)^ARG (\w+_IMAGE)=(.+)$", (ROOT / "Dockerfile").read_text()):
        assert shown[name] == image


def test_no_secret_has_a_default() -> None:
    secrets = {name for _, name, value in SETTING.findall(EXAMPLE) if value == "change-me"}
    assert secrets == {"SECRET_KEY", "DEMO_PASSWORD", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    for name in secrets - {"GRAFANA_PASSWORD"}:
        assert f"${{{name}:?run: make env}}" in COMPOSE
        assert f"${{{name}:-" not in COMPOSE


@pytest.mark.parametrize(("password", "status"), [("", 1), ("change-me", 1), ("5ecre7", 0)])
def test_grafana_does_not_start_without_a_password(password: str, status: int) -> None:
    """Compose accepts an empty password, so that an old .env works without the profile; the entrypoint refuses it."""
    grafana = SERVICES["grafana"]
    assert grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_PASSWORD:-}"
    assert grafana["entrypoint"][:2] == ["sh", "-c"]
    script = grafana["entrypoint"][2].replace("$$", "$").replace("/run.sh", "echo started")
    environment = {"PATH": os.environ["PATH"], "GF_SECURITY_ADMIN_PASSWORD": password}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, "" if status else "started\n")
    assert bool(done.stderr) == bool(status)


# --- compose.yaml ---------------------------------------------------------------------------------------------------


def test_services_are_listed_in_the_order_of_a_request() -> None:
    assert list(SERVICES) == ["nginx", "web", "gunicorn", "runserver", "migrate", "db", "prometheus", "grafana"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_and_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["init"] is True
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert {"mem_limit", "cpus", "pids_limit", "restart", "stop_grace_period"} <= set(service)
    assert "container_name" not in service  # a fixed name would prevent a second stack
    assert "privileged" not in service


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_health_check_asks_127_0_0_1_and_fails_on_http_errors(name: str) -> None:
    test = " ".join(SERVICES[name]["healthcheck"]["test"])
    assert "127.0.0.1" in test
    assert "localhost" not in test
    assert "curl" not in test or "-f" in test


def test_only_nginx_is_published_beyond_loopback() -> None:
    """The port for gunicorn, the baseline, is on loopback."""
    publishing = {name for name, service in SERVICES.items() if "ports" in service}
    assert publishing == {"nginx", "runserver", *MONITORING}
    assert SERVICES["runserver"]["profiles"] == ["demo"]
    ports = [port for name in publishing for port in SERVICES[name]["ports"]]
    public = [port for port in ports if not port.startswith("127.0.0.1:")]
    assert public == [
        "${BIND_ADDRESS:-127.0.0.1}:${HTTP_PORT:-8080}:8080",
        "${BIND_ADDRESS:-127.0.0.1}:${HTTPS_PORT:-8443}:8443",
    ]


@pytest.mark.parametrize("name", sorted(MONITORING))
def test_monitoring_is_always_published_on_loopback_only(name: str) -> None:
    """Prometheus has no authentication, and the password of Grafana would be sent without TLS."""
    assert "monitoring" in SERVICES[name]["profiles"]
    assert [port.partition("${")[0] for port in SERVICES[name]["ports"]] == ["127.0.0.1:"]


def test_grafana_cannot_reach_the_application_or_the_database() -> None:
    assert SERVICES["grafana"]["networks"] == ["public"]


def test_services_behind_nginx_have_no_access_to_the_internet() -> None:
    assert LOADED["networks"]["inside"] == {"internal": True}
    for name in ("web", "gunicorn", "migrate", "db"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_the_application_waits_for_the_migration() -> None:
    for name in ("web", "gunicorn", "runserver"):
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


# Project, password of the sample user, exit status of the service migrate, part of its output.
MIGRATIONS = {
    "the sample project's": ("app", "5ecre7", 0, "Created user demo."),
    "the sample project's, without a password": ("app", "", 1, "DEMO_PASSWORD is empty"),
    "another's": ("another", "", 0, "Applying sessions.0001_initial... OK"),
}


@pytest.mark.parametrize("whose", MIGRATIONS)
def test_a_project_needs_no_demo_user_command(tmp_path: Path, whose: str) -> None:
    """If a project has the command, the service runs it and fails with it."""
    project, password, status, expected = MIGRATIONS[whose]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SECRET_KEY": "0123456789abcdef-a-secret-of-the-tests-0123456789abcdef",
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "MEDIA_ROOT": str(tmp_path),
        "STATIC_ROOT": str(tmp_path),
        "DEMO_PASSWORD": password,
    }
    if project == "another":
        subprocess.run(["django-admin", "startproject", project], cwd=tmp_path, env=environment, check=True)
    folder = ROOT if project == "app" else tmp_path
    command = [word.replace("$$", "$") for word in SERVICES["migrate"]["command"]]
    done = subprocess.run(command, cwd=folder / project, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, expected in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr


# Lines that a project adds to the settings of `startproject` -> the media URL in the image of nginx.
MEDIA_URLS = {
    "": "",
    'MEDIA_URL = "/media/"\nMEDIA_ROOT = "/srv/media"\n': "/media/\n",
    'MEDIA_URL = "media/"\n': "media/\n",
    'MEDIA_URL = "https://files.example.com/"\n': "https://files.example.com/\n",
}


@pytest.mark.parametrize("settings", MEDIA_URLS)
def test_the_nginx_image_takes_the_media_url_from_the_project(tmp_path: Path, settings: str) -> None:
    script = re.search(r"(?m)^RUN (SECRET_KEY.*? diffsettings (?:.*\\\n)*.*)$", (ROOT / "Dockerfile").read_text())[1]  # type: ignore[index]  # a missing one fails
    script = script.replace("/tmp/settings", str(tmp_path / "settings")).replace(
        "/srv/media-url", str(tmp_path / "url")
    )
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["django-admin", "startproject", "another"], cwd=tmp_path, env=environment, check=True)
    with (tmp_path / "another" / "another" / "settings.py").open("a") as file:
        file.write(settings)
    subprocess.run(["sh", "-euc", script], cwd=tmp_path / "another", env=environment, check=True)
    assert (tmp_path / "url").read_text() == MEDIA_URLS[settings]


def test_nginx_mounts_the_photos_read_only() -> None:
    assert "media:/srv/media:ro" in SERVICES["nginx"]["volumes"]


def test_django_gets_the_same_settings_in_every_server() -> None:
    django = LOADED["x-app-environment"]
    for name in ("web", "gunicorn", "runserver", "migrate"):
        got = {key: SERVICES[name]["environment"][key] for key in django}
        assert got | {"X_ACCEL_PREFIX": ""} == django


def test_the_log_of_gunicorn_has_the_keys_of_the_log_of_wsgiserver() -> None:
    """The same programs read both. gunicorn does not measure the phases of a request, so it logs the total."""
    assert "--logger-class=uploadstack.gunicorn_logger.AccessLog" in SERVICES["gunicorn"]["command"]
    gunicorn, wsgiserver = (
        re.findall(r'"(\w+)":', (ROOT / path).read_text())
        for path in ("uploadstack/gunicorn_logger.py", "wsgiserver/telemetry/accesslog.py")
    )
    *shared, total = gunicorn
    assert (shared[0], total) == ("time", "total_seconds")
    assert [key for key in wsgiserver if key in shared] == shared


# --- nginx ----------------------------------------------------------------------------------------------------------


def test_nginx_passes_no_proxy_header_of_a_client_on() -> None:
    boundary = (ROOT / "nginx" / "proxy.conf").read_text()
    values = dict(re.findall(r"(?m)^proxy_set_header (\S+) (\S+);", boundary))
    assert values["X-Forwarded-For"] == "$remote_addr"
    assert values["X-Request-ID"] == "$request_id"
    assert not [name for name, value in values.items() if value.startswith(("$http_", "$proxy_add_"))]
    assert {"X-Accel-Redirect", "X-Body-File", "Proxy", "Forwarded"} <= {k for k, v in values.items() if v == '""'}


def test_the_application_keeps_exactly_the_proxy_headers_that_nginx_sets() -> None:
    boundary = (ROOT / "nginx" / "proxy.conf").read_text()
    headers = re.findall(r'(?m)^proxy_set_header (X-(?:Forwarded|Accel)-\S+) (?!"")', boundary)
    passed = re.findall(r'"(HTTP_X_\w*[A-Z])"', (ROOT / "uploadstack" / "boundary.py").read_text())
    assert sorted(passed) == sorted(f"HTTP_{name.upper().replace('-', '_')}" for name in headers)


def test_every_proxy_pass_is_in_the_file_of_the_trust_boundary() -> None:
    files = sorted([*(ROOT / "nginx").iterdir(), *(ROOT / "app" / "nginx").iterdir()])
    passing = [path.name for path in files if "proxy_pass " in path.read_text()]
    assert passing == ["proxy.conf"]


# Version that `nginx -v` prints -> whether the image of nginx can be built on it.
VERSIONS = {
    "1.22.1": False,
    "1.30.3": False,
    "1.30.4": True,
    "1.30.10 (Debian)": True,
    "1.31.2": False,
    "1.31.3": True,
    "1.32.0": True,
}


# As nginx writes them: " : " separates the attempts to pass a request on, ", " the servers of one attempt.
RETRIES = [
    # No server was reached: each refused the connection (502) or did not answer (504).
    ("PUT", "-", "a", "502", ""),
    ("PUT", "-", "a", "504", ""),
    ("PUT", "- : -", "a : b", "504 : 504", ""),
    ("GET", "- : -, -", "a : b, c", "504 : 502, 504", ""),
    ("POST", "- : -, -", "a : b, c", "504 : 504, 504", ""),
    ("PUT", "- : -, - : -, - : -", "a : b, c : d, e : f", "502 : 502, 502 : 502, 502 : 502", "502"),
    ("PUT", "- : -, - : -, - : -", "a : b, c : d, e : f", "502 : 502, 502 : 502, 502 : 504", "504"),
    # A server was reached, and closed the connection.
    ("PUT", "0.001", "a", "502", ""),
    ("DELETE", "- : 0.000", "a : b", "504 : 502", ""),
    ("PUT", "0.000 : -", "a : b", "502 : 504", ""),
    ("POST", "0.001", "a", "502", "502"),
    ("FROB", "0.001", "a", "502", "502"),
    ("PUT", "0.001 : 0.002", "a : b", "502 : 502", "502"),
    ("GET", "- : 0.001, 0.001", "a : b, c", "502 : 502, 502", "502"),
    # A server was reached, and took too long.
    ("GET", "0.001", "a", "504", "504"),
    ("PUT", "- : 0.001", "a : b", "504 : 504", "504"),
]


@pytest.mark.parametrize(("method", "connected", "servers", "statuses", "failed_with"), RETRIES)
def test_a_request_is_retried_only_if_that_is_safe(
    method: str, connected: str, servers: str, statuses: str, failed_with: str
) -> None:
    """Evaluate the maps of upstreams.conf.template as nginx does; test_14_tries.py has the real nginx."""
    known = {
        "$request_method": method,
        "$upstream_connect_time": connected,
        "$upstream_addr": servers,
        "$upstream_status": statuses,
    }
    text = (ROOT / "nginx" / "upstreams.conf.template").read_text()
    for source, name, body in re.findall(r"(?ms)^map (\S+) (\$\w+) \{\n(.*?)^\}", text):
        value = re.sub(r"\$\w+", lambda variable: known.get(variable[0], ""), source)
        known[name] = map_value(value, re.findall(r'(?m)^ +("[^"]*"|\S+) +(\S+);', body))
    assert known["$retry_failed_with"] == failed_with


def map_value(value: str, entries: list[tuple[str, str]]) -> str:
    """Evaluate a `map` of nginx: an equal string comes first, then the first matching expression, then the default."""
    rows = [(pattern.strip('"'), result.strip('"')) for pattern, result in entries]
    exact = [result for pattern, result in rows if pattern == value]
    matching = [result for pattern, result in rows if pattern.startswith("~") and re.search(pattern[1:], value)]
    return [*exact, *matching, *(result for pattern, result in rows if pattern == "default"), ""][0]


@pytest.mark.skipif(not shutil.which("dpkg"), reason="it compares versions, in Debian's images")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_nginx_image_refuses_a_vulnerable_nginx(version: str) -> None:
    stage = (ROOT / "Dockerfile").read_text().partition("AS nginx\n")[2]
    check = re.search(r"(?s)\nRUN (said=.*?[^\\])\n", stage)[1]  # type: ignore[index]  # a missing one fails
    script = f"nginx() {{ echo 'nginx version: nginx/{version}' >&2; }}\n{check}"
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is VERSIONS[version], done.stderr
    assert bool(done.stderr) is not VERSIONS[version]
    assert VERSIONS[version] or f"holds nginx {version}," in done.stderr


def test_the_entrypoint_replaces_exactly_the_variables_of_the_templates() -> None:
    entrypoint = (ROOT / "nginx" / "entrypoint.sh").read_text()
    replaced = set(re.findall(r"\$([A-Z_]+)", re.search(r"(?m)^VARIABLES='(.*)'$", entrypoint)[1]))  # type: ignore[index]  # a missing one fails
    used = {
        name
        for path in (ROOT / "nginx").glob("*.template")
        for name in re.findall(r"\$\{([A-Z_]+)\}", path.read_text())
    }
    assert replaced == used
    assigned = set(re.findall(r"(?m)^ +([A-Z_]+)=", entrypoint))
    assert used - assigned <= set(SERVICES["nginx"]["environment"])


# --- make and scripts -----------------------------------------------------------------------------------------------


def test_every_target_is_in_help_and_its_script_exists() -> None:
    phony = re.search(r"(?m)^\.PHONY: (.*)$", MAKEFILE)[1].split()  # type: ignore[index]  # a missing one fails
    described = re.findall(r"(?m)^([a-z-]+):.*## ", MAKEFILE)
    assert sorted(phony) == sorted(described)
    printed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in phony:
        assert re.search(rf"(?m)^  make {target} ", printed), target
    for script in re.findall(r"scripts/[a-z-]+\.sh", MAKEFILE):
        assert os.access(ROOT / script, os.X_OK), script


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").rglob("*.sh")), ids=lambda path: path.name)
def test_a_script_stops_at_the_first_failure_and_states_its_purpose(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"(?m)^set -eu", text) or path.name == "lib.sh" or path.parent.name == "lib"  # sourced
    assert re.match(r"#[^\n]*\n# \w", text), "the second line states the purpose"


def env_sh(path: Path, *pairs: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "env.sh"), "--output", str(path), *pairs]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_env_sh_writes_random_secrets_readable_by_the_owner_only(tmp_path: Path) -> None:
    secrets = []
    for path in (tmp_path / "one", tmp_path / "two"):
        assert env_sh(path, "HTTP_PORT=9080").returncode == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "\nHTTP_PORT=9080\n" in path.read_text()
        assert "=change-me" not in path.read_text()
        secrets += re.findall(r"(?m)^(?:\w+_PASSWORD|SECRET_KEY)=([0-9a-f]{24,})$", path.read_text())
    assert len(set(secrets)) == 8


def test_env_sh_keeps_an_existing_file_and_names_missing_settings(tmp_path: Path) -> None:
    path = tmp_path / "env"
    env_sh(path)
    before = path.read_text()
    assert env_sh(path).returncode == 0
    refused = env_sh(path, "HTTP_PORT=1")
    assert (refused.returncode, "Write into it: HTTP_PORT=1" in refused.stderr) == (1, True), refused.stderr
    assert path.read_text() == before

    path.write_text(before.replace("SECRET_KEY=", "OLD_KEY="))
    older = env_sh(path)
    assert older.returncode == 1
    assert "SECRET_KEY" in older.stderr


# Value -> how it is written, so that every version of Compose reads the same value.
WRITTEN = {
    "9080": "9080",
    "a b": "a b",
    "a #b": "'a #b'",
    "$HOME": "'$HOME'",
    "it's #1": '"it\'s #1"',
    "a\nb": '"a\\nb"',
    " a": "' a'",
    "postgres://uploads:${POSTGRES_PASSWORD}@db/uploads": "postgres://uploads:${POSTGRES_PASSWORD}@db/uploads",
}


@pytest.mark.parametrize("value", WRITTEN)
def test_env_sh_quotes_a_given_value_as_needed(value: str) -> None:
    text = env.render("#DEMO_USER=demo\n", {"DEMO_USER": value})
    assert text == f"DEMO_USER={WRITTEN[value]}\n"
    read = dotenv.read(text.encode(), {})
    assert read.complaints == []
    assert read.values["DEMO_USER"] == value or "${" in value


@pytest.mark.parametrize(("profiles", "status"), [("", 0), ("postgres,demo", 0), ("prometheus", 0), ("monitoring", 1)])
def test_env_sh_requires_the_grafana_password_only_with_its_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profiles: str, status: int
) -> None:
    path = tmp_path / "env"
    monkeypatch.delenv("COMPOSE_PROFILES", raising=False)  # the environment would override the file
    env_sh(path, f"COMPOSE_PROFILES={profiles}")
    path.write_text(re.sub(r"(?m)^GRAFANA_PASSWORD=.*\n", "", path.read_text()))
    older = env_sh(path)
    assert older.returncode == status
    assert ("GRAFANA_PASSWORD" in older.stderr) == bool(status)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("GRAFANA_IMAGE none grafana/grafana:1", "postgres,prometheus"),
        ("GRAFANA_IMAGE none grafana/grafana:2", "postgres,monitoring"),  # another image than the current one
        ("PYTHON_IMAGE python:standin python:3", "postgres,monitoring"),
    ],
)
def test_a_missing_grafana_image_reduces_monitoring_to_prometheus(tmp_path: Path, line: str, left: str) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    (tmp_path / ".images").write_text(f"# A comment\n{line}\n")
    environment = {"GRAFANA_IMAGE": "grafana/grafana:1", "COMPOSE_PROFILES": "postgres,monitoring"}
    found = settings.read(tmp_path, environment)
    assert images.chosen(found).get("COMPOSE_PROFILES", "postgres,monitoring") == left


# COMPOSE_PROFILES -> the enabled services besides nginx, web, gunicorn and migrate.
PROFILES = {"": [], "demo": ["runserver"], "postgres,prometheus": ["db", "prometheus"]}


@pytest.mark.parametrize("profiles", PROFILES)
@pytest.mark.parametrize("compose", ["docker-compose", "docker compose"])
def test_the_enabled_services_are_those_with_a_config_hash(tmp_path: Path, compose: str, profiles: str) -> None:
    """Both generations of Compose support this; other commands of 1.29 list disabled services as well."""
    words = [*compose.split(), "version"]
    if not shutil.which("docker") or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip(f"no {compose} on this machine")
    env_sh(tmp_path / "env", f"COMPOSE_PROFILES={profiles}", "COMPOSE_PROJECT_NAME=uploadstack-on")
    environment = {**os.environ, "ENV_FILE": str(tmp_path / "env"), "COMPOSE": compose, "COMPOSE_PROFILES": profiles}
    found = settings.read(ROOT, environment)
    if problem := compose_.trouble(found):
        pytest.skip(problem)
    assert sorted(compose_.hashes(found)) == sorted(["gunicorn", "migrate", "nginx", "web", *PROFILES[profiles]])


@pytest.mark.parametrize("version", ["1.29.2", "2.22.0", "v2.22.0", "2.40.3", "2.100.1", "5.0.0"])
def test_a_recent_compose_version_is_accepted(version: str) -> None:
    assert not compose_.is_too_old(version)


@pytest.mark.parametrize("version", ["1.9.0", "1.28.6", "2.0.0", "2.9.0", "v2.19.1", "2.21.0-desktop.1"])
def test_an_old_compose_version_is_refused(version: str) -> None:
    assert compose_.is_too_old(version)


# DATABASE_URL -> the kind of database that backup and restore accept; empty: they refuse it.
KINDS = {
    "": "sqlite",
    "sqlite:////srv/data/db.sqlite3": "sqlite",
    "sqlite:////srv/data/db.sqlite3?timeout=5": "sqlite",
    "sqlite:////elsewhere/db.sqlite3": "",
    "postgres://uploads:${POSTGRES_PASSWORD}@db:5432/uploads": "postgresql",
    "postgresql://uploads:secret@db/uploads?sslmode=disable": "postgresql",
    "postgres://uploads:secret@db:5432/others": "",
    "postgres://uploads:secret@db.example.com:5432/uploads": "",
    "postgres://uploads:secret@managed.example.com/uploads?host=@db/uploads": "",
    "mysql://uploads:secret@db/uploads": "",
}


@pytest.mark.parametrize("url", KINDS)
def test_only_a_database_of_the_stack_itself_is_backed_up(tmp_path: Path, url: str) -> None:
    (tmp_path / "env").write_text(f"DATABASE_URL={url}\n")
    found = settings.read(ROOT, {"ENV_FILE": str(tmp_path / "env")})
    assert database.kind(found["DATABASE_URL"]) == KINDS[url]


def test_env_sh_refuses_an_unknown_setting(tmp_path: Path) -> None:
    assert env_sh(tmp_path / "env", "NO_SUCH=1").returncode == 1
    assert not (tmp_path / "env").exists()


def test_the_workflow_pins_every_action_by_commit() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    uses = re.findall(r"uses: (.+)", workflow)
    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", use), use
