"""Prints the addresses, the login, and an upload command to paste, at the end of `make up`.

    scripts/welcome.sh stack|dev [first]

Passwords are printed only with `first`, when the stack is new, because output stays in terminals and in logs of CI. A
project of your own has neither the sample's user nor its API, so for it the command that creates a user is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import addresses, images
from . import settings as settings_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .settings import Settings


def main(arguments: Sequence[str]) -> None:
    kind = arguments[0] if arguments else "stack"
    show(settings_.here(), kind, is_first="first" in arguments[1:])


def show(settings: Settings, kind: str, *, is_first: bool) -> None:
    """`kind` is stack, or dev for the server of make dev."""
    welcome = _Welcome(settings, is_dev=kind == "dev", is_first=is_first)
    print("\n".join(["", *welcome.lines(), ""]), flush=True)


class _Welcome:
    def __init__(self, settings: Settings, *, is_dev: bool, is_first: bool) -> None:
        self._settings = settings
        self._is_dev = is_dev
        self._is_first = is_first
        self._has_tls = settings["TLS"] == "on" and not is_dev  # only nginx does TLS
        self._has_sample = settings.has_sample
        self._site = addresses.of(settings, "HTTP_PORT", has_tls=self._has_tls)
        self._bound_to = addresses.bound_to(settings, "HTTP_PORT")
        self._host = addresses.host_of(settings, self._bound_to)

    def lines(self) -> Iterator[str]:
        if self._is_elsewhere:
            yield from self._how_to_reach_it()
        yield from self._places()
        if self._has_sample:
            yield from self._sample()
        elif not self._is_dev:
            yield "  To create the first user: scripts/shell.sh web python manage.py createsuperuser"

    @property
    def _is_elsewhere(self) -> bool:
        local = {("localhost", "127.0.0.1"), ("localhost", "[::1]")}
        return self._host != self._bound_to and (self._host, self._bound_to) not in local

    def _how_to_reach_it(self) -> Iterator[str]:
        host = self._host
        yield (
            f"  ALLOWED_HOSTS has no name of this machine, so the site cannot be reached here until {host} resolves to"
            f" {self._bound_to}."
        )
        yield (
            f'  To make it so on this machine only, add the line "{self._bound_to.strip("[]")} {host}" to /etc/hosts;'
            " or add localhost to ALLOWED_HOSTS."
        )
        yield ""

    def _places(self) -> Iterator[str]:
        label = "Gallery" if self._has_sample else "Site   "
        if self._is_dev:
            yield f"  {label}    {self._site}/      (wsgiserver, no nginx)"
            return
        yield f"  {label}    {self._site}/      (nginx -> wsgiserver)"
        yield f"  Baseline   {self._address('GUNICORN_PORT')}/      (nginx -> gunicorn)"
        if "demo" in self._settings.profiles:
            yield f"  The bug    {self._address('RUNSERVER_PORT')}/      (runserver: a chunked upload arrives empty)"
        yield from self._monitoring()

    def _address(self, port: str) -> str:
        return addresses.of(self._settings, port, has_tls=self._has_tls)

    def _monitoring(self) -> Iterator[str]:
        """Published on 127.0.0.1 only. Without Grafana's image the profile is prometheus."""
        settings = self._settings
        left = images.chosen(settings).get("COMPOSE_PROFILES", settings["COMPOSE_PROFILES"])
        if "monitoring" in left.split(","):
            password = self._password("GRAFANA_PASSWORD")
            address = f"http://127.0.0.1:{settings['GRAFANA_PORT']}/"
            yield f"  Dashboard  {address}      (Grafana; log in as admin, with {password})"
        if settings.has_monitoring:
            yield f"  Alerts     http://127.0.0.1:{settings['PROMETHEUS_PORT']}/alerts      (Prometheus)"

    def _sample(self) -> Iterator[str]:
        settings = self._settings
        yield f"  Login      {settings['DEMO_USER']}, with {self._password('DEMO_PASSWORD')}"
        yield ""
        if not self._is_dev:
            yield "See which servers lose an upload that is sent in chunks:  make demo"
            yield ""
        if self._curl_options.startswith(" --insecure"):
            yield "# The certificate is self-signed: browsers warn about it, and curl needs --insecure."
            yield ""
        example = (settings.root / "app" / "upload-example.txt").read_text(encoding="utf-8")
        yield example.rstrip("\n").replace("{site}", self._site).replace("{options}", self._curl_options)

    @property
    def _curl_options(self) -> str:
        settings = self._settings
        options = " --insecure" if self._has_tls and settings["TLS_FOLDER"] == "certificates" else ""
        if self._is_elsewhere:
            port = settings["HTTPS_PORT" if self._has_tls else "HTTP_PORT"]
            options += f" --resolve {self._host}:{port}:{self._bound_to}"
        return options

    def _password(self, name: str) -> str:
        if self._is_first:
            return f"the password {self._settings[name]}"
        return f"the password from {self._settings.file}: {name}"
