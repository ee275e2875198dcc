"""Settings. A value comes from the environment, or else from .env; if it is empty, the default is in .env.example.

ENV_FILE names another file than .env. Child processes get `environment`, so that they read the same settings.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import dotenv

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
# For commands that apply to every service: Compose ignores services whose profile is off.
ALL_PROFILES = "demo,postgres,monitoring"
# The settings that nginx/entrypoint.sh checks, except TLS.
OF_NGINX = (
    "HTTPS_PORT",
    "UPLOAD_MAX",
    "ANONYMOUS_UPLOADS",
    "LOGIN_RATE",
    "NGINX_WORKERS",
    "CLIENT_CONNECTIONS",
    "TOTAL_CONNECTIONS",
    "ALLOWED_HOSTS",
    "TRUSTED_PROXIES",
    "CORS_ALLOWED_ORIGINS",
)

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB}


@dataclass
class Settings:
    root: Path
    file: Path
    environment: dict[str, str]
    read: dotenv.DotEnv
    example: dotenv.Example

    def __getitem__(self, name: str) -> str:
        given = self.environment.get(name)
        value = self.in_file(name) if given is None else given
        return value or self.example.defaults.get(name, "")

    def in_file(self, name: str) -> str:
        return self.read.values.get(name, "")

    def is_set(self, name: str) -> bool:
        return name in self.environment or name in self.read.values

    @property
    def project(self) -> str:
        return self["COMPOSE_PROJECT_NAME"]

    @property
    def has_file(self) -> bool:
        return self.file.is_file()

    @property
    def profiles(self) -> list[str]:
        return self["COMPOSE_PROFILES"].split(",")

    @property
    def has_monitoring(self) -> bool:
        return bool({"monitoring", "prometheus"} & set(self.profiles))

    @property
    def has_sample(self) -> bool:
        """Whether the stack runs the sample project, whose user and API some commands need."""
        return self["DJANGO_SETTINGS_MODULE"] == "config.settings"

    def is_required(self, name: str) -> bool:
        """Whether .env must set it: a file from an earlier version may lack what its profiles do not need."""
        return name != "GRAFANA_PASSWORD" or "monitoring" in self.profiles

    def image(self, kind: str) -> str:
        """Return the name of an image that is built here: runtime, nginx or test.

        It begins with the project's name. Otherwise copies of this project would run each other's code.
        """
        return f"{self.project or 'uploadstack'}-{kind}:{self['IMAGE_TAG']}"

    def number(self, name: str, lowest: int, highest: int) -> int | None:
        """Return None if it is not such a number; values.py reports that."""
        value = self[name]
        is_number = re.fullmatch(r"0|[1-9][0-9]{0,8}", value) is not None
        return int(value) if is_number and lowest <= int(value) <= highest else None

    def note(self, name: str) -> Path:
        """Return the path of a file with notes about this stack, such as `.lock`."""
        return self.root / "var" / f"{self.project}{name}"

    def reread(self) -> Settings:
        """Return the settings again, after the file has been written."""
        return read(self.root, self.environment)


def read(root: Path, environment: Mapping[str, str]) -> Settings:
    file = Path.cwd() / (environment.get("ENV_FILE") or root / ".env")
    found = (
        dotenv.read(file.read_bytes(), environment)
        if os.access(file, os.R_OK) and not file.is_dir()
        else dotenv.DotEnv()
    )
    example = dotenv.read_example((root / ".env.example").read_text(encoding="utf-8"))
    return Settings(root, file, {**environment, "ENV_FILE": str(file)}, found, example)


def here() -> Settings:
    """Read the settings of this copy of the project and of this process."""
    return read(ROOT, os.environ)


def size(text: str) -> int | None:
    """Return the bytes of a size that nginx, the server and Django accept, such as 100m; None for any other text."""
    found = re.fullmatch(r"([1-9][0-9]{0,14})|([1-9][0-9]{0,7})([kmgKMG])", text)
    return int(found[1] or found[2]) * UNITS[(found[3] or "").lower()] if found else None
