"""The API conforms to its schema: hundreds of generated requests from /api/schema/, valid and invalid."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.pictures import Picture
from tests.stack.stack import Stack
from tests.stack.wire import exchange, with_length

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 40  # for each operation and phase
SEED = 20  # the same requests each time: a failure can be repeated


def test_every_operation_conforms_to_the_schema(stack: Stack, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{stack.url}/api/schema/"),
        *("--header", f"Authorization: Token {stack.token}", "--checks", CHECKS),
        *("--max-examples", str(EXAMPLES), "--seed", str(SEED), "--workers", "1"),
        *("--continue-on-failure", "--request-timeout", "20"),
        # It tries DELETE on every path, which would end its token and those of other tests.
        *("--exclude-path-regex", "^/api/tokens?"),
    ]
    before = stack.probe("names")
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "no_proxy": "*", "NO_PROXY": "*", "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"Tested: (\d+)", done.stdout), done.stdout
    assert stack.probe("names") != before, "no request stored or deleted anything"


@pytest.mark.parametrize(
    "name",
    [
        *("%0A", "a%0Ab.jpg", "a%0A", "a%2Fb.jpg", "a/b.jpg", "..%2F..%2Fetc%2Fpasswd", "a%5Cb.jpg"),
        *("%20a.jpg", "a.jpg%20", "a%7F.jpg", "x" * 121, "%C2%A0", "a%E2%80%AEgpj.exe"),
    ],
)
def test_an_invalid_name_is_refused_as_bad_name(stack: Stack, photo: Picture, name: str) -> None:
    with stack.unchanged(), stack.nginx("web") as wire:
        answer = exchange(wire, with_length(name, photo.content), stack.token)
    assert (answer.status, answer.json()["error"]) == (400, "bad-name")
