"""The same project without an engine: `make dev`, with the default paths of its settings."""

import subprocess
from pathlib import Path

import requests

from tests.stack.adopted.adopting import adopt, copy_to, own_project
from tests.stack.stack import ROOT, clean_environment, free_ports, run


def test_the_project_runs_without_containers(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    own_project(tmp_path / "home")
    copy = copy_to(tmp_path / "copy")
    adopt(copy, tmp_path / "home")
    (copy / ".venv").symlink_to(ROOT / ".venv")
    (port,) = free_ports(1)
    environment = {
        **clean_environment(),
        "HTTP_PORT": str(port),
        "COMPOSE_PROJECT_NAME": f"uploadstack-dev-{port}",
    }
    scripts = copy / "scripts"
    try:
        log = tmp_path / "log"
        with log.open("w") as output:  # a file: background processes would keep a pipe open
            command = [str(scripts / "dev.sh"), "--detach"]
            done = subprocess.run(command, stdout=output, stderr=output, env=environment, cwd=tmp_path, check=False)
        assert done.returncode == 0, log.read_text()
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(f"http://127.0.0.1:{port}/admin/login/", timeout=20).status_code == 200
            assert session.get(f"http://127.0.0.1:{port}/readyz", timeout=20).json()["status"] == "ok"
    finally:
        run(str(scripts / "down.sh"), env=environment)
    assert {"db.sqlite3", "media"} <= {path.name for path in (copy / "var").iterdir()}
