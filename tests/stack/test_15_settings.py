"""Invalid settings: nginx does not start, and names the setting."""

import re
import subprocess

import pytest

from tests.stack.echo import SERVICES, Backends, Edge, settled
from tests.stack.programs import program

REFUSED = re.findall(
    r"\S+",
    """
    TLS= TLS=yes TLS=ON TLS=on;off ANONYMOUS_UPLOADS= ANONYMOUS_UPLOADS=yes
    UPLOAD_MAX= UPLOAD_MAX=0 UPLOAD_MAX=100mb UPLOAD_MAX=1t UPLOAD_MAX=-1 UPLOAD_MAX=1m;
    LOGIN_RATE= LOGIN_RATE=x LOGIN_RATE=10 LOGIN_RATE=10r/h LOGIN_RATE=0r/s
    HTTPS_PORT=x HTTPS_PORT=0 HTTPS_PORT=65536 NGINX_WORKERS=0 NGINX_WORKERS=auto;
    CLIENT_CONNECTIONS=0 CLIENT_CONNECTIONS=-1 CLIENT_CONNECTIONS=many TOTAL_CONNECTIONS=0 TOTAL_CONNECTIONS=65536
    ALLOWED_HOSTS= ALLOWED_HOSTS=, ALLOWED_HOSTS=https://example.com ALLOWED_HOSTS=example.com:8080
    ALLOWED_HOSTS=*.example.com ALLOWED_HOSTS=~. ALLOWED_HOSTS=example.com;return ALLOWED_HOSTS=a{b ALLOWED_HOSTS=$host
    TRUSTED_PROXIES=0.0.0.0/0 TRUSTED_PROXIES=::/0 TRUSTED_PROXIES=10.0.0.0/8,0.0.0.0/0 TRUSTED_PROXIES=proxy
    TRUSTED_PROXIES=* TRUSTED_PROXIES=10.0.0.1;return TRUSTED_PROXIES=10.0.0.0/33 TRUSTED_PROXIES=10.0.0.256
    TRUSTED_PROXIES=2001:db8::/129 TRUSTED_PROXIES=1:2
    """,
)
TAKEN = [
    "TLS=off UPLOAD_MAX=1048576 LOGIN_RATE=1r/s HTTPS_PORT=443 NGINX_WORKERS=16 CLIENT_CONNECTIONS=1 ALLOWED_HOSTS=*",
    "UPLOAD_MAX=2G HTTPS_PORT=65535 TOTAL_CONNECTIONS=200 ALLOWED_HOSTS=.example.com,10.0.0.1,[::1] TRUSTED_PROXIES=",
    "TRUSTED_PROXIES=10.0.0.1,10.1.0.0/16,2001:db8::/32,::1,1:2:3:4:5:6:7:8",
]


def test_an_invalid_setting_is_refused_by_its_name(edge: Edge) -> None:
    command = ["docker", "exec", "-i", edge.container, *program("try_settings.sh")]
    lines = "\n".join([*REFUSED, *TAKEN, ""])
    output = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=120).stdout
    cases = dict(part.split("\n", 1) for part in output.split("--- ")[1:])
    assert list(cases) == [*REFUSED, *TAKEN]
    for case in REFUSED:
        name = case.partition("=")[0]
        assert cases[case].startswith(f"nginx: {name}: '"), f"{case}: {cases[case]}"
        assert cases[case].endswith("exit 1\n"), case
        assert cases[case].count("\n") == 2, f"not one line: {cases[case]}"
    for case in TAKEN:
        assert cases[case].endswith("exit 0\n"), f"{case}: {cases[case]}"


# Name -> a limit of the container, a setting that exceeds it, and one that does not.
ALLOWED = {
    "processes": ("--pids-limit=64", "NGINX_WORKERS=29", "NGINX_WORKERS=28"),
    "open files": ("--ulimit=nofile=1024:1024", "TOTAL_CONNECTIONS=233", "TOTAL_CONNECTIONS=232"),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_a_setting_beyond_the_limits_of_the_container_is_refused_by_its_name(backends: Backends, what: str) -> None:
    limit, *settings = ALLOWED[what]
    for setting, status in zip(settings, (1, 0), strict=True):
        name, value = setting.split("=")
        own = {key: settled(text, **{name: value}) for key, text in SERVICES["nginx"]["environment"].items()}
        command = ["docker", "run", "--rm", "--network=none", "--init", limit, *backends.labels]
        command += [*(f"--env={key}={text}" for key, text in own.items()), backends.images["nginx"], "-t"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == status, done.stderr
        output = f"nginx: {name}: '{value}' is more than {int(value) - 1}"
        assert (output in done.stderr) is bool(status), done.stderr
