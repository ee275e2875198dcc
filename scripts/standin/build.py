"""Builds a stand-in. mmdebstrap unpacks Debian's packages into a tar file, without a container or a registry; Docker
imports that file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.ops import programs
from scripts.ops.console import Failure, say, warn
from scripts.standin.recipes import RECIPES, SUITE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.standin.recipes import Recipe

HERE = Path(__file__).parent
LABEL = "standin.recipe"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
TIDY = '--customize-hook=rm -rf "$1"/var/cache/debconf/*-old "$1"/var/log/*.log "$1"/var/lib/apt/lists'
OPTIONS = [
    "--variant=essential",
    # A mirror may be a snapshot of an earlier day. Signatures are still checked.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    TIDY,
]


def is_fresh(image: str) -> bool:
    """Whether the image exists and was built by the current instructions."""
    label = ["docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', image]
    return programs.output(label) == _number()


def build(kind: str, version: str, image: str, environment: Mapping[str, str]) -> None:
    """`kind` is python, nginx, postgres or prometheus."""
    recipe = RECIPES[kind](version)
    _need_mmdebstrap(kind)
    say(f"building {image} from Debian packages ({SUITE}); this takes about half a minute")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copy(HERE / "postgres-entrypoint.sh", work)
        _unpack(recipe, work, environment)
        labels = [f"ENV PATH={PATH}", f"LABEL {LABEL}={_number()}", *recipe.changes]
        changes = [f"--change={change}" for change in labels]
        if not programs.run_silently(["docker", "import", *changes, str(work / "root.tar"), image]):
            raise Failure(f"the engine cannot import {image}: the reason is above")
    _check_version(recipe, version, image)


def _number() -> str:
    """Return a number that changes when the files of this folder change. An image has it as a label."""
    files = sorted(path for path in HERE.iterdir() if path.suffix in {".py", ".sh"})
    return str(zlib.crc32(b"".join(path.read_bytes() for path in files)))


def _need_mmdebstrap(kind: str) -> None:
    if shutil.which("mmdebstrap"):
        return
    if not shutil.which("apt-get"):
        raise Failure(
            "no registry responds, and the stand-in needs mmdebstrap, which is a Debian package; this system has no"
            f" apt-get. Load the image (docker load), or set {kind.upper()}_IMAGE in .env to one from your own mirror."
            " To run without containers: make dev"
        )
    if os.getuid() != 0:
        raise Failure("no registry responds, and the stand-in needs mmdebstrap; run: sudo apt-get install mmdebstrap")
    say("installing mmdebstrap")
    programs.run_silently(["apt-get", "update", "-qq"])
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap"]
    done = programs.attempt(install, {**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode:
        raise Failure(f"apt-get cannot install mmdebstrap: {(done.stdout + done.stderr).strip()[-300:]}")


def _unpack(recipe: Recipe, work: Path, environment: Mapping[str, str]) -> None:
    hooks = [*recipe.hooks, *_certificates(work, environment)]
    command = ["mmdebstrap", f"--include=ca-certificates,{recipe.packages}", *OPTIONS, *hooks, SUITE, "root.tar"]
    if subprocess.run(command, cwd=work, stdout=sys.stderr, check=False).returncode:
        raise Failure(
            "mmdebstrap could not unpack Debian's packages: the reason is above. If neither a registry nor a Debian"
            " mirror responds, load the images (docker load), or name images from your own mirror in .env. To run"
            " without containers: make dev"
        )


def _certificates(work: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the hook that copies this machine's certificates into the image.

    Behind a proxy that inspects TLS, only they include the proxy's authority, which pip needs.
    """
    for bundle in (environment.get("SSL_CERT_FILE", ""), *BUNDLES):
        if bundle and os.access(bundle, os.R_OK):
            shutil.copyfile(bundle, work / "certificates")
            return ["--customize-hook=upload certificates /etc/ssl/certs/ca-certificates.crt"]
    return []


def _check_version(recipe: Recipe, version: str, image: str) -> None:
    done = programs.attempt(["docker", "run", "--rm", "--network=none", "--entrypoint=", image, *recipe.ask])
    printed = ((done.stdout + done.stderr).strip().splitlines() or ["nothing"])[-1]
    if not re.search(rf"[^0-9]{re.escape(version)}(\.|\s|$)", printed):
        warn(f"{image} holds {printed}, not {version}: Debian's {SUITE} has a newer version now")
