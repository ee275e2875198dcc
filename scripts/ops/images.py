"""Provides the base images, and prints where each came from: present, pulled, or a stand-in.

Run by scripts/images.sh. A second run takes a second, because it contacts no registry while the chosen images exist.

    scripts/images.sh --retry    tries the registry again for images that have a stand-in

    PULL_TIMEOUT   seconds that one pull may take, default 900

Stand-ins are built from Debian's packages (scripts/standin/). The choices are in .images, one per line: `NAME IMAGE
IN_PLACE_OF`. A choice is valid while the setting NAME is still IN_PLACE_OF. If IMAGE is none, there is no stand-in: the
profile monitoring then runs without Grafana.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from scripts.standin import build

from . import engine
from . import settings as settings_
from .console import Failure, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .settings import Settings

NAMES = ("PYTHON_IMAGE", "NGINX_IMAGE", "POSTGRES_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE")
NONE = "none"
RETRY = "to try the registry again: scripts/images.sh --retry"
# In messages of a registry that lacks an image. It does respond, so it is tried for the next image.
REFUSALS = ("not found", "denied", "unknown")
Line = tuple[str, str, str]  # NAME, IMAGE, IN_PLACE_OF


def chosen(settings: Settings) -> dict[str, str]:
    """Return the settings that the choices replace: images, or the profiles without Grafana."""
    found = {}
    for name, image, in_place_of in lines(settings):
        if settings[name] != in_place_of:
            continue
        if image != NONE:
            found[name] = image
        elif "monitoring" in settings.profiles:
            found["COMPOSE_PROFILES"] = settings["COMPOSE_PROFILES"].replace("monitoring", "prometheus")
    return found


def name_of(settings: Settings, name: str) -> str:
    """Return the image that is used for a setting such as POSTGRES_IMAGE."""
    return chosen(settings).get(name) or settings[name]


def lines(settings: Settings) -> Iterator[Line]:
    file = settings.root / ".images"
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                name, image, in_place_of = line.split()
                yield name, image, in_place_of


def provide(settings: Settings, *, retry: bool = False) -> None:
    choice = _Choice(settings, retry=retry)
    for name in NAMES:
        choice.provide(name)
    choice.write()


class _Choice:
    """One run: the previous choices, the new ones, and whether the registry responds."""

    def __init__(self, settings: Settings, *, retry: bool) -> None:
        self._settings = settings
        self._retry = retry
        self._before = list(lines(settings))
        self._now: list[Line] = []
        self._registry_answers = True

    def provide(self, name: str) -> None:
        wanted = self._settings[name]
        if not _is_needed(self._settings, name):
            self._now += [line for line in self._before if line[0] == name]  # another stack may need it
        elif engine.image_id(wanted):
            say(f"{wanted}: present")
        elif name == "GRAFANA_IMAGE":
            self._pull_or_go_without(name, wanted)
        else:
            self._pull_or_stand_in(name, wanted)

    def _pull_or_stand_in(self, name: str, wanted: str) -> None:
        kind, version = _kind(name), version_of(wanted)
        standin = f"{kind}:standin-{version}"
        if not self._retry and build.is_fresh(standin):
            say(f"{wanted}: using its stand-in {standin}, built from Debian packages ({RETRY})")
        elif not (reason := self._pull(wanted)):
            say(f"{wanted}: pulled")
            return
        else:
            say(f"{wanted}: cannot be pulled ({reason}); using a stand-in")
            if not build.is_fresh(standin):
                self._build(name, standin)
            say(f"{wanted}: using {standin}, built from Debian packages")
        self._now.append((name, standin, wanted))

    def _pull_or_go_without(self, name: str, wanted: str) -> None:
        """Debian has no Grafana for a stand-in. The result is remembered, as with a stand-in."""
        known = (name, NONE, wanted)
        reason = "as before" if not self._retry and known in self._before else self._pull(wanted)
        if not reason:
            say(f"{wanted}: pulled")
            return
        say(
            f"{wanted}: cannot be pulled ({reason}), and has no stand-in; the profile monitoring runs without Grafana"
            f" ({RETRY})"
        )
        self._now.append(known)

    def _pull(self, image: str) -> str:
        """Return why the image could not be pulled; nothing if it was.

        A registry that does not respond is not tried again for the next image.
        """
        if not self._registry_answers:
            return "the registry did not respond for the previous image"
        say(f"{image}: pulling")
        seconds = float(self._settings.environment.get("PULL_TIMEOUT") or 900)
        command = ["docker", "pull", image]
        try:
            done = subprocess.run(
                command, timeout=seconds, check=False, stdout=sys.stderr, stderr=subprocess.PIPE, text=True
            )
        except subprocess.TimeoutExpired:
            reason = f"no response within {seconds:.0f} seconds"
        else:
            if done.returncode == 0:
                return ""
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        self._registry_answers = any(word in reason for word in REFUSALS)
        return reason

    def _build(self, name: str, standin: str) -> None:
        wanted = self._settings[name]
        if not version_of(wanted):
            default = self._settings.example.defaults[name]
            raise Failure(f"{name}: '{wanted}' has no version for a stand-in; use a name with one, such as {default}")
        build.build(_kind(name), version_of(wanted), standin, self._settings.environment)

    def write(self) -> None:
        head = "# Written by scripts/images.sh: what stands in for a base image that could not be pulled.\n"
        text = head + "".join(f"{' '.join(line)}\n" for line in self._now)
        draft = self._settings.root / f".images.{os.getpid()}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._settings.root / ".images")  # atomic, because another stack may be reading it


def _is_needed(settings: Settings, name: str) -> bool:
    needed = {
        "POSTGRES_IMAGE": "postgres" in settings.profiles,
        "PROMETHEUS_IMAGE": settings.has_monitoring,
        "GRAFANA_IMAGE": "monitoring" in settings.profiles,
    }
    return needed.get(name, True)


def _kind(name: str) -> str:
    return name.partition("_")[0].lower()


def version_of(image: str) -> str:
    """registry/python:3.14-slim-trixie -> 3.14.

    For Prometheus only the major version, the 3 of v3.13.2: that is enough for monitoring/, and Debian has an older
    release with long-term support.
    """
    found = re.search(r":v(\d+)[^/]*$|:([0-9][0-9.]*)[^/]*$", image)
    return (found[1] or found[2]) if found else ""


def main(arguments: Sequence[str]) -> None:
    provide(settings_.here(), retry=list(arguments) == ["--retry"])
