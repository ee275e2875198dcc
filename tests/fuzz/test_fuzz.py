"""A short reproducible run of the fuzz target: the corpus and mutations by libFuzzer.

receiver.py describes longer runs.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import corpus

RUNS = 25_000
SEED = 1
PROXY_HEADERS = [
    b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f" + bytes(range(12)) + b"\x03\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
]

pytest.importorskip("atheris", reason="there are wheels of atheris for Linux on x86-64 alone")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # seconds: 25,000 inputs on a machine that may be busy
def test_a_short_fuzz_run_finds_no_crash(tmp_path: Path) -> None:
    seeds, found = tmp_path / "seeds", tmp_path / "found"
    seeds.mkdir()
    found.mkdir()
    for kind in ("valid", "invalid"):
        for name in corpus.names(kind):
            for size in (1, 7, 60):
                (seeds / f"{kind}-{name}-{size}").write_bytes(bytes([size - 1]) + corpus.data(kind, name)[:999])
    for number, header in enumerate(PROXY_HEADERS):
        (seeds / f"proxy-{number}").write_bytes(b"\x1e" + header + corpus.data("valid", "001-get"))
    target = Path(__file__).with_name("receiver.py")
    flags = [f"-runs={RUNS}", f"-seed={SEED}", "-max_len=1000", "-rss_limit_mb=0", f"-artifact_prefix={found}/"]
    command = [sys.executable, str(target), *flags, str(found), str(seeds)]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert f"Done {RUNS} runs" in result.stderr
